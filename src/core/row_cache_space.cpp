#include "core/row_cache_space.hpp"

#include <algorithm>
#include <cstring>

#include "core/layout.hpp"
#include "core/row_cache_lock.hpp"

namespace pgwc {

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

std::size_t CacheSpaces::memory_size(std::uint32_t max_spaces) noexcept {
  return sizeof(Control) +
         align_up<kCacheLine>(sizeof(std::atomic<std::uint64_t>) * std::size_t{max_spaces}) +
         sizeof(CacheSpace) * std::size_t{max_spaces};
}

CacheSpaces::CacheSpaces(std::byte* memory, std::uint32_t max_spaces, SharedLocks& locks,
                         std::uint32_t lock) noexcept
    : max_(max_spaces), lock_(lock), locks_(locks) {
  control_ = reinterpret_cast<Control*>(memory);
  memory += sizeof(Control);
  ids_ = reinterpret_cast<std::atomic<std::uint64_t>*>(memory);
  memory += align_up<kCacheLine>(sizeof(std::atomic<std::uint64_t>) * std::size_t{max_spaces});
  spaces_ = reinterpret_cast<CacheSpace*>(memory);
}

void CacheSpaces::format() noexcept {
  std::memset(static_cast<void*>(control_), 0, memory_size(max_));
  control_->clock.store(1);
  control_->floor.store(1);
}

SpaceNo CacheSpaces::start(std::uint64_t space) const noexcept {
  const std::uint64_t mixed = space * 0x9E3779B97F4A7C15ull;
  return static_cast<SpaceNo>(((mixed >> 32) * max_) >> 32);
}

SpaceNo CacheSpaces::find(std::uint64_t space) const noexcept {
  SpaceNo no = start(space);
  for (std::uint32_t i = 0; i < max_; ++i) {
    const std::uint64_t id = ids_[no].load(std::memory_order_acquire);
    if (id == space) return no;
    if (id == 0) return kNoSpace;
    if (++no == max_) no = 0;
  }
  return kNoSpace;
}

// Should the slot change hands in between, the answer is another space's epoch: one that no
// invalidation after this call can bring back, which is all that matters.
std::uint64_t CacheSpaces::epoch(std::uint64_t space) const noexcept {
  const SpaceNo no = find(space);
  return no == kNoSpace ? control_->floor.load(std::memory_order_seq_cst)
                        : spaces_[no].epoch.load(std::memory_order_seq_cst);
}

RowCache::Put CacheSpaces::pin(std::uint64_t space, std::uint64_t epoch, SpaceNo* no) noexcept {
  *no = find(space);
  if (*no != kNoSpace) {
    CacheSpace& found = spaces_[*no];
    const std::uint64_t before = found.entries.fetch_add(1, std::memory_order_seq_cst);
    if (before == 0) control_->empty.fetch_sub(1, std::memory_order_relaxed);
    // Either raise_epoch() is seen here or its caller sees the pin.
    if ((before & kTakenOver) == 0 && id(*no) == space) {
      if (found.epoch.load(std::memory_order_seq_cst) == epoch) return RowCache::Put::kStored;
      unpin(*no);
      return RowCache::Put::kOutdated;
    }
    unpin(*no);
  }
  const CacheLockGuard guard(locks_, lock_);
  *no = find(space);
  if (*no == kNoSpace) {
    if (control_->floor.load() != epoch) return RowCache::Put::kOutdated;
    *no = add(space, true);
    if (*no == kNoSpace) return RowCache::Put::kNoRoom;
    // Taking over a slot may have raised the floor; nothing was invalidated by that.
    return RowCache::Put::kStored;
  }
  CacheSpace& found = spaces_[*no];
  if (found.entries.fetch_add(1) == 0) control_->empty.fetch_sub(1, std::memory_order_relaxed);
  if (found.epoch.load() == epoch) return RowCache::Put::kStored;
  unpin(*no);
  return RowCache::Put::kOutdated;
}

void CacheSpaces::unpin(SpaceNo no) noexcept {
  if (spaces_[no].entries.fetch_sub(1, std::memory_order_seq_cst) == 1)
    control_->empty.fetch_add(1, std::memory_order_relaxed);
}

SpaceNo CacheSpaces::add(std::uint64_t space, bool from_others) noexcept {
  const bool is_full = control_->used.load(std::memory_order_relaxed) == max_;
  if (is_full && (!from_others || control_->empty.load(std::memory_order_relaxed) == 0))
    return kNoSpace;
  SpaceNo no = start(space);
  for (std::uint32_t i = 0; i < max_; ++i, no = no + 1 == max_ ? 0 : no + 1) {
    const std::uint64_t old = ids_[no].load(std::memory_order_relaxed);
    const bool is_free = old == 0 || old == kTombstone;
    if (!is_free && !is_full) continue;
    CacheSpace& slot = spaces_[no];
    std::uint64_t none = 0;
    if (!slot.entries.compare_exchange_strong(none, kTakenOver)) continue;
    if (is_free) {
      control_->used.fetch_add(1, std::memory_order_relaxed);
    } else {
      raise_floor(slot.epoch.load());
      control_->empty.fetch_sub(1, std::memory_order_relaxed);
    }
    slot.epoch.store(control_->floor.load());
    slot.fills.store(0, std::memory_order_relaxed);
    slot.evictions.store(0, std::memory_order_relaxed);
    for (auto& counter : slot.counters) counter.store(0, std::memory_order_relaxed);
    ids_[no].store(space, std::memory_order_release);
    // Pins of those who came too late may be in it; they are taken back by them.
    slot.entries.fetch_sub(kTakenOver - 1);
    return no;
  }
  return kNoSpace;
}

void CacheSpaces::raise_floor(std::uint64_t epoch) noexcept {
  control_->floor.store(std::max(control_->floor.load(), epoch));
}

SpaceNo CacheSpaces::raise_epoch(std::uint64_t space) noexcept {
  const CacheLockGuard guard(locks_, lock_);
  const std::uint64_t epoch = control_->clock.fetch_add(1) + 1;
  const SpaceNo no = find(space);
  if (no == kNoSpace)
    raise_floor(epoch);
  else
    spaces_[no].epoch.store(epoch, std::memory_order_seq_cst);
  return no;
}

bool CacheSpaces::forget(std::uint64_t space) noexcept {
  const CacheLockGuard guard(locks_, lock_);
  const SpaceNo no = find(space);
  if (no == kNoSpace) return true;
  CacheSpace& slot = spaces_[no];
  std::uint64_t none = 0;
  if (!slot.entries.compare_exchange_strong(none, kTakenOver)) return false;
  raise_floor(slot.epoch.load());
  ids_[no].store(kTombstone, std::memory_order_release);
  clear_tombstones(no);
  control_->used.fetch_sub(1, std::memory_order_relaxed);
  control_->empty.fetch_sub(1, std::memory_order_relaxed);
  // Pins that came too late have not been taken off `empty`; giving them back will add one to it.
  if (slot.entries.fetch_sub(kTakenOver) != kTakenOver)
    control_->empty.fetch_sub(1, std::memory_order_relaxed);
  return true;
}

// Look-ups need to go on behind a free slot only if there is something.
void CacheSpaces::clear_tombstones(SpaceNo no) noexcept {
  if (ids_[no + 1 == max_ ? 0 : no + 1].load(std::memory_order_relaxed) != 0) return;
  while (ids_[no].load(std::memory_order_relaxed) == kTombstone) {
    ids_[no].store(0, std::memory_order_release);
    no = (no == 0 ? max_ : no) - 1;
  }
}

SpaceNo CacheSpaces::find_or_add(std::uint64_t space) noexcept {
  SpaceNo no = find(space);
  if (no != kNoSpace) return no;
  const CacheLockGuard guard(locks_, lock_);
  no = find(space);
  if (no != kNoSpace) return no;
  no = add(space, false);
  if (no != kNoSpace) unpin(no);
  return no;
}

}  // namespace pgwc
