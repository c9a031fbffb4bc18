// The row cache: rows by key, for all relations of all databases, in one piece of shared memory
// that is fixed at the start. A cache of claims: what is found was true once, and whoever finds it
// proves that it still is (the layer above). So nothing here has to be told of a change, and losing
// an entry is never wrong.
//
// Keys are hashes. Two keys with one hash share a place; the reader compares the key in the row.
//
// Shards: an entry belongs to the shard that its key's hash names. Each shard has its own memory
// (a Boost.Interprocess managed_external_buffer without a mutex of its own), its own hash table and
// its own S3-FIFO queues, all under one lock. A hit takes that lock shared, everything else takes
// it exclusively. Eviction is S3-FIFO (Yang et al., "FIFO queues are all you need for cache
// eviction", SOSP 2023): a small queue for newcomers, a main queue, a ghost queue of hashes; a hit
// only raises a counter of two bits.
//
// All functions may be called by any process at the same time, never throw, never allocate outside
// the shards.
#pragma once

#ifdef POSTGRES_H
#error "core headers come before PostgreSQL's and never need them"
#endif

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/limits.hpp"

namespace pgwc {

// Mutual exclusion between processes, shared or not, as the environment provides it.
class SharedLocks {
 public:
  virtual void acquire_shared(std::uint32_t id) noexcept = 0;
  virtual void acquire(std::uint32_t id) noexcept = 0;
  virtual void release(std::uint32_t id) noexcept = 0;

 protected:
  ~SharedLocks() = default;
};

struct CacheKey {
  std::uint64_t space;  // whose key: one number per cached relation, never 0 or ~0
  std::uint64_t hash;   // of the key's columns
};

// What the layer above needs in order to prove an entry; kept beside the row, not looked at here.
using Stamp = std::array<std::uint64_t, 5>;

// Of one space or, summed, of the cache. Counted by the layer above where the core cannot know.
struct CacheCounters {
  std::uint64_t hits_by_page;   // proved by the page's LSN
  std::uint64_t hits_by_tid;    // proved by fetching the row version
  std::uint64_t hits_by_age;    // young enough (views, foreign tables)
  std::uint64_t misses;         // nothing was found
  std::uint64_t failed_proofs;  // something was found and was not true any more
  std::uint64_t waits;          // for another session that computed the same key
};

struct SpaceUsage {
  std::uint64_t space;
  std::uint64_t entries;
  std::uint64_t bytes;  // of memory taken from the shards, all overhead included
  std::uint64_t fills;
  std::uint64_t evictions;  // made room; not those erased on request
  CacheCounters counters;
};

struct CacheUsage {
  std::uint64_t entries;
  std::uint64_t bytes;     // taken
  std::uint64_t capacity;  // what entries can take together
  std::uint32_t shards;
  std::uint32_t spaces;
};

// The layout of a cache of so many bytes, bookkeeping and all. Lock ids are 0 .. shards (shards + 1
// of them; the last one guards the table of spaces). Order: ascending; no call holds more than a
// shard's and the last, except check(), which takes all. Too few bytes become the least that works.
struct CacheGeometry {
  std::size_t bytes;
  std::uint32_t shards;
  std::uint32_t max_spaces;
};
CacheGeometry cache_geometry(std::size_t bytes, std::uint32_t max_spaces) noexcept;

class CacheShard;
class CacheSpaces;

class RowCache {
 public:
  // Makes an empty cache in `memory` (geometry.bytes of it, 128-byte aligned). One process, before
  // others come; they inherit the object.
  RowCache(void* memory, const CacheGeometry& geometry, SharedLocks& locks) noexcept;

  enum class Found : std::uint8_t { kNo, kYes, kTooSmall };
  // Copies an entry. kTooSmall: `into` has no room for *size bytes, only they and the stamp
  // were given. Counts as a use for eviction.
  Found find(CacheKey key, Stamp* stamp, std::span<std::byte> into, std::size_t* size) noexcept;

  // A number that grows whenever the space is emptied on request, and never goes back, not even
  // while the space is unknown. Read it before the row is read, hand it to put(): what was read
  // before an invalidation does not get in after it.
  std::uint64_t epoch(std::uint64_t space) noexcept;

  enum class Put : std::uint8_t { kStored, kTooLarge, kNoRoom, kOutdated };
  // Stores or replaces an entry, evicting what must go. kTooLarge, kNoRoom (max_spaces others
  // have entries): the key has no entry afterwards, an older one goes too. kOutdated: nothing has
  // changed; the row may be older than an invalidation, or, rarely, its space was forgotten
  // meanwhile.
  //
  // kExpected: as if it had been used before, so that other entries make room before it does.
  enum class Use : std::uint8_t { kUnknown, kExpected };
  Put put(CacheKey key, const Stamp& stamp, std::span<const std::byte> row, std::uint64_t epoch,
          Use use = Use::kUnknown) noexcept;

  // Gives an entry a new stamp, provided that it still has the old one. False if not.
  bool restamp(CacheKey key, const Stamp& old_stamp, const Stamp& new_stamp) noexcept;

  // Removes an entry; with a stamp only if it still has that one. False if there was none.
  bool erase(CacheKey key, const Stamp* only = nullptr) noexcept;
  // Removes the entries of a space, shard by shard, and raises its epoch first. Returns how many.
  std::uint64_t erase_space(std::uint64_t space) noexcept;
  // The same, and forgets the space: its relation is no longer cached.
  void drop_space(std::uint64_t space) noexcept;

  // The largest row that can be stored.
  std::size_t max_row() const noexcept;

  void count(std::uint64_t space, const CacheCounters& delta) noexcept;
  void reset_counters(std::uint64_t space) noexcept;
  // False if nothing is known of the space.
  bool usage(std::uint64_t space, SpaceUsage* usage) noexcept;
  // Of all spaces, up to `capacity` of them; returns how many there are.
  std::size_t list_spaces(SpaceUsage* usages, std::size_t capacity) noexcept;
  CacheUsage usage() noexcept;

  // Checks every invariant of every shard (queues, hash chains, sums); for tests. Null if all hold,
  // else what does not.
  const char* check() noexcept;

 private:
  CacheSpaces spaces() const noexcept;
  std::uint32_t shard_of(std::uint64_t hash) const noexcept;
  CacheShard& shard(std::uint32_t no) const noexcept;

  CacheGeometry geometry_;
  std::byte* base_;
  std::byte* shards_;
  std::size_t shard_bytes_;
  SharedLocks& locks_;
};

}  // namespace pgwc
