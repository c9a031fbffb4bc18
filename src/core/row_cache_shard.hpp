// One shard of the row cache: memory, hash table and queues of its part of the keys. All under one
// lock, which the caller holds: shared for find(), exclusive for everything else.
//
//   | Shard | managed memory: ghosts, hash table, map, then entries and free blocks as they come |
//
//   entry:   Entry (80 bytes), row.  One allocation, so a hit reads a bucket, the entry and what
//            lies behind it.
//   link:    32 bits: an entry's distance from the shard's start in units of 16, and above it what
//            is left over, filled with bits of the key's hash.
//   bucket:  a cache line of 15 links, and one more to a chain of what does not fit. So a look-up
//            reads hardly any entry but the one it wants.
//   map:     a bit for each unit where an entry begins. What lies between two entries is free.
//
// An entry's life:
//
//   put ──► small ──oldest, used at most once──► gone, its hash a ghost
//     │       └─────oldest, used more──► main ──oldest, not used since──► gone
//     └──ghost──────────────────────────► ▲ └──oldest, used──┐
//                                         └──────────────────┘
//
// Free memory can be in pieces that are too small for a row. Then, after so much was evicted that
// it should have been enough, the neighbours of a place are evicted that are worth least together;
// they become ghosts, whichever queue they were in.
#pragma once

#ifdef POSTGRES_H
#error "core headers come before PostgreSQL's and never need them"
#endif

#include <boost/interprocess/managed_external_buffer.hpp>
#include <boost/interprocess/offset_ptr.hpp>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/limits.hpp"
#include "core/row_cache.hpp"
#include "core/row_cache_ghost.hpp"
#include "core/row_cache_space.hpp"

namespace pgwc {

class CacheShard {
 public:
  // `size` bytes at `this` become an empty shard.
  static CacheShard& create(std::byte* memory, std::size_t size) noexcept;

  RowCache::Found find(CacheKey key, std::uint64_t hash, Stamp* stamp, std::span<std::byte> into,
                       std::size_t* size) noexcept;
  // Brings nearer what find() will look at first.
  void prefetch(std::uint64_t hash) const noexcept { __builtin_prefetch(&bucket(hash)); }

  // The space has been pinned for it; the pin is used up or given back.
  RowCache::Put put(CacheKey key, std::uint64_t hash, const Stamp& stamp,
                    std::span<const std::byte> row, SpaceNo space, RowCache::Use use,
                    CacheSpaces& spaces) noexcept;
  bool restamp(CacheKey key, std::uint64_t hash, const Stamp& old_stamp,
               const Stamp& new_stamp) noexcept;
  bool erase(CacheKey key, std::uint64_t hash, const Stamp* only, CacheSpaces& spaces) noexcept;
  // Removes a space's entries from so many buckets on. Returns how many it removed.
  std::uint64_t erase_space(SpaceNo space, std::size_t first_bucket, std::size_t buckets,
                            CacheSpaces& spaces) noexcept;

  std::size_t buckets() const noexcept { return bucket_count_; }
  std::size_t max_row() const noexcept;
  std::uint64_t capacity() const noexcept { return capacity_; }
  std::uint64_t entries() const noexcept { return small_.count + main_.count; }
  std::uint64_t bytes() const noexcept { return small_.bytes + main_.bytes; }

  // Adds what it has of each space to its sums. Null, or what is wrong.
  const char* check(CacheSpaces& spaces) noexcept;

 private:
  using Link = std::uint32_t;
  using Handle = std::uint32_t;  // a link without hash; 0: none
  using Memory = boost::interprocess::basic_managed_external_buffer<
      char,
      boost::interprocess::rbtree_best_fit<boost::interprocess::null_mutex_family,
                                           boost::interprocess::offset_ptr<void>>,
      boost::interprocess::iset_index>::segment_manager;

  static constexpr std::size_t kUnit = 16;
  static constexpr std::uint8_t kMostUses = 3;
  static constexpr std::uint8_t kUsesForMain = 2;  // what leaves the small queue with fewer is gone

  enum class In : std::uint8_t { kSmall, kMain };

  struct Entry {
    Link next;  // of the bucket's chain
    Handle newer;
    Handle older;
    std::uint32_t size;
    std::uint64_t hash;
    std::uint64_t space;
    Stamp stamp;
    SpaceNo space_no;
    std::uint8_t uses;  // atomic: sharers of the lock raise it
    In in;
    std::uint16_t unused;

