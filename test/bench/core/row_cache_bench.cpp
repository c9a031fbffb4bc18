#include <benchmark/benchmark.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "core/row_cache.hpp"
#include "unit/cache_rig.hpp"

namespace {

using pgwc::CacheGeometry;
using pgwc::RowCache;
using pgwc::Stamp;
using pgwc::test::Bytes;
using pgwc::test::cache_row;

// As an LWLock does it when nobody waits: one atomic instruction to take it, one to give it back.
class SpinLocks final : public pgwc::SharedLocks {
 public:
  explicit SpinLocks(std::size_t count) : locks_(count) {}
  void acquire_shared(std::uint32_t id) noexcept override {
    while ((locks_[id].state.fetch_add(1, std::memory_order_acquire) & kExclusive) != 0) {
      locks_[id].state.fetch_sub(1, std::memory_order_relaxed);
      while ((locks_[id].state.load(std::memory_order_relaxed) & kExclusive) != 0) pause();
    }
  }
  void acquire(std::uint32_t id) noexcept override {
    std::uint32_t free = 0;
    while (!locks_[id].state.compare_exchange_weak(free, kExclusive, std::memory_order_acquire)) {
      free = 0;
      pause();
    }
  }
  void release(std::uint32_t id) noexcept override {
    auto& state = locks_[id].state;
    state.fetch_sub((state.load(std::memory_order_relaxed) & kExclusive) != 0 ? kExclusive : 1,
                    std::memory_order_release);
  }

 private:
  static constexpr std::uint32_t kExclusive = 1u << 24;
  static void pause() noexcept {
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
  }
  struct alignas(128) Lock {
    std::atomic<std::uint32_t> state{0};
  };
  std::vector<Lock> locks_;
};

struct Cache {
  explicit Cache(std::size_t bytes)
      : geometry(pgwc::cache_geometry(bytes, 64)),
        memory(geometry.bytes),
        locks(geometry.shards + 1),
        cache(memory.data(), geometry, locks) {}
  void fill(std::uint64_t rows, std::size_t size) {
    const Bytes row = cache_row(1, size);
    for (std::uint64_t id = 0; id < rows; ++id) cache.put({1, id}, {}, row, cache.epoch(1));
  }
  CacheGeometry geometry;
  pgwc::test::Memory memory;
  SpinLocks locks;
  RowCache cache;
};

std::unique_ptr<Cache> shared;

// Range: resident rows, bytes of each.
void BM_FindHit(benchmark::State& state) {
  const auto rows = static_cast<std::uint64_t>(state.range(0));
  const auto size = static_cast<std::size_t>(state.range(1));
  if (state.thread_index() == 0) {
    shared = std::make_unique<Cache>(rows * (size + 150) * 5 / 4 + (8u << 20));
    shared->fill(rows, size);
  }
  std::minstd_rand random(static_cast<unsigned>(state.thread_index()) + 1);
  Bytes into(size);
  Stamp stamp;
  std::size_t found = 0;
  std::uint64_t hits = 0;
  for (auto _ : state)
    hits += shared->cache.find({1, random() % rows}, &stamp, into, &found) == RowCache::Found::kYes;
  if (hits != static_cast<std::uint64_t>(state.iterations())) state.SkipWithError("a miss");
  state.SetItemsProcessed(state.iterations());
  if (state.thread_index() == 0) state.counters["shards"] = shared->geometry.shards;
}
BENCHMARK(BM_FindHit)
    ->Args({10000, 100})
    ->Args({1000000, 100})
    ->Args({10000, 1000})
    ->Args({1000000, 1000});
BENCHMARK(BM_FindHit)->Args({10000, 100})->Args({1000000, 100})->Threads(4)->UseRealTime();

void BM_FindMiss(benchmark::State& state) {
  Cache cache(256u << 20);
  cache.fill(1000000, 100);
  Bytes into(100);
  Stamp stamp;
  std::size_t found = 0;
  std::uint64_t id = 1u << 30;
  for (auto _ : state) benchmark::DoNotOptimize(cache.cache.find({1, ++id}, &stamp, into, &found));
}
BENCHMARK(BM_FindMiss);

// The same key again, a row of the same size.
void BM_Replace(benchmark::State& state) {
  Cache cache(64u << 20);
  cache.fill(100000, 100);
  const Bytes row = cache_row(1, 100);
  std::uint64_t id = 0;
  for (auto _ : state) {
    cache.cache.put({1, id}, {}, row, cache.cache.epoch(1));
    id = id + 1 == 100000 ? 0 : id + 1;
  }
}
BENCHMARK(BM_Replace);

void BM_PutAndErase(benchmark::State& state) {
  Cache cache(64u << 20);
  const Bytes row = cache_row(1, 100);
  std::uint64_t id = 0;
  for (auto _ : state) {
    cache.cache.put({1, ++id}, {}, row, cache.cache.epoch(1));
    if (id > 50000) cache.cache.erase({1, id - 50000});
  }
}
BENCHMARK(BM_PutAndErase);

// Each put evicts; rows of 100 bytes, or of 0 to 2000.
void BM_PutIntoFull(benchmark::State& state) {
  const bool is_mixed = state.range(0) != 0;
  Cache cache(64u << 20);
  cache.fill(500000, 100);
  const Bytes row = cache_row(1, 2000);
  std::minstd_rand random(1);
  std::uint64_t id = 1u << 30;
  std::uint64_t refused = 0;
  for (auto _ : state) {
    const std::size_t size = is_mixed ? random() % 2000 : 100;
    refused += cache.cache.put({1, ++id}, {}, std::span(row).first(size), cache.cache.epoch(1)) !=
               RowCache::Put::kStored;
  }
  const pgwc::CacheUsage usage = cache.cache.usage();
  state.counters["full"] = static_cast<double>(usage.bytes) / static_cast<double>(usage.capacity);
  state.counters["refused"] = static_cast<double>(refused);
}
BENCHMARK(BM_PutIntoFull)->Arg(0)->Arg(1);

}  // namespace
