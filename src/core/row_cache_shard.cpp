#include "core/row_cache_shard.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <new>

#include "core/layout.hpp"
#include "core/row_cache_key.hpp"

namespace pgwc {

namespace bip = boost::interprocess;

namespace {

std::atomic_ref<std::uint8_t> atomic(std::uint8_t& value) noexcept {
  return std::atomic_ref<std::uint8_t>(value);
}

// A bucket, and a ghost, for so many bytes: as many as entries of the smallest usual size.
constexpr std::size_t kBytesPerBucket = 128;

}  // namespace

CacheShard& CacheShard::create(std::byte* memory, std::size_t size) noexcept {
  auto* shard = new (memory) CacheShard;
  shard->size_ = size;
  const unsigned bits = static_cast<unsigned>(std::bit_width(size / kUnit));
  shard->handle_mask_ = static_cast<Handle>((std::uint64_t{1} << bits) - 1);

  using Buffer = bip::basic_managed_external_buffer<
      char, bip::rbtree_best_fit<bip::null_mutex_family, bip::offset_ptr<void>>, bip::iset_index>;
  const std::size_t start = align_up<kCacheLine>(sizeof(CacheShard));
  Buffer buffer(bip::create_only, memory + start, size - start);
  Memory* manager = buffer.get_segment_manager();
  shard->memory_ = manager;

  shard->bucket_count_ = std::max<std::size_t>(size / kBytesPerBucket, GhostQueue::kWays);
  shard->ghost_count_ = shard->bucket_count_ / GhostQueue::kWays * GhostQueue::kWays;
  const std::size_t tables = (shard->bucket_count_ + shard->ghost_count_) * sizeof(Link);
  auto* words = static_cast<Link*>(manager->allocate_aligned(tables, kCacheLine, std::nothrow));
  std::memset(words, 0, tables);
  shard->ghosts_ = words;
  shard->buckets_ = words + shard->ghost_count_;

  shard->capacity_ = manager->get_free_memory();
  shard->small_target_ = shard->capacity_ / 10;
  shard->small_ = shard->main_ = Queue{};
  shard->ghost_clock_ = 0;
  return *shard;
}

std::size_t CacheShard::max_row() const noexcept { return capacity_ / 8 - sizeof(Entry); }

// --- look-up ---

CacheShard::Link* CacheShard::find_link(CacheKey key, std::uint64_t hash) noexcept {
  const Link wanted = tag(hash);
  Link* link = &buckets_[bucket(hash)];
  while (*link != 0) {
    Entry* entry = at(handle(*link));
    if ((*link & ~handle_mask_) == wanted && entry->hash == key.hash && entry->space == key.space)
      return link;
    link = &entry->next;
  }
  return link;
}

CacheShard::Link* CacheShard::link_to(Entry* entry) noexcept {
  Link* link = &buckets_[bucket(spread({entry->space, entry->hash}))];
  while (handle(*link) != handle(entry)) link = &at(handle(*link))->next;
  return link;
}

RowCache::Found CacheShard::find(CacheKey key, std::uint64_t hash, Stamp* stamp,
                                 std::span<std::byte> into, std::size_t* size) noexcept {
  const Link link = *find_link(key, hash);
  if (link == 0) return RowCache::Found::kNo;
  Entry* entry = at(handle(link));
  // Another reader's step may be lost; nobody minds.
  const std::uint8_t uses = atomic(entry->uses).load(std::memory_order_relaxed);
  if (uses < kMostUses)
    atomic(entry->uses).store(static_cast<std::uint8_t>(uses + 1), std::memory_order_relaxed);
  *size = entry->size;
  if (entry->size > into.size()) return RowCache::Found::kTooSmall;
  *stamp = entry->stamp;
  if (entry->size != 0) std::memcpy(into.data(), entry->row(), entry->size);
  return RowCache::Found::kYes;
}

// --- queues ---

void CacheShard::push(Queue& queue, Entry* entry) noexcept {
  const Handle own = handle(entry);
  entry->newer = 0;
  entry->older = queue.newest;
  if (queue.newest != 0)
    at(queue.newest)->newer = own;
  else
    queue.oldest = own;
  queue.newest = own;
  ++queue.count;
  queue.bytes += taken(entry);
}

void CacheShard::take_out(Queue& queue, Entry* entry) noexcept {
  (entry->newer != 0 ? at(entry->newer)->older : queue.newest) = entry->older;
  (entry->older != 0 ? at(entry->older)->newer : queue.oldest) = entry->newer;
  --queue.count;
  queue.bytes -= taken(entry);
}

void CacheShard::replace_in_queue(Entry* old, Entry* entry) noexcept {
  Queue& its = queue(old->in);
  entry->newer = old->newer;
  entry->older = old->older;
  (entry->newer != 0 ? at(entry->newer)->older : its.newest) = handle(entry);
  (entry->older != 0 ? at(entry->older)->newer : its.oldest) = handle(entry);
  its.bytes += taken(entry);
  its.bytes -= taken(old);
}

void CacheShard::move_to_front(Entry* entry) noexcept {
  Queue& its = queue(entry->in);
  take_out(its, entry);
  push(its, entry);
}

// --- eviction ---

void CacheShard::remove(Entry* entry, Link* link, CacheSpaces& spaces) noexcept {
  take_out(queue(entry->in), entry);
  *link = entry->next;
  spaces[entry->space_no].bytes.fetch_sub(taken(entry), std::memory_order_relaxed);
  memory_->deallocate(entry);
}

void CacheShard::evict(Entry* entry, CacheSpaces& spaces) noexcept {
  const SpaceNo space = entry->space_no;
  if (entry->in == In::kSmall) ghosts().insert(spread({entry->space, entry->hash}));
  remove(entry, link_to(entry), spaces);
  spaces[space].evictions.fetch_add(1, std::memory_order_relaxed);
  spaces.unpin(space);
}

bool CacheShard::evict_small(const Entry* keep, CacheSpaces& spaces) noexcept {
  for (std::uint64_t i = small_.count; i > 0; --i) {
    Entry* entry = at(small_.oldest);
    if (entry->uses > 1) {
      take_out(small_, entry);
      entry->uses = 0;
      entry->in = In::kMain;
      push(main_, entry);
    } else if (entry == keep) {
      move_to_front(entry);
    } else {
      evict(entry, spaces);
      return true;
    }
  }
  return false;
}

bool CacheShard::evict_main(const Entry* keep, CacheSpaces& spaces) noexcept {
  for (std::uint64_t i = main_.count * kMostUses; i > 0; --i) {
    Entry* entry = at(main_.oldest);
    if (entry->uses > 0) {
      --entry->uses;
      move_to_front(entry);
    } else if (entry == keep) {
      move_to_front(entry);
    } else {
      evict(entry, spaces);
      return true;
    }
  }
  return false;
}

bool CacheShard::evict_oldest(Queue& queue, const Entry* keep, CacheSpaces& spaces) noexcept {
  if (queue.count == 0) return false;
  Entry* entry = at(queue.oldest);
  if (entry == keep) {
    if (queue.count == 1) return false;
    entry = at(entry->newer);
  }
  evict(entry, spaces);
  return true;
}

bool CacheShard::evict(const Entry* keep, CacheSpaces& spaces) noexcept {
  if (small_.bytes >= small_target_ && evict_small(keep, spaces)) return true;
  return evict_main(keep, spaces) || evict_oldest(main_, keep, spaces) ||
         evict_oldest(small_, keep, spaces);
}

std::byte* CacheShard::allocate(std::size_t bytes, const Entry* keep,
                                CacheSpaces& spaces) noexcept {
  // Free memory may be in pieces too small. How much may go for the sake of one row has a limit.
  const std::uint64_t free = memory_->get_free_memory();
  const std::uint64_t limit = free + std::max<std::uint64_t>(16 * bytes, capacity_ / 16);
  while (true) {
    void* place = memory_->allocate(bytes, std::nothrow);
    if (place != nullptr) return static_cast<std::byte*>(place);
    if (memory_->get_free_memory() >= limit || !evict(keep, spaces)) return nullptr;
  }
}

// --- changes ---

void CacheShard::set(Entry* entry, const Stamp& stamp, std::span<const std::byte> row) noexcept {
  entry->size = static_cast<std::uint32_t>(row.size());
  entry->stamp = stamp;
  if (!row.empty()) std::memcpy(entry->row(), row.data(), row.size());
}

RowCache::Put CacheShard::put(CacheKey key, std::uint64_t hash, const Stamp& stamp,
                              std::span<const std::byte> row, SpaceNo space,
                              CacheSpaces& spaces) noexcept {
  Link* link = find_link(key, hash);
  Entry* old = *link == 0 ? nullptr : at(handle(*link));
  const std::size_t bytes = sizeof(Entry) + row.size();
  CacheSpace& owner = spaces[space];

  if (old != nullptr) spaces.unpin(space);  // the entry has one already
  if (old != nullptr && memory_->size(old) >= bytes && memory_->size(old) - bytes < kUnit) {
    set(old, stamp, row);
    owner.fills.fetch_add(1, std::memory_order_relaxed);
    return RowCache::Put::kStored;
  }

  // An eviction below must not find it there.
  const bool was_ghost = old == nullptr && ghosts().take(hash, entries() - entries() / 10);
  std::byte* place = allocate(bytes, old, spaces);
  if (place == nullptr) {
    if (old != nullptr) remove(old, link_to(old), spaces);
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
    replace_in_queue(old, entry);
    link = link_to(old);
    entry->next = old->next;
    owner.bytes.fetch_sub(taken(old), std::memory_order_relaxed);
    memory_->deallocate(old);
    *link = tag(hash) | handle(entry);
  } else {
    entry->uses = 0;
    entry->in = was_ghost ? In::kMain : In::kSmall;
    push(queue(entry->in), entry);
    Link& first = buckets_[bucket(hash)];
    entry->next = first;
    first = tag(hash) | handle(entry);
  }
  owner.bytes.fetch_add(taken(entry), std::memory_order_relaxed);
  owner.fills.fetch_add(1, std::memory_order_relaxed);
  return RowCache::Put::kStored;
}

bool CacheShard::restamp(CacheKey key, std::uint64_t hash, const Stamp& old_stamp,
                         const Stamp& new_stamp) noexcept {
  const Link link = *find_link(key, hash);
  if (link == 0 || at(handle(link))->stamp != old_stamp) return false;
  at(handle(link))->stamp = new_stamp;
  return true;
}

bool CacheShard::erase(CacheKey key, std::uint64_t hash, const Stamp* only,
                       CacheSpaces& spaces) noexcept {
  Link* link = find_link(key, hash);
  if (*link == 0) return false;
  Entry* entry = at(handle(*link));
  if (only != nullptr && entry->stamp != *only) return false;
  const SpaceNo space = entry->space_no;
  remove(entry, link, spaces);
  spaces.unpin(space);
  return true;
}

std::uint64_t CacheShard::erase_space(SpaceNo space, std::size_t first_bucket, std::size_t buckets,
                                      CacheSpaces& spaces) noexcept {
  std::uint64_t erased = 0;
  const std::size_t end = std::min(first_bucket + buckets, bucket_count_);
  for (std::size_t b = first_bucket; b < end; ++b) {
    for (Link* link = &buckets_[b]; *link != 0;) {
      Entry* entry = at(handle(*link));
      if (entry->space_no != space) {
        link = &entry->next;
        continue;
      }
      remove(entry, link, spaces);
      spaces.unpin(space);
      ++erased;
    }
  }
  return erased;
}

}  // namespace pgwc
