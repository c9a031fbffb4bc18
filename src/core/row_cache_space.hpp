// The table of spaces: who has entries in the cache, since which invalidation, and how they fare.
//
// Looking up takes no lock. The identity of a slot changes only under the table's lock and only
// while the slot has no entry; whoever is about to add one therefore counts it first (pin) and then
// looks whether the slot is still his.
//
//   free ──find_or_add──► of a space ──forget, or taken over by another space──► free, or of that
//
// Epochs come from one clock. That of a space that is not in the table is the `floor`: it is never
// smaller than the epoch of a space that was forgotten, and it grows when an unknown space is
// invalidated. So a space's epoch, known or not, never goes back, and grows strictly with each
// invalidation.
#pragma once

#ifdef POSTGRES_H
#error "core headers come before PostgreSQL's and never need them"
#endif

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/limits.hpp"
#include "core/row_cache.hpp"

namespace pgwc {

using SpaceNo = std::uint32_t;
inline constexpr SpaceNo kNoSpace = 0xFFFFFFFFu;

struct CacheSpace {
  std::atomic<std::uint64_t> epoch;
  // Entries, and puts about to make one. kTakenOver on top while the slot changes hands.
  std::atomic<std::uint64_t> entries;
  std::atomic<std::uint64_t> bytes;
  std::atomic<std::uint64_t> fills;
  std::atomic<std::uint64_t> evictions;
  // Sums that check() makes; all shards' locks.
  std::uint64_t seen_entries;
  std::uint64_t seen_bytes;
  // As in CacheCounters; on a line of their own.
  alignas(64) std::atomic<std::uint64_t> counters[6];
};
static_assert(sizeof(CacheSpace) == kCacheLine);

class CacheSpaces {
 public:
  static std::size_t memory_size(std::uint32_t max_spaces) noexcept;

  CacheSpaces(std::byte* memory, std::uint32_t max_spaces, SharedLocks& locks,
              std::uint32_t lock) noexcept;
  // As the first process has left it.
  void format() noexcept;

  // The slot of a space, kNoSpace if it has none.
  SpaceNo find(std::uint64_t space) const noexcept;
  std::uint64_t epoch(std::uint64_t space) const noexcept;

  // Counts an entry to come of a space whose epoch is `epoch`. kStored: unpin() or keep it.
  RowCache::Put pin(std::uint64_t space, std::uint64_t epoch, SpaceNo* no) noexcept;
  // One entry, or one pin, less.
  void unpin(SpaceNo no) noexcept;

  // Begins an invalidation: from now on pin() refuses everybody who knows the epoch of before.
  // kNoSpace if the space is not in the table; then there is nothing to remove.
  SpaceNo raise_epoch(std::uint64_t space) noexcept;
  // Gives the slot back. False if it has entries.
  bool forget(std::uint64_t space) noexcept;

  // For counting: finds a slot or takes one that is free.
  SpaceNo find_or_add(std::uint64_t space) noexcept;

  std::uint32_t size() const noexcept { return max_; }
  std::uint64_t id(SpaceNo no) const noexcept {
    const std::uint64_t id = ids_[no].load(std::memory_order_acquire);
    return id == kTombstone ? 0 : id;
  }
  CacheSpace& operator[](SpaceNo no) const noexcept { return spaces_[no]; }
  std::uint64_t entries(SpaceNo no) const noexcept {
    return spaces_[no].entries.load(std::memory_order_seq_cst) & (kTakenOver - 1);
  }

 private:
  static constexpr std::uint64_t kTombstone = ~std::uint64_t{0};  // free; look-ups go on behind it
  static constexpr std::uint64_t kTakenOver = std::uint64_t{1} << 63;

  struct alignas(kCacheLine) Control {
    std::atomic<std::uint64_t> clock;
    std::atomic<std::uint64_t> floor;
    std::atomic<std::uint32_t> used;   // slots that belong to a space
    std::atomic<std::uint32_t> empty;  // of these, without an entry; a hint
  };

  SpaceNo start(std::uint64_t space) const noexcept;
  // Under the lock, for a space that is not in the table. The slot comes with one pin.
  SpaceNo add(std::uint64_t space, bool from_others) noexcept;
  void clear_tombstones(SpaceNo no) noexcept;
  void raise_floor(std::uint64_t epoch) noexcept;

  std::uint32_t max_;
  std::uint32_t lock_;
  SharedLocks& locks_;
  Control* control_;
  std::atomic<std::uint64_t>* ids_;
  CacheSpace* spaces_;
};

}  // namespace pgwc
