// A shard's hash table: from a key to its entry.
#include <bit>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "core/row_cache_key.hpp"
#include "core/row_cache_shard.hpp"

namespace pgwc {

namespace {

// A bit for each of 16 words that is `wanted` where `mask` has ones.
unsigned matching(const std::uint32_t* words, std::uint32_t mask, std::uint32_t wanted) noexcept {
#ifdef __SSE2__
  const __m128i masks = _mm_set1_epi32(static_cast<int>(mask));
  const __m128i want = _mm_set1_epi32(static_cast<int>(wanted));
  const auto equal = [&](int i) {
    const __m128i four = _mm_load_si128(reinterpret_cast<const __m128i*>(words) + i);
    return _mm_cmpeq_epi32(_mm_and_si128(four, masks), want);
  };
  const __m128i low = _mm_packs_epi32(equal(0), equal(1));
  const __m128i high = _mm_packs_epi32(equal(2), equal(3));
  return static_cast<unsigned>(_mm_movemask_epi8(_mm_packs_epi16(low, high)));
#else
  unsigned bits = 0;
  for (unsigned i = 0; i < 16; ++i) bits |= ((words[i] & mask) == wanted ? 1u : 0u) << i;
  return bits;
#endif
}

constexpr unsigned kAllSlots = (1u << 15) - 1;

}  // namespace

CacheShard::Link* CacheShard::find_link(CacheKey key, std::uint64_t hash) noexcept {
  Bucket& its = bucket(hash);
  const Link wanted = tag(hash);
  const auto is_it = [&](Link link) {
    const Entry* entry = at(handle(link));
    return link != 0 && entry->hash == key.hash && entry->space == key.space;
  };
  unsigned candidates = matching(its.slots, ~handle_mask_, wanted) & kAllSlots;
  for (; candidates != 0; candidates &= candidates - 1) {
    Link* link = &its.slots[std::countr_zero(candidates)];
    if (is_it(*link)) return link;
  }
  for (Link* link = &its.chain; *link != 0; link = &at(handle(*link))->next)
    if ((*link & ~handle_mask_) == wanted && is_it(*link)) return link;
  return nullptr;
}

CacheShard::Link* CacheShard::link_to(const Entry* entry, std::uint64_t hash) noexcept {
  Bucket& its = bucket(hash);
  const Link wanted = tag(hash) | handle(entry);
  const unsigned found = matching(its.slots, ~Link{0}, wanted) & kAllSlots;
  if (found != 0) return &its.slots[std::countr_zero(found)];
  Link* link = &its.chain;
  while (*link != wanted) link = &at(handle(*link))->next;
  return link;
}

void CacheShard::insert(Entry* entry, std::uint64_t hash) noexcept {
  Bucket& its = bucket(hash);
  const Link link = tag(hash) | handle(entry);
  const unsigned empty = matching(its.slots, ~Link{0}, 0) & kAllSlots;
  if (empty != 0) {
    entry->next = 0;
    its.slots[std::countr_zero(empty)] = link;
  } else {
    entry->next = its.chain;
    its.chain = link;
  }
}

void CacheShard::take_out(Link* link, Bucket& its) noexcept {
  *link = at(handle(*link))->next;  // 0 for those that have a slot
  if (link < its.slots || link >= its.slots + kSlots || its.chain == 0) return;
  Entry* first = at(handle(its.chain));
  *link = its.chain;
  its.chain = first->next;
  first->next = 0;
}

const char* CacheShard::check_table() noexcept {
  std::uint64_t count = 0;
  for (std::size_t b = 0; b < bucket_count_; ++b) {
    Bucket& its = buckets_[static_cast<std::ptrdiff_t>(b)];
    bool has_room = false;
    const auto is_wrong = [&](Link link) {
      const Entry* entry = at(handle(link));
      const std::uint64_t hash = spread({entry->space, entry->hash});
      return ++count > entries() || &bucket(hash) != &its || link != (tag(hash) | handle(entry));
    };
    for (Link link : its.slots) {
      if (link == 0)
        has_room = true;
      else if (is_wrong(link) || at(handle(link))->next != 0)
        return "a bucket has a wrong link";
    }
    if (has_room && its.chain != 0) return "a bucket has a chain that it does not need";
    for (Link link = its.chain; link != 0; link = at(handle(link))->next)
      if (is_wrong(link)) return "a chain has a wrong link";
  }
  return count == entries() ? nullptr : "the hash table has lost an entry";
}

}  // namespace pgwc