    std::byte* row() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
  };
  static_assert(sizeof(Entry) == 80);

  struct Queue {
    Handle newest;
    Handle oldest;
    std::uint64_t count;
    std::uint64_t bytes;
  };

  static constexpr std::size_t kSlots = 15;
  struct alignas(64) Bucket {
    Link slots[kSlots];
    Link chain;  // through Entry::next
  };

  CacheShard() = default;

  Entry* at(Handle handle) noexcept {
    return reinterpret_cast<Entry*>(reinterpret_cast<std::byte*>(this) + handle * kUnit);
  }
  Handle handle(const Entry* entry) const noexcept {
    return static_cast<Handle>(
        (reinterpret_cast<const std::byte*>(entry) - reinterpret_cast<const std::byte*>(this)) /
        kUnit);
  }
  Handle handle(Link link) const noexcept { return link & handle_mask_; }
  Link tag(std::uint64_t hash) const noexcept {
    return static_cast<Link>(hash >> 25) & ~handle_mask_;
  }
  // What the entry takes from the allocator.
  std::uint64_t taken(const Entry* entry) const noexcept {
    return memory_->size(entry) + Memory::PayloadPerAllocation;
  }
  Queue& queue(In in) noexcept { return in == In::kSmall ? small_ : main_; }
  GhostQueue ghosts() noexcept { return {ghosts_.get(), ghost_count_, &ghost_clock_}; }

  // Hash table (row_cache_table.cpp). Links stay where they are until something is taken out.
  Bucket& bucket(std::uint64_t hash) const noexcept {
    return buckets_[static_cast<std::ptrdiff_t>(((hash & 0xFFFFFFFFu) * bucket_count_) >> 32)];
  }
  Link* find_link(CacheKey key, std::uint64_t hash) noexcept;  // null if there is none
  Link* link_to(const Entry* entry, std::uint64_t hash) noexcept;
  void insert(Entry* entry, std::uint64_t hash) noexcept;
  void take_out(Link* link, Bucket& its) noexcept;
  const char* check_table() noexcept;

  // Queues and eviction (row_cache_evict.cpp). `keep` is not evicted.
  void push(Queue& queue, Entry* entry) noexcept;
  void take_out(Queue& queue, Entry* entry) noexcept;
  void replace_in_queue(const Entry* old, Entry* entry) noexcept;
  void move_to_front(Entry* entry) noexcept;
  bool evict(const Entry* keep, CacheSpaces& spaces) noexcept;
  bool evict_small(const Entry* keep, CacheSpaces& spaces) noexcept;
  bool evict_main(const Entry* keep, CacheSpaces& spaces) noexcept;
  bool evict_oldest(Queue& queue, const Entry* keep, CacheSpaces& spaces) noexcept;
  void evict(Entry* entry, bool to_ghosts, CacheSpaces& spaces) noexcept;
  const char* check_queue(In in, CacheSpaces& spaces, std::uint64_t* bytes) noexcept;

  // Places (row_cache_place.cpp).
  std::byte* allocate(std::size_t bytes, const Entry* keep, CacheSpaces& spaces) noexcept;
  void free(Entry* entry) noexcept;
  bool clear_place(std::size_t bytes, const Entry* keep, CacheSpaces& spaces) noexcept;
  Handle next_entry(Handle from) const noexcept;
  const char* check_map() noexcept;

  // Out of queue and table, and its memory free. The space's pin stays.
  void remove(Entry* entry, Link* link, Bucket& its, CacheSpaces& spaces) noexcept;
  static void set(Entry* entry, const Stamp& stamp, std::span<const std::byte> row) noexcept;

  // Immutable.
  std::size_t size_;
  std::uint64_t capacity_;      // bytes that entries can take together
  std::uint64_t small_target_;  // of these, what the small queue may have
  std::uint64_t bucket_count_;
  std::size_t ghost_count_;
  Handle handle_mask_;
  boost::interprocess::offset_ptr<Memory> memory_;
  Handle begin_;  // of the entries' area; one or two may lie before the tables
  Handle end_;
  boost::interprocess::offset_ptr<Bucket> buckets_;
  boost::interprocess::offset_ptr<std::uint32_t> ghosts_;
  boost::interprocess::offset_ptr<std::uint64_t> map_;
  // Exclusive lock.
  alignas(kCacheLine) Queue small_;
  Queue main_;
  std::uint64_t ghost_clock_;
  Handle hand_;  // where the last place was cleared
};

}  // namespace pgwc
