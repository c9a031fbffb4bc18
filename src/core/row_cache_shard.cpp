#include "core/row_cache_shard.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <new>

#include "core/layout.hpp"

namespace pgwc {

namespace bip = boost::interprocess;

namespace {

std::atomic_ref<std::uint8_t> atomic(std::uint8_t& value) noexcept {
  return std::atomic_ref<std::uint8_t>(value);
}

// For rows of 24 bytes there is a slot each on average, for those of 100 there are two. A ghost for
// each entry of 128 bytes.
constexpr std::size_t kBytesPerBucket = 96 * 16;
constexpr std::size_t kBytesPerGhost = 128;

}  // namespace

CacheShard& CacheShard::create(std::byte* memory, std::size_t size) noexcept {
  auto* shard = new (memory) CacheShard;
  shard->size_ = size;
  shard->handle_mask_ = static_cast<Handle>((std::uint64_t{1} << std::bit_width(size / kUnit)) - 1);

  using Buffer = bip::basic_managed_external_buffer<
      char, bip::rbtree_best_fit<bip::null_mutex_family, bip::offset_ptr<void>>, bip::iset_index>;
  const std::size_t start = align_up<kCacheLine>(sizeof(CacheShard));
  Buffer buffer(bip::create_only, memory + start, size - start);
  Memory* manager = buffer.get_segment_manager();
  shard->memory_ = manager;
  // The allocator's own end mark lies in the last unit.
  shard->end_ = static_cast<Handle>(size / kUnit);

  shard->bucket_count_ = size / kBytesPerBucket;
  shard->ghost_count_ = size / kBytesPerGhost / GhostQueue::kWays * GhostQueue::kWays;
  const std::size_t bucket_bytes = shard->bucket_count_ * sizeof(Bucket);
  const std::size_t map_bytes = (shard->end_ / 64 + 1) * sizeof(std::uint64_t);
  const std::size_t ghost_bytes = shard->ghost_count_ * sizeof(std::uint32_t);
  const std::size_t tables = bucket_bytes + map_bytes + ghost_bytes;
  auto* table =
      static_cast<std::byte*>(manager->allocate_aligned(tables, kCacheLine, std::nothrow));
  std::memset(table, 0, tables);
  shard->begin_ = shard->handle(reinterpret_cast<const Entry*>(table + tables));
  shard->buckets_ = reinterpret_cast<Bucket*>(table);
  shard->map_ = reinterpret_cast<std::uint64_t*>(table + bucket_bytes);
  shard->ghosts_ = reinterpret_cast<std::uint32_t*>(table + bucket_bytes + map_bytes);

  shard->capacity_ = manager->get_free_memory();
  shard->small_target_ = shard->capacity_ / 10;
  shard->small_ = shard->main_ = Queue{};
  shard->ghost_clock_ = 0;
  shard->hand_ = 0;
  return *shard;
}

std::size_t CacheShard::max_row() const noexcept { return capacity_ / 8 - sizeof(Entry); }

RowCache::Found CacheShard::find(CacheKey key, std::uint64_t hash, Stamp* stamp,
                                 std::span<std::byte> into, std::size_t* size) noexcept {
  const Link* link = find_link(key, hash);
  if (link == nullptr) return RowCache::Found::kNo;
  Entry* entry = at(handle(*link));
  // Another reader's step may be lost; nobody minds.
  const std::uint8_t uses = atomic(entry->uses).load(std::memory_order_relaxed);
  if (uses < kMostUses)
    atomic(entry->uses).store(static_cast<std::uint8_t>(uses + 1), std::memory_order_relaxed);
  *size = entry->size;
  *stamp = entry->stamp;
  if (entry->size > into.size()) return RowCache::Found::kTooSmall;
  if (entry->size != 0) std::memcpy(into.data(), entry->row(), entry->size);
  return RowCache::Found::kYes;
}

void CacheShard::set(Entry* entry, const Stamp& stamp, std::span<const std::byte> row) noexcept {
  entry->size = static_cast<std::uint32_t>(row.size());
  entry->stamp = stamp;
  if (!row.empty()) std::memcpy(entry->row(), row.data(), row.size());
}

RowCache::Put CacheShard::put(CacheKey key, std::uint64_t hash, const Stamp& stamp,
                              std::span<const std::byte> row, SpaceNo space, RowCache::Use use,
                              CacheSpaces& spaces) noexcept {
  const bool is_expected = use == RowCache::Use::kExpected;
  const Link* known = find_link(key, hash);
  Entry* old = known == nullptr ? nullptr : at(handle(*known));
  const std::size_t bytes = sizeof(Entry) + row.size();
  CacheSpace& owner = spaces[space];

  if (old != nullptr) spaces.unpin(space);  // the entry has one already
  if (old != nullptr && is_expected) old->uses = std::max(old->uses, kUsesForMain);
  if (old != nullptr && memory_->size(old) >= bytes && memory_->size(old) - bytes < kUnit) {
    set(old, stamp, row);
    owner.fills.fetch_add(1, std::memory_order_relaxed);
    return RowCache::Put::kStored;
  }

  const bool was_ghost = old == nullptr && ghosts().take(hash, entries() - entries() / 10);
  std::byte* place = allocate(bytes, old, spaces);
  if (place == nullptr) {
    if (old != nullptr) remove(old, link_to(old, hash), bucket(hash), spaces);
    spaces.unpin(space);
    return RowCache::Put::kNoRoom;
  }
  auto* entry = new (place) Entry;
  entry->hash = key.hash;
  entry->space = key.space;
  entry->space_no = space;
  entry->unused = 0;
  set(entry, stamp, row);
  if (old != nullptr) {
    entry->uses = old->uses;
    entry->in = old->in;
    entry->next = old->next;
    replace_in_queue(old, entry);
    *link_to(old, hash) = tag(hash) | handle(entry);
    owner.bytes.fetch_sub(taken(old), std::memory_order_relaxed);
    free(old);
  } else {
    entry->uses = is_expected ? 1 : 0;
    entry->in = was_ghost || is_expected ? In::kMain : In::kSmall;
    push(queue(entry->in), entry);
    insert(entry, hash);
  }
  owner.bytes.fetch_add(taken(entry), std::memory_order_relaxed);
  owner.fills.fetch_add(1, std::memory_order_relaxed);
  return RowCache::Put::kStored;
}

bool CacheShard::restamp(CacheKey key, std::uint64_t hash, const Stamp& old_stamp,
                         const Stamp& new_stamp) noexcept {
  const Link* link = find_link(key, hash);
  if (link == nullptr || at(handle(*link))->stamp != old_stamp) return false;
  at(handle(*link))->stamp = new_stamp;
  return true;
}

bool CacheShard::erase(CacheKey key, std::uint64_t hash, const Stamp* only,
                       CacheSpaces& spaces) noexcept {
  Link* link = find_link(key, hash);
  if (link == nullptr) return false;
  Entry* entry = at(handle(*link));
  if (only != nullptr && entry->stamp != *only) return false;
  const SpaceNo space = entry->space_no;
  remove(entry, link, bucket(hash), spaces);
  spaces.unpin(space);
  return true;
}

std::uint64_t CacheShard::erase_space(SpaceNo space, std::size_t first_bucket, std::size_t buckets,
                                      CacheSpaces& spaces) noexcept {
  std::uint64_t erased = 0;
  const std::size_t end = std::min<std::size_t>(first_bucket + buckets, bucket_count_);
  for (std::size_t b = first_bucket; b < end; ++b) {
    Bucket& its = buckets_[static_cast<std::ptrdiff_t>(b)];
    const auto clear = [&](Link* link) {
      Entry* entry = at(handle(*link));
      if (entry->space_no != space) return false;
      remove(entry, link, its, spaces);
      spaces.unpin(space);
      ++erased;
      return true;
    };
    // What is removed may be replaced by one from the chain.
    for (Link& link : its.slots) {
      while (link != 0 && clear(&link)) {
      }
    }
    for (Link* link = &its.chain; *link != 0;)
      if (!clear(link)) link = &at(handle(*link))->next;
  }
  return erased;
}

void CacheShard::remove(Entry* entry, Link* link, Bucket& its, CacheSpaces& spaces) noexcept {
  take_out(queue(entry->in), entry);
  take_out(link, its);
  spaces[entry->space_no].bytes.fetch_sub(taken(entry), std::memory_order_relaxed);
  free(entry);
}

const char* CacheShard::check(CacheSpaces& spaces) noexcept {
  if (!memory_->check_sanity()) return "the allocator's own structures are damaged";
  std::uint64_t sum = 0;
  for (In in : {In::kSmall, In::kMain})
    if (const char* wrong = check_queue(in, spaces, &sum)) return wrong;
  if (sum != capacity_ - memory_->get_free_memory())
    return "the entries' bytes are not what the allocator has given out";
  if (const char* wrong = check_table()) return wrong;
  return check_map();
}

}  // namespace pgwc
