// A shard's queues, and what goes when there is no room: S3-FIFO.
#include <atomic>

#include "core/row_cache_key.hpp"
#include "core/row_cache_shard.hpp"

namespace pgwc {

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

void CacheShard::replace_in_queue(const Entry* old, Entry* entry) noexcept {
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

void CacheShard::evict(Entry* entry, bool to_ghosts, CacheSpaces& spaces) noexcept {
  const SpaceNo space = entry->space_no;
  const std::uint64_t hash = spread({entry->space, entry->hash});
  if (to_ghosts) ghosts().insert(hash);
  remove(entry, link_to(entry, hash), bucket(hash), spaces);
  spaces[space].evictions.fetch_add(1, std::memory_order_relaxed);
  spaces.unpin(space);
}

bool CacheShard::evict_small(const Entry* keep, CacheSpaces& spaces) noexcept {
  for (std::uint64_t i = small_.count; i > 0; --i) {
    Entry* entry = at(small_.oldest);
    if (entry->uses >= kUsesForMain) {
      take_out(small_, entry);
      entry->uses = 0;
      entry->in = In::kMain;
      push(main_, entry);
    } else if (entry == keep) {
      move_to_front(entry);
    } else {
      evict(entry, true, spaces);
      return true;
    }
  }
  return false;
}

bool CacheShard::evict_main(const Entry* keep, CacheSpaces& spaces) noexcept {
  // After so many steps all of them have lost their uses.
  for (std::uint64_t i = main_.count * (kMostUses + 1); i > 0; --i) {
    Entry* entry = at(main_.oldest);
    if (entry->uses > 0) {
      --entry->uses;
      move_to_front(entry);
    } else if (entry == keep) {
      move_to_front(entry);
    } else {
      evict(entry, false, spaces);
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
  evict(entry, false, spaces);
  return true;
}

bool CacheShard::evict(const Entry* keep, CacheSpaces& spaces) noexcept {
  if (small_.bytes >= small_target_ && evict_small(keep, spaces)) return true;
  return evict_main(keep, spaces) || evict_oldest(small_, keep, spaces);
}

const char* CacheShard::check_queue(In in, CacheSpaces& spaces, std::uint64_t* bytes) noexcept {
  const Queue& its = queue(in);
  std::uint64_t count = 0;
  std::uint64_t sum = 0;
  Handle newer = 0;
  for (Handle h = its.newest; h != 0; h = at(h)->older) {
    Entry* entry = at(h);
    if (count++ == its.count) return "a queue is longer than its count";
    if (entry->newer != newer) return "a queue's links do not match";
    if (entry->in != in) return "an entry is in the wrong queue";
    if (entry->uses > kMostUses) return "an entry has too many uses";
    if (memory_->size(entry) < sizeof(Entry) + entry->size) return "a row is larger than its place";
    if (entry->space_no >= spaces.size() || spaces.id(entry->space_no) != entry->space)
      return "an entry's space has lost its slot";
    const CacheKey key{entry->space, entry->hash};
    const Link* link = find_link(key, spread(key));
    if (link == nullptr || handle(*link) != h) return "an entry is not found by its key";
    sum += taken(entry);
    spaces[entry->space_no].seen_entries += 1;
    spaces[entry->space_no].seen_bytes += taken(entry);
    newer = h;
  }
  if (its.oldest != newer) return "a queue's end is wrong";
  if (count != its.count || sum != its.bytes) return "a queue's sums are wrong";
  *bytes += sum;
  return nullptr;
}

}  // namespace pgwc
