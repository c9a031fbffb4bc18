// A row cache on the heap, and rows whose bytes follow from a number.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "core/row_cache.hpp"
#include "unit/rig.hpp"

namespace pgwc::test {

// For one thread: a lock is free when it is taken, all are given back, and shards' come before the
// spaces'.
class CheckedLocks final : public SharedLocks {
 public:
  ~CheckedLocks() { must(held_.empty(), "every lock is released"); }
  void acquire_shared(std::uint32_t id) noexcept override { acquire(id); }
  void acquire(std::uint32_t id) noexcept override {
    must(held_.empty() || held_.back() < id, "lock order: shards, then the spaces");
    held_.push_back(id);
    ++acquired_;
  }
  void release(std::uint32_t id) noexcept override {
    must(!held_.empty() && held_.back() == id, "the lock taken last is released first");
    held_.pop_back();
  }
  std::uint64_t acquired() const { return acquired_; }

 private:
  std::vector<std::uint32_t> held_;
  std::uint64_t acquired_ = 0;
};

inline Bytes cache_row(std::uint64_t id, std::size_t size) {
  Bytes row(size);
  for (std::size_t i = 0; i < size; ++i) row[i] = filler(id, i);
  return row;
}

inline Stamp stamp_of(std::uint64_t id) { return {id, id + 1, id + 2, id + 3, ~id}; }

class CacheRig {
 public:
  explicit CacheRig(std::size_t bytes, std::uint32_t max_spaces = 16)
      : geometry_(cache_geometry(bytes, max_spaces)),
        memory_(geometry_.bytes),
        cache_((memory_.fill(0xA5), memory_.data()), geometry_, locks_) {}

  RowCache& operator*() { return cache_; }
  RowCache* operator->() { return &cache_; }
  const CacheGeometry& geometry() const { return geometry_; }
  CheckedLocks& locks() { return locks_; }

  RowCache::Put put(CacheKey key, std::uint64_t id, std::size_t size = 100) {
    return cache_.put(key, stamp_of(id), cache_row(id, size), cache_.epoch(key.space));
  }
  // Whether the key has exactly this row. With id 0: none.
  bool has(CacheKey key, std::uint64_t id, std::size_t size = 100) {
    Stamp stamp{};
    Bytes row(size);
    std::size_t found = 0;
    const RowCache::Found answer = cache_.find(key, &stamp, row, &found);
    if (id == 0) return answer == RowCache::Found::kNo;
    return answer == RowCache::Found::kYes && found == size && stamp == stamp_of(id) &&
           row == cache_row(id, size);
  }
  SpaceUsage usage(std::uint64_t space) {
    SpaceUsage usage{};
    cache_.usage(space, &usage);
    return usage;
  }
  // Empty if all is well.
  std::string wrong() {
    const char* text = cache_.check();
    return text == nullptr ? "" : text;
  }

 private:
  CacheGeometry geometry_;
  Memory memory_;
  CheckedLocks locks_;
  RowCache cache_;
};

}  // namespace pgwc::test
