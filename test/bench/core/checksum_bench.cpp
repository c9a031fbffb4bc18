#include <benchmark/benchmark.h>

#include <vector>

#include "core/checksum.hpp"

static void BM_Crc32c(benchmark::State& state) {
  const std::vector<char> bytes(static_cast<std::size_t>(state.range(0)), 'x');
  for (auto _ : state) benchmark::DoNotOptimize(pgwc::crc32c(bytes.data(), bytes.size()));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_Crc32c)->Arg(64)->Arg(256)->Arg(8192);
