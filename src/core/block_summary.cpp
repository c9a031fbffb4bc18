#include "core/block_summary.hpp"

#include <climits>

namespace pgwc {

namespace {

constexpr unsigned kProbes = 6;  // bits of a value
constexpr std::uint64_t kBits = kSummaryWords * 64;

// The positions of a value's bits: double hashing, the column's number mixed in.
template <class Fn>
bool for_each_bit(std::uint64_t hash, std::uint32_t column, Fn&& fn) noexcept {
  const std::uint64_t h = mix(hash + column * 0x9E3779B97F4A7C15ull);
  const std::uint64_t step = (h >> 32) | 1;
  std::uint64_t at = h & 0xFFFFFFFF;
  for (unsigned i = 0; i < kProbes; ++i, at += step)
    if (!fn(at % kBits)) return false;
  return true;
}

bool may_match_one(const BlockSummary& summary, const Probe& probe) noexcept {
  if (probe.has_key && (summary.low[probe.column].load(std::memory_order_relaxed) > probe.high ||
                        summary.high[probe.column].load(std::memory_order_relaxed) < probe.low))
    return false;
  if (!probe.is_value) return true;
  return for_each_bit(probe.hash, probe.column, [&](std::uint64_t bit) {
    return (summary.bits[bit / 64].load(std::memory_order_relaxed) >> (bit % 64) & 1) != 0;
  });
}

void clear(BlockSummary* summary) noexcept {
  for (auto& word : summary->bits) word.store(0, std::memory_order_relaxed);
  summary->nulls.store(0, std::memory_order_relaxed);
  for (auto& low : summary->low) low.store(INT64_MAX, std::memory_order_relaxed);
  for (auto& high : summary->high) high.store(INT64_MIN, std::memory_order_relaxed);
}

}  // namespace

SummaryAnswer ask(const BlockSummary& summary, std::uint64_t epoch, std::uint64_t columns,
                  const Probe* probes, std::size_t probe_count) noexcept {
  const std::uint64_t version = summary.version.load(std::memory_order_acquire);
  if (summary.epoch.load(std::memory_order_acquire) != epoch ||
      summary.columns.load(std::memory_order_relaxed) != columns)
    return {0, true};
  SummaryAnswer answer{summary.covered.load(std::memory_order_acquire), true};
  for (std::size_t i = 0; i < probe_count && answer.may_match; ++i)
    answer.may_match = may_match_one(summary, probes[i]);
  // Whoever begins it anew, for another use of the block or for other columns, counts first.
  std::atomic_thread_fence(std::memory_order_acquire);
  if (summary.version.load(std::memory_order_relaxed) != version) return {0, true};
  return answer;
}

SummaryBounds bounds_of(const BlockSummary& summary, std::uint64_t epoch, std::uint64_t columns,
                        std::uint32_t column, std::uint32_t used) noexcept {
  const std::uint64_t version = summary.version.load(std::memory_order_acquire);
  if (summary.epoch.load(std::memory_order_acquire) != epoch ||
      summary.columns.load(std::memory_order_relaxed) != columns ||
      summary.covered.load(std::memory_order_acquire) < used)
    return {};
  const SummaryBounds bounds{true,
                             (summary.nulls.load(std::memory_order_relaxed) >> column & 1) != 0,
                             summary.low[column].load(std::memory_order_relaxed),
                             summary.high[column].load(std::memory_order_relaxed)};
  std::atomic_thread_fence(std::memory_order_acquire);
  return summary.version.load(std::memory_order_relaxed) == version ? bounds : SummaryBounds{};
}

void extend(BlockSummary* summary, std::uint64_t epoch, std::uint64_t columns, std::uint32_t from,
            std::uint32_t to, const SummaryKey* keys, const std::uint8_t* key_columns,
            std::size_t key_count, std::uint32_t nulls) noexcept {
  std::uint32_t idle = 0;
  if (!summary->busy.compare_exchange_strong(idle, 1, std::memory_order_acquire)) return;
  const bool known = summary->epoch.load(std::memory_order_relaxed) == epoch &&
                     summary->columns.load(std::memory_order_relaxed) == columns;
  if (!known && from == 0) {
    summary->version.fetch_add(1, std::memory_order_relaxed);
    summary->epoch.store(0, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    summary->covered.store(0, std::memory_order_relaxed);
    summary->columns.store(columns, std::memory_order_relaxed);
    clear(summary);
  }
  if (known ? summary->covered.load(std::memory_order_relaxed) == from : from == 0) {
    for (std::size_t i = 0; i < key_count; ++i) {
      const std::uint8_t column = key_columns[i];
      for_each_bit(keys[i].hash, column, [&](std::uint64_t bit) {
        summary->bits[bit / 64].fetch_or(std::uint64_t{1} << (bit % 64), std::memory_order_relaxed);
        return true;
      });
      if (keys[i].key < summary->low[column].load(std::memory_order_relaxed))
        summary->low[column].store(keys[i].key, std::memory_order_relaxed);
      if (keys[i].key > summary->high[column].load(std::memory_order_relaxed))
        summary->high[column].store(keys[i].key, std::memory_order_relaxed);
    }
    summary->nulls.fetch_or(nulls, std::memory_order_relaxed);
    summary->covered.store(to, std::memory_order_release);
    summary->epoch.store(epoch, std::memory_order_release);
  }
  summary->busy.store(0, std::memory_order_release);
}

}  // namespace pgwc
