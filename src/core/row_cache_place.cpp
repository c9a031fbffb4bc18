// Where a shard's entries lie.
#include <algorithm>
#include <bit>
#include <limits>

#include "core/layout.hpp"
#include "core/row_cache_shard.hpp"

namespace pgwc {

namespace {

// What may be evicted in turn before a place is cleared by force.
constexpr std::uint64_t kEvictedInTurn = 4096;
// Entries looked at, once a place has been found, for one that costs less.
constexpr int kLookedAt = 512;

}  // namespace

std::byte* CacheShard::allocate(std::size_t bytes, const Entry* keep,
                                CacheSpaces& spaces) noexcept {
  const std::uint64_t enough =
      memory_->get_free_memory() + std::max<std::uint64_t>(2 * bytes, kEvictedInTurn);
  void* place = memory_->allocate(bytes, std::nothrow);
  while (place == nullptr && memory_->get_free_memory() < enough && evict(keep, spaces))
    place = memory_->allocate(bytes, std::nothrow);
  if (place == nullptr && clear_place(bytes, keep, spaces))
    place = memory_->allocate(bytes, std::nothrow);
  if (place == nullptr) return nullptr;
  const Handle at = handle(static_cast<Entry*>(place));
  map_[at / 64] |= std::uint64_t{1} << at % 64;
  return static_cast<std::byte*>(place);
}

void CacheShard::free(Entry* entry) noexcept {
  const Handle at = handle(entry);
  map_[at / 64] &= ~(std::uint64_t{1} << at % 64);
  memory_->deallocate(entry);
}

// The first entry at or behind a place; end_ if there is none.
CacheShard::Handle CacheShard::next_entry(Handle from) const noexcept {
  if (from >= end_) return end_;
  std::size_t word = from / 64;
  std::uint64_t bits = map_[static_cast<std::ptrdiff_t>(word)] >> from % 64 << from % 64;
  while (bits == 0) {
    if (++word * 64 >= end_) return end_;
    bits = map_[static_cast<std::ptrdiff_t>(word)];
  }
  return static_cast<Handle>(word * 64) + static_cast<Handle>(std::countr_zero(bits));
}

// Evicts neighbours so that together with what is free between them there is room. Looks along the
// memory from where it was last time, with a window that holds just enough.
bool CacheShard::clear_place(std::size_t bytes, const Entry* keep, CacheSpaces& spaces) noexcept {
  const std::uint64_t wanted = (bytes + Memory::PayloadPerAllocation + kUnit - 1) / kUnit;
  const auto units = [&](Handle h) { return static_cast<Handle>(taken(at(h)) / kUnit); };
  const auto worth = [&](Handle h) {
    const Entry* entry = at(h);
    return units(h) * (1 + 3ull * entry->uses + (entry->in == In::kMain ? 1 : 0));
  };
  struct Window {
    Handle first;   // entry in it
    Handle behind;  // the first one that is not
    std::uint64_t worth;
  };
  Window best{0, 0, std::numeric_limits<std::uint64_t>::max()};
  for (const Handle start : {std::max(hand_, begin_), begin_}) {
    Window window{next_entry(start), 0, 0};
    window.behind = window.first;
    Handle begin = window.first;  // nothing between here and the first entry
    int looked_at = 0;
    while (looked_at < kLookedAt) {
      if (window.behind - begin >= wanted) {
        if (window.worth < best.worth) best = window;
        if (window.first == window.behind) break;
        window.worth -= worth(window.first);
        begin = window.first + units(window.first);
        window.first = next_entry(begin);
        ++looked_at;
        continue;
      }
      if (window.behind == end_) break;
      const Handle next = next_entry(window.behind + units(window.behind));
      if (at(window.behind) == keep) {
        begin = window.behind + units(window.behind);
        window = {next, next, 0};
      } else {
        window.worth += worth(window.behind);
        window.behind = next;
      }
    }
    if (best.first != 0) break;
  }
  if (best.first == 0) return false;
  hand_ = best.behind;
  for (Handle h = best.first; h != best.behind; h = next_entry(h + 1)) evict(at(h), true, spaces);
  return true;
}

const char* CacheShard::check_map() noexcept {
  std::uint64_t count = 0;
  for (Handle h = next_entry(0); h != end_; h = next_entry(h + 1)) {
    ++count;
    const Entry* entry = at(h);
    const Handle behind = h + static_cast<Handle>(taken(entry) / kUnit);
    if ((h < begin_ && behind > begin_) || behind > end_ || next_entry(h + 1) < behind)
      return "entries overlap";
    if (entry->size > max_row()) return "the map has what is no entry";
  }
  return count == entries() ? nullptr : "the map has more or fewer entries than the queues";
}

}  // namespace pgwc
