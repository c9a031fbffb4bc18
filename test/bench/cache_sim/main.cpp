// Hit ratios of the row cache and of others on the same keys. Exits with 1 if the row cache is more
// than a percentage point below the reference S3-FIFO on any trace, or not above LRU on one with
// scans.
//
//   cache-sim [BYTES [ROW]]     size of the row cache and of its rows
#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/row_cache.hpp"
#include "policies.hpp"
#include "traces.hpp"
#include "unit/rig.hpp"

namespace {

using pgwc::RowCache;

class NoLocks final : public pgwc::SharedLocks {
 public:
  void acquire_shared(std::uint32_t) noexcept override {}
  void acquire(std::uint32_t) noexcept override {}
  void release(std::uint32_t) noexcept override {}
};

class Ours final : public sim::Policy {
 public:
  Ours(std::size_t bytes, std::size_t row)
      : geometry_(pgwc::cache_geometry(bytes, 8)),
        memory_(geometry_.bytes),
        cache_(memory_.data(), geometry_, locks_),
        row_(row) {}

  bool access(sim::Key key) override {
    pgwc::Stamp stamp;
    std::size_t size;
    if (cache_.find({1, key}, &stamp, row_, &size) == RowCache::Found::kYes) return true;
    cache_.put({1, key}, stamp, row_, cache_.epoch(1));
    return false;
  }
  pgwc::CacheUsage usage() { return cache_.usage(); }

 private:
  pgwc::CacheGeometry geometry_;
  pgwc::test::Memory memory_;
  NoLocks locks_;
  RowCache cache_;
  pgwc::test::Bytes row_;
};

// Per cent, of the second half: the first one fills the cache.
double hit_ratio(sim::Policy& policy, const sim::Trace& trace) {
  std::size_t hits = 0;
  for (std::size_t i = 0; i < trace.size(); ++i)
    if (policy.access(trace[i]) && i >= trace.size() / 2) ++hits;
  return 100.0 * static_cast<double>(hits) / static_cast<double>(trace.size() - trace.size() / 2);
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t bytes = argc > 1 ? std::strtoull(argv[1], nullptr, 0) : 8u << 20;
  const std::size_t row = argc > 2 ? std::strtoull(argv[2], nullptr, 0) : 100;

  // What the row cache holds is what the others may hold.
  Ours probe(bytes, row);
  for (sim::Key key = 0; key < bytes / 32; ++key) probe.access(key);
  const std::size_t capacity = probe.usage().entries;
  std::printf(
      "row cache of %zu kB, %u shards, rows of %zu bytes: %zu entries; hit ratios in %%\n\n",
      bytes >> 10, probe.usage().shards, row, capacity);
  std::printf("%-18s %9s %9s %9s %9s %9s\n", "", "row cache", "S3-FIFO", "LRU", "FIFO", "optimum");

  bool good = true;
  for (const sim::NamedTrace& trace : sim::make_traces(capacity)) {
    Ours ours(bytes, row);
    const double mine = hit_ratio(ours, trace.keys);
    const double s3fifo = hit_ratio(*sim::make_s3fifo(capacity), trace.keys);
    const double lru = hit_ratio(*sim::make_lru(capacity), trace.keys);
    const double fifo = hit_ratio(*sim::make_fifo(capacity), trace.keys);
    const double optimum = hit_ratio(*sim::make_belady(capacity, trace.keys), trace.keys);
    const bool holds = mine > s3fifo - 1 && (!trace.has_scans || mine > lru);
    std::printf("%-18s %9.2f %9.2f %9.2f %9.2f %9.2f%s\n", trace.name, mine, s3fifo, lru, fifo,
                optimum, holds ? "" : "  <--");
    std::fflush(stdout);
    good = good && holds;
  }
  return good ? 0 : 1;
}
