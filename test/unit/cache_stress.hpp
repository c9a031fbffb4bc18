// Sessions on one row cache, as processes or as threads. Each space stands for a table whose rows
// all say which invalidation they were read after; who finds a row that says less than the last
// invalidation that had ended before has found what must not be there.
#pragma once

#include <pthread.h>

#include <atomic>
#include <optional>
#include <random>

#include "core/row_cache.hpp"
#include "unit/cache_rig.hpp"
#include "unit/store_recorder.hpp"

namespace pgwc::test {

// Process-shared readers' and writers' locks.
class SharedRwLocks final : public SharedLocks {
 public:
  struct alignas(128) Lock {
    pthread_rwlock_t lock;
  };
  SharedRwLocks(void* memory, std::size_t count) : locks_(static_cast<Lock*>(memory)) {
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    for (std::size_t i = 0; i < count; ++i) pthread_rwlock_init(&locks_[i].lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
  }
  void acquire_shared(std::uint32_t id) noexcept override {
    must(pthread_rwlock_rdlock(&locks_[id].lock) == 0, "the lock works");
  }
  void acquire(std::uint32_t id) noexcept override {
    must(pthread_rwlock_wrlock(&locks_[id].lock) == 0, "the lock works");
  }
  void release(std::uint32_t id) noexcept override { pthread_rwlock_unlock(&locks_[id].lock); }

 private:
  Lock* locks_;
};

class CacheStress {
 public:
  static constexpr std::uint64_t kSpaces = 6;
  static constexpr std::uint64_t kKeys = 3000;

  explicit CacheStress(std::size_t bytes, std::uint32_t max_spaces)
      : geometry_(cache_geometry(bytes, max_spaces)),
        pages_(geometry_.bytes),
        lock_pages_((geometry_.shards + 1) * sizeof(SharedRwLocks::Lock)),
        table_pages_(sizeof(Table) * (kSpaces + 1)),
        locks_(lock_pages_.data(), geometry_.shards + 1),
        cache_(pages_.data(), geometry_, locks_) {}

  RowCache& cache() { return cache_; }

  // What sessions do: look up, fill, correct, give up. One in a few hundred steps something rare.
  void session(unsigned seed, int steps) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < steps; ++i) {
      const std::uint64_t space = 1 + random() % kSpaces;
      // The product of two is small more often.
      const CacheKey key{space, (random() % kKeys) * (random() % kKeys) / kKeys};
      switch (random() % 16) {
        case 0:
          cache_.erase(key);
          break;
        case 1:
          replace(key, random());
          break;
        default:
          if (!look_up(key)) fill(key, random());
      }
      if (random() % 512 == 0) rare(space, random());
    }
  }

  // One at a time for each space.
  void invalidator(std::uint64_t space, int times) {
    std::mt19937_64 random(space);
    for (int i = 0; i < times; ++i) {
      const std::uint64_t now = table(space).now.fetch_add(1) + 1;
      if (random() % 4 == 0)
        cache_.drop_space(space);
      else
        cache_.erase_space(space);
      table(space).invalidated.store(now);
      for (std::uint64_t key = 0; key < kKeys; key += 1 + random() % 20) look_up({space, key});
    }
  }

  void verify() {
    const char* wrong = cache_.check();
    must(wrong == nullptr, wrong);
    const CacheUsage usage = cache_.usage();
    must(usage.bytes <= usage.capacity, "the bound holds");
    for (std::uint64_t space = 1; space <= kSpaces; ++space)
      for (std::uint64_t key = 0; key < kKeys; ++key) look_up({space, key});
  }
  std::uint64_t found() {
    std::uint64_t sum = 0;
    for (std::uint64_t space = 1; space <= kSpaces; ++space) sum += table(space).found.load();
    return sum;
  }

 private:
  struct alignas(128) Table {
    std::atomic<std::uint64_t> now;          // what a row read now says
    std::atomic<std::uint64_t> invalidated;  // whose invalidation has ended
    std::atomic<std::uint64_t> found;
  };
  Table& table(std::uint64_t space) { return reinterpret_cast<Table*>(table_pages_.data())[space]; }

  // The row says what it is of, how long it is and after which invalidation it was read.
  static constexpr std::uint64_t kGenerationShift = 40;
  static std::uint64_t id_of_row(CacheKey key, std::uint64_t size, std::uint64_t generation) {
    return generation << kGenerationShift | size << 24 | key.space << 16 | key.hash;
  }
  static std::size_t size_of_row(std::uint64_t random) {
    return random % 50 == 0 ? random / 64 % 8000 : random / 64 % 400;
  }

  bool look_up(CacheKey key) {
    const std::uint64_t least = table(key.space).invalidated.load();
    std::byte row[8192];
    Stamp stamp{};
    std::size_t size = 0;
    if (cache_.find(key, &stamp, row, &size) != RowCache::Found::kYes) return false;
    const std::uint64_t id = stamp[0];
    const std::uint64_t generation = id >> kGenerationShift;
    must(stamp == stamp_of(id) && id == id_of_row(key, size, generation), "the stamp is whole");
    for (std::size_t i = 0; i < size; ++i) must(row[i] == filler(id, i), "the row is whole");
    must(generation >= least, "nothing older than an invalidation is found after it");
    table(key.space).found.fetch_add(1, std::memory_order_relaxed);
    return true;
  }

  void fill(CacheKey key, std::uint64_t random) {
    const std::uint64_t epoch = cache_.epoch(key.space);
    const std::uint64_t generation = table(key.space).now.load();
    const std::size_t size = size_of_row(random);
    const std::uint64_t id = id_of_row(key, size, generation);
    if (random % 8 == 0) sched_yield();
    cache_.put(key, stamp_of(id), cache_row(id, size), epoch);
  }

  // A session that has proved an entry again, or found it wrong.
  void replace(CacheKey key, std::uint64_t random) {
    std::byte row[8192];
    Stamp stamp{};
    std::size_t size = 0;
    if (cache_.find(key, &stamp, row, &size) != RowCache::Found::kYes) return;
    if (random % 2 == 0)
      cache_.restamp(key, stamp, stamp);
    else if (cache_.erase(key, &stamp))
      fill(key, random);
  }

  void rare(std::uint64_t space, std::uint64_t random) {
    SpaceUsage usages[kSpaces]{};
    switch (random % 4) {
      case 0:
        cache_.count(space, {1, 2, 3, 4, 5, 6});
        break;
      case 1:
        cache_.reset_counters(space);
        break;
      case 2:
        must(cache_.list_spaces(usages, kSpaces) <= kSpaces, "no space is listed twice");
        break;
      default:
        must(cache_.usage().bytes <= cache_.usage().capacity, "the bound holds");
    }
  }

  CacheGeometry geometry_;
  Pages pages_;
  Pages lock_pages_;
  Pages table_pages_;
  SharedRwLocks locks_;
  RowCache cache_;
};

}  // namespace pgwc::test
