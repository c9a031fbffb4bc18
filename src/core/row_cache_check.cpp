// The invariants of a shard, for tests.
#include "core/row_cache_key.hpp"
#include "core/row_cache_shard.hpp"

namespace pgwc {

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
    const std::uint64_t hash = spread({entry->space, entry->hash});
    const Link* link = find_link({entry->space, entry->hash}, hash);
    if (*link != (tag(hash) | h)) return "an entry is not found by its key";
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

const char* CacheShard::check(CacheSpaces& spaces) noexcept {
  if (!memory_->check_sanity()) return "the allocator's own structures are damaged";
  std::uint64_t sum = 0;
  for (In in : {In::kSmall, In::kMain})
    if (const char* wrong = check_queue(in, spaces, &sum)) return wrong;
  if (sum != capacity_ - memory_->get_free_memory())
    return "the entries' bytes are not what the allocator has given out";
  std::uint64_t linked = 0;
  for (std::size_t b = 0; b < bucket_count_; ++b) {
    for (Link link = buckets_[b]; link != 0; link = at(handle(link))->next) {
      if (linked++ == entries()) return "the hash table has more entries than the queues";
    }
  }
  if (linked != entries()) return "the queues have more entries than the hash table";
  return nullptr;
}

}  // namespace pgwc
