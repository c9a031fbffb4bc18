#include "core/row_cache.hpp"

#include <algorithm>
#include <cstring>

#include "core/layout.hpp"
#include "core/row_cache_key.hpp"
#include "core/row_cache_lock.hpp"
#include "core/row_cache_shard.hpp"
#include "core/row_cache_space.hpp"

namespace pgwc {

namespace {

constexpr std::size_t kLeastShard = 2u << 20;
constexpr std::size_t kSmallestShard = 32u << 10;  // of a cache that is smaller than that
constexpr std::uint32_t kMostShards = 128;
constexpr std::size_t kLargestShard = std::size_t{60} << 30;  // links have 32 bits for units of 16

// Entries are removed from so many buckets at a time (some 4,000 entries), so that nobody waits
// long for the lock.
constexpr std::size_t kBucketsAtOnce = 256;

std::size_t shard_bytes(const CacheGeometry& geometry) noexcept {
  const std::size_t left = geometry.bytes - CacheSpaces::memory_size(geometry.max_spaces);
  return left / geometry.shards / kCacheLine * kCacheLine;
}

}  // namespace

CacheGeometry cache_geometry(std::size_t bytes, std::uint32_t max_spaces) noexcept {
  max_spaces = std::max(max_spaces, 1u);
  const std::size_t spaces = CacheSpaces::memory_size(max_spaces);
  std::size_t left = std::max(bytes, spaces + kSmallestShard) - spaces;
  std::uint32_t shards = 1;
  while (shards < kMostShards && left / (2 * shards) >= kLeastShard - kLeastShard / 16) shards *= 2;
  left = std::min(left / shards / kCacheLine * kCacheLine, kLargestShard) * shards;
  return {spaces + left, shards, max_spaces};
}

RowCache::RowCache(void* memory, const CacheGeometry& geometry, SharedLocks& locks) noexcept
    : geometry_(geometry),
      base_(static_cast<std::byte*>(memory)),
      shards_(base_ + CacheSpaces::memory_size(geometry.max_spaces)),
      shard_bytes_(shard_bytes(geometry)),
      locks_(locks) {
  spaces().format();
  for (std::uint32_t i = 0; i < geometry_.shards; ++i)
    CacheShard::create(shards_ + i * shard_bytes_, shard_bytes_);
}

CacheSpaces RowCache::spaces() const noexcept {
  return {base_, geometry_.max_spaces, locks_, geometry_.shards};
}

std::uint32_t RowCache::shard_of(std::uint64_t hash) const noexcept {
  return static_cast<std::uint32_t>(hash >> 57) & (geometry_.shards - 1);
}

CacheShard& RowCache::shard(std::uint32_t no) const noexcept {
  return *reinterpret_cast<CacheShard*>(shards_ + no * shard_bytes_);
}

RowCache::Found RowCache::find(CacheKey key, Stamp* stamp, std::span<std::byte> into,
                               std::size_t* size) noexcept {
  const std::uint64_t hash = spread(key);
  const std::uint32_t no = shard_of(hash);
  CacheShard& its = shard(no);
  its.prefetch(hash);
  const CacheLockGuard guard(locks_, no, CacheLockGuard::Mode::kShared);
  return its.find(key, hash, stamp, into, size);
}

std::uint64_t RowCache::epoch(std::uint64_t space) noexcept { return spaces().epoch(space); }

RowCache::Put RowCache::put(CacheKey key, const Stamp& stamp, std::span<const std::byte> row,
                            std::uint64_t epoch, Use use) noexcept {
  if (row.size() > max_row()) {
    erase(key);
    return Put::kTooLarge;
  }
  const std::uint64_t hash = spread(key);
  const std::uint32_t no = shard_of(hash);
  CacheSpaces all = spaces();
  const CacheLockGuard guard(locks_, no);
  SpaceNo space = kNoSpace;
  const Put pinned = all.pin(key.space, epoch, &space);
  if (pinned != Put::kStored) return pinned;
  return shard(no).put(key, hash, stamp, row, space, use, all);
}

bool RowCache::restamp(CacheKey key, const Stamp& old_stamp, const Stamp& new_stamp) noexcept {
  const std::uint64_t hash = spread(key);
  const std::uint32_t no = shard_of(hash);
  const CacheLockGuard guard(locks_, no);
  return shard(no).restamp(key, hash, old_stamp, new_stamp);
}

bool RowCache::erase(CacheKey key, const Stamp* only) noexcept {
  const std::uint64_t hash = spread(key);
  const std::uint32_t no = shard_of(hash);
  CacheSpaces all = spaces();
  const CacheLockGuard guard(locks_, no);
  return shard(no).erase(key, hash, only, all);
}

std::uint64_t RowCache::erase_space(std::uint64_t space) noexcept {
  CacheSpaces all = spaces();
  const SpaceNo its = all.raise_epoch(space);
  if (its == kNoSpace) return 0;
  std::uint64_t erased = 0;
  for (std::uint32_t no = 0; no < geometry_.shards; ++no) {
    for (std::size_t at = 0; at < shard(no).buckets(); at += kBucketsAtOnce) {
      // Nobody can make an entry any more without knowing the new epoch.
      if (all.entries(its) == 0) return erased;
      const CacheLockGuard guard(locks_, no);
      // Without entries the slot can change hands.
      if (all.id(its) != space) return erased;
      erased += shard(no).erase_space(its, at, kBucketsAtOnce, all);
    }
  }
  return erased;
}

void RowCache::drop_space(std::uint64_t space) noexcept {
  // Somebody may be filling it all the time. Then it stays known until another space wants its
  // slot.
  for (int i = 0; i < 3; ++i) {
    erase_space(space);
    if (spaces().forget(space)) return;
  }
}

std::size_t RowCache::max_row() const noexcept { return shard(0).max_row(); }

void RowCache::count(std::uint64_t space, const CacheCounters& delta) noexcept {
  CacheSpaces all = spaces();
  const SpaceNo no = all.find_or_add(space);
  if (no == kNoSpace) return;
  const std::uint64_t values[] = {delta.hits_by_page, delta.hits_by_tid,   delta.hits_by_age,
                                  delta.misses,       delta.failed_proofs, delta.waits};
  for (std::size_t i = 0; i < std::size(values); ++i)
    if (values[i] != 0) all[no].counters[i].fetch_add(values[i], std::memory_order_relaxed);
}

void RowCache::reset_counters(std::uint64_t space) noexcept {
  CacheSpaces all = spaces();
  const SpaceNo no = all.find(space);
  if (no == kNoSpace) return;
  all[no].fills.store(0, std::memory_order_relaxed);
  all[no].evictions.store(0, std::memory_order_relaxed);
  for (auto& counter : all[no].counters) counter.store(0, std::memory_order_relaxed);
}

namespace {

SpaceUsage usage_of(const CacheSpaces& spaces, SpaceNo no) noexcept {
  const CacheSpace& space = spaces[no];
  const auto get = [](const std::atomic<std::uint64_t>& value) {
    return value.load(std::memory_order_relaxed);
  };
  const auto& c = space.counters;
  return {spaces.id(no),        spaces.entries(no),
          get(space.bytes),     get(space.fills),
          get(space.evictions), {get(c[0]), get(c[1]), get(c[2]), get(c[3]), get(c[4]), get(c[5])}};
}

}  // namespace

bool RowCache::usage(std::uint64_t space, SpaceUsage* usage) noexcept {
  const CacheSpaces all = spaces();
  const SpaceNo no = all.find(space);
  if (no == kNoSpace) return false;
  *usage = usage_of(all, no);
  return usage->space == space;
}

std::size_t RowCache::list_spaces(SpaceUsage* usages, std::size_t capacity) noexcept {
  const CacheSpaces all = spaces();
  std::size_t count = 0;
  for (SpaceNo no = 0; no < all.size(); ++no) {
    const SpaceUsage usage = usage_of(all, no);
    if (usage.space == 0) continue;
    if (count < capacity) usages[count] = usage;
    ++count;
  }
  return count;
}

CacheUsage RowCache::usage() noexcept {
  CacheUsage sum{};
  sum.shards = geometry_.shards;
  sum.spaces = static_cast<std::uint32_t>(list_spaces(nullptr, 0));
  for (std::uint32_t no = 0; no < geometry_.shards; ++no) {
    const CacheLockGuard guard(locks_, no, CacheLockGuard::Mode::kShared);
    sum.entries += shard(no).entries();
    sum.bytes += shard(no).bytes();
    sum.capacity += shard(no).capacity();
  }
  return sum;
}

const char* RowCache::check() noexcept {
  CacheSpaces all = spaces();
  for (std::uint32_t no = 0; no < geometry_.shards; ++no) locks_.acquire(no);
  locks_.acquire(geometry_.shards);
  for (SpaceNo no = 0; no < all.size(); ++no) all[no].seen_entries = all[no].seen_bytes = 0;
  const char* wrong = nullptr;
  for (std::uint32_t no = 0; no < geometry_.shards && wrong == nullptr; ++no)
    wrong = shard(no).check(all);
  for (SpaceNo no = 0; no < all.size() && wrong == nullptr; ++no) {
    if (all.entries(no) != all[no].seen_entries) wrong = "a space's count of entries is wrong";
    if (all[no].bytes.load() != all[no].seen_bytes) wrong = "a space's sum of bytes is wrong";
  }
  for (std::uint32_t no = geometry_.shards + 1; no-- > 0;) locks_.release(no);
  return wrong;
}

}  // namespace pgwc
