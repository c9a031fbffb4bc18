// When a queue is flushed, and when it is tried again. Pure functions of what is pending and of the
// time.
#pragma once

#ifdef POSTGRES_H
#error "core headers come before PostgreSQL's and never need them"
#endif

#include <cstdint>

#include "core/write_buffer.hpp"

namespace pgwc {

inline constexpr std::int64_t kNever = INT64_MAX;

struct FlushPressure {
  bool hurry;  // flush whatever is pending: the server stops, or the buffer runs full
  std::int64_t now_us;
};

// Returns when the queue wants to be flushed: a time not after now if it is due, kNever if nothing
// is pending.
constexpr std::int64_t flush_at(const QueueView& queue, const FlushPolicy& policy,
                                const FlushPressure& pressure) {
  if (queue.pending_rows == 0) return kNever;
  if (pressure.hurry || queue.requested > queue.flushed_through ||
      (policy.rows != 0 && queue.pending_rows >= policy.rows) ||
      (policy.bytes != 0 && queue.pending_bytes >= policy.bytes))
    return pressure.now_us;
  return queue.oldest_us + policy.interval_us;
}

// How much one flush takes: what is pending, however much more than its thresholds that is, since
// the longer a sorted batch the fewer pages it touches for each row. But its memory for sorting is
// bounded, and its blocks are in use until it is through.
constexpr FlushLimits batch_limits(std::uint64_t buffer_bytes, std::uint64_t sort_memory) {
  constexpr std::uint64_t kLeast = 1024 * 1024;
  const std::uint64_t most =
      buffer_bytes / 8 < sort_memory / 2 ? buffer_bytes / 8 : sort_memory / 2;
  return {UINT64_MAX, most > kLeast ? most : kLeast};
}

// The pause after the n-th failure in a row: 50 ms, doubled each time, at most 30 s.
constexpr std::int64_t back_off_us(std::uint32_t failures) {
  constexpr std::int64_t kFirst = 50'000;
  constexpr std::int64_t kMost = 30'000'000;
  if (failures == 0) return 0;
  const std::uint32_t doublings = failures - 1;
  return doublings >= 10 ? kMost : (kFirst << doublings) < kMost ? kFirst << doublings : kMost;
}

// Below this share of free blocks nothing waits for its interval any more.
constexpr bool is_running_full(std::uint32_t free_blocks, std::uint32_t blocks) {
  return free_blocks < blocks / 4;
}

}  // namespace pgwc
