#include <gtest/gtest.h>

#include "unit/cache_rig.hpp"

namespace pgwc {
namespace {

using test::cache_row;
using test::CacheRig;
using test::stamp_of;
using Found = RowCache::Found;
using Put = RowCache::Put;

constexpr std::size_t kSmall = 128 << 10;

TEST(RowCacheGeometry, ShardsGrowInNumberThenInSize) {
  EXPECT_EQ(cache_geometry(1 << 20, 16).shards, 1u);
  EXPECT_EQ(cache_geometry(4 << 20, 16).shards, 2u);
  EXPECT_EQ(cache_geometry(64 << 20, 16).shards, 32u);
  EXPECT_EQ(cache_geometry(256 << 20, 16).shards, 128u);
  EXPECT_EQ(cache_geometry(std::size_t{64} << 30, 16).shards, 128u);
}

TEST(RowCacheGeometry, TakesWhatItIsGivenAndNoMore) {
  for (std::size_t bytes = 1 << 20; bytes < std::size_t{1} << 40; bytes = bytes * 5 / 3) {
    const CacheGeometry geometry = cache_geometry(bytes, 100);
    EXPECT_LE(geometry.bytes, bytes);
    EXPECT_GE(geometry.bytes, bytes - 128 * 128);
    EXPECT_EQ(geometry.max_spaces, 100u);
  }
}

TEST(RowCacheGeometry, TooLittleBecomesTheLeastThatWorks) {
  for (std::size_t bytes : {0, 1, 1000, 30000}) {
    CacheRig rig(bytes, 100);
    EXPECT_EQ(rig.put({1, 1}, 1), Put::kStored);
    EXPECT_TRUE(rig.has({1, 1}, 1));
    EXPECT_EQ(rig.wrong(), "");
  }
}

TEST(RowCache, IsEmptyAtFirst) {
  CacheRig rig(kSmall);
  EXPECT_TRUE(rig.has({1, 1}, 0));
  const CacheUsage usage = rig->usage();
  EXPECT_EQ(usage.entries, 0u);
  EXPECT_EQ(usage.bytes, 0u);
  EXPECT_EQ(usage.shards, 1u);
  EXPECT_EQ(usage.spaces, 0u);
  EXPECT_GT(usage.capacity, kSmall * 7 / 8);
  EXPECT_LE(usage.capacity, kSmall);
  EXPECT_EQ(rig.wrong(), "");
}

TEST(RowCache, FindsWhatWasPut) {
  CacheRig rig(kSmall);
  for (std::uint64_t id = 1; id <= 100; ++id) ASSERT_EQ(rig.put({7, id}, id, id), Put::kStored);
  for (std::uint64_t id = 1; id <= 100; ++id) EXPECT_TRUE(rig.has({7, id}, id, id));
  EXPECT_TRUE(rig.has({7, 101}, 0));
  EXPECT_TRUE(rig.has({8, 1}, 0)) << "another space's key";
  EXPECT_EQ(rig.usage(7).entries, 100u);
  EXPECT_EQ(rig.wrong(), "");
}

TEST(RowCache, KeysOfTwoSpacesWithOneHashAreTwo) {
  CacheRig rig(kSmall);
  rig.put({1, 5}, 15);
  rig.put({2, 5}, 25);
  EXPECT_TRUE(rig.has({1, 5}, 15));
  EXPECT_TRUE(rig.has({2, 5}, 25));
}

TEST(RowCache, KeysWithOneHashShareAPlace) {
  CacheRig rig(kSmall);
  rig.put({1, 5}, 15);
  rig.put({1, 5}, 16);
  EXPECT_TRUE(rig.has({1, 5}, 16));
  EXPECT_EQ(rig.usage(1).entries, 1u);
}

TEST(RowCache, ExtremeHashesAreOrdinary) {
  CacheRig rig(kSmall);
  const std::uint64_t hashes[] = {0, 1, ~0ull, 1ull << 63, 0xFFFFFFFF, 0xFFFFFFFF00000000};
  for (std::uint64_t hash : hashes) EXPECT_EQ(rig.put({1ull << 63, hash}, hash | 2), Put::kStored);
  for (std::uint64_t hash : hashes) EXPECT_TRUE(rig.has({1ull << 63, hash}, hash | 2));
}

TEST(RowCache, SaysHowMuchRoomARowNeeds) {
  CacheRig rig(kSmall);
  rig.put({1, 1}, 1, 50);
  std::byte into[49];
  Stamp stamp{};
  std::size_t size = 0;
  EXPECT_EQ(rig->find({1, 1}, &stamp, into, &size), Found::kTooSmall);
  EXPECT_EQ(size, 50u);
  EXPECT_EQ(stamp, stamp_of(1)) << "what is claimed can be asked without the row";
}

TEST(RowCache, StoresRowsWithoutBytes) {
  CacheRig rig(kSmall);
  EXPECT_EQ(rig.put({1, 1}, 1, 0), Put::kStored);
  Stamp stamp{};
  std::size_t size = 99;
  EXPECT_EQ(rig->find({1, 1}, &stamp, {}, &size), Found::kYes);
  EXPECT_EQ(size, 0u);
  EXPECT_EQ(stamp, stamp_of(1));
}

TEST(RowCache, ReplacesByRowsOfAnySize) {
  CacheRig rig(kSmall);
  rig.put({1, 2}, 2);
  rig.put({1, 3}, 3);
  for (std::size_t size : {100, 101, 99, 1000, 10, 0, 5000, 5000, 4999, 64, 64}) {
    ASSERT_EQ(rig.put({1, 1}, size + 7, size), Put::kStored);
    EXPECT_TRUE(rig.has({1, 1}, size + 7, size));
    EXPECT_EQ(rig.usage(1).entries, 3u);
    EXPECT_EQ(rig.wrong(), "");
  }
  EXPECT_TRUE(rig.has({1, 2}, 2));
  EXPECT_TRUE(rig.has({1, 3}, 3));
  EXPECT_EQ(rig.usage(1).fills, 13u);
}

TEST(RowCache, TakesRowsUpToAnEighthOfAShard) {
  CacheRig rig(kSmall);
  const std::size_t most = rig->max_row();
  EXPECT_GT(most, rig->usage().capacity / 8 - 200);
  EXPECT_EQ(rig.put({1, 1}, 1, most), Put::kStored);
  EXPECT_TRUE(rig.has({1, 1}, 1, most));
  EXPECT_EQ(rig.put({1, 2}, 2, most + 1), Put::kTooLarge);
  EXPECT_TRUE(rig.has({1, 2}, 0));
}

TEST(RowCache, ARowTooLargeRemovesTheOneItReplaces) {
  CacheRig rig(kSmall);
  rig.put({1, 1}, 1);
  EXPECT_EQ(rig.put({1, 1}, 2, rig->max_row() + 1), Put::kTooLarge);
  EXPECT_TRUE(rig.has({1, 1}, 0));
  EXPECT_EQ(rig.wrong(), "");
}

TEST(RowCache, RestampsOnlyWhatHasTheOldStamp) {
  CacheRig rig(kSmall);
  rig.put({1, 1}, 1);
  EXPECT_FALSE(rig->restamp({1, 1}, stamp_of(2), stamp_of(3)));
  EXPECT_TRUE(rig.has({1, 1}, 1));
  EXPECT_TRUE(rig->restamp({1, 1}, stamp_of(1), stamp_of(3)));
  Stamp stamp{};
  test::Bytes row(100);
  std::size_t size = 0;
  EXPECT_EQ(rig->find({1, 1}, &stamp, row, &size), Found::kYes);
  EXPECT_EQ(stamp, stamp_of(3));
  EXPECT_EQ(row, cache_row(1, 100)) << "the row stays";
  EXPECT_FALSE(rig->restamp({1, 2}, stamp_of(1), stamp_of(3)));
}

TEST(RowCache, ErasesOnlyWhatHasTheStamp) {
  CacheRig rig(kSmall);
  rig.put({1, 1}, 1);
  rig.put({1, 2}, 2);
  const Stamp wrong = stamp_of(9);
  const Stamp right = stamp_of(1);
  EXPECT_FALSE(rig->erase({1, 1}, &wrong));
  EXPECT_TRUE(rig.has({1, 1}, 1));
  EXPECT_TRUE(rig->erase({1, 1}, &right));
  EXPECT_TRUE(rig.has({1, 1}, 0));
  EXPECT_FALSE(rig->erase({1, 1}, &right));
  EXPECT_TRUE(rig->erase({1, 2}));
  EXPECT_FALSE(rig->erase({1, 2}));
  EXPECT_EQ(rig.usage(1).entries, 0u);
  EXPECT_EQ(rig.usage(1).bytes, 0u);
  EXPECT_EQ(rig.usage(1).evictions, 0u);
  EXPECT_EQ(rig.wrong(), "");
}

TEST(RowCache, GivesBackAllMemory) {
  CacheRig rig(kSmall);
  for (int round = 0; round < 20; ++round) {
    std::uint64_t id = 0;
    for (; rig.usage(1).evictions == 0; ++id) rig.put({1, id}, id, id % 700);
    rig->erase_space(1);
    rig->reset_counters(1);
    EXPECT_EQ(rig->usage().bytes, 0u);
    EXPECT_EQ(rig.wrong(), "");
    ASSERT_EQ(rig.put({1, 1}, 1, rig->max_row()), Put::kStored) << "no splinters are left";
  }
}

TEST(RowCache, AFullCacheEvictsAndStaysWithinItsBytes) {
  CacheRig rig(kSmall);
  for (std::uint64_t id = 1; id <= 5000; ++id) {
    ASSERT_EQ(rig.put({1, id}, id, 50 + id % 200), Put::kStored);
    ASSERT_TRUE(rig.has({1, id}, id, 50 + id % 200)) << "what was just put is there";
    if (id % 500 == 0) {
      ASSERT_EQ(rig.wrong(), "");
    }
  }
  const CacheUsage usage = rig->usage();
  EXPECT_LE(usage.bytes, usage.capacity);
  EXPECT_GT(usage.bytes, usage.capacity * 9 / 10) << "room is used";
  const SpaceUsage space = rig.usage(1);
  EXPECT_EQ(space.fills, 5000u);
  EXPECT_EQ(space.evictions, 5000 - space.entries);
  EXPECT_EQ(space.bytes, usage.bytes);
}

TEST(RowCache, ReplacingInAFullCacheKeepsTheRest) {
  CacheRig rig(kSmall);
  for (std::uint64_t id = 1; id <= 2000; ++id) rig.put({1, id}, id);
  for (std::uint64_t i = 1; i <= 3000; ++i) {
    const std::uint64_t id = 1900 + i % 20;
    ASSERT_EQ(rig.put({1, id}, i, i % 900), Put::kStored);
    ASSERT_TRUE(rig.has({1, id}, i, i % 900));
    if (i % 100 == 0) {
      ASSERT_EQ(rig.wrong(), "");
    }
  }
}

// However the memory is cut up.
TEST(RowCache, EveryRowThatIsNotTooLargeIsStored) {
  CacheRig rig(1 << 20);
  for (std::uint64_t id = 1; id <= 20000; ++id) {
    ASSERT_EQ(rig.put({1, id}, id, 40 + id * 7919 % 300), Put::kStored);
    if (id % 100 != 0) continue;
    const std::size_t size = id * 31 % (rig->max_row() + 1);
    ASSERT_EQ(rig.put({2, id}, id, size), Put::kStored);
    ASSERT_TRUE(rig.has({2, id}, id, size));
  }
  ASSERT_EQ(rig.put({2, 1}, 1, rig->max_row()), Put::kStored);
  EXPECT_EQ(rig.wrong(), "");
}

TEST(RowCache, ALargeRowCostsFewOthers) {
  CacheRig rig(1 << 20);
  std::uint64_t id = 0;
  while (rig.usage(1).evictions < 5000) ++id, rig.put({1, id}, id, id * 7919 % 400);
  for (std::uint64_t large = 1; large <= 20; ++large) {
    const std::size_t size = 30000;
    const std::uint64_t before = rig.usage(1).bytes;
    ASSERT_EQ(rig.put({2, large % 2}, large, size), Put::kStored);
    EXPECT_LE(before - rig.usage(1).bytes, 4 * size);
  }
  EXPECT_EQ(rig.wrong(), "");
}

TEST(RowCache, ALargeRowSparesWhatIsUsed) {
  CacheRig rig(1 << 20);
  std::uint64_t id = 0;
  const auto use_some = [&] {
    std::uint64_t found = 0;
    for (std::uint64_t hot = 1; hot <= 500; ++hot) found += rig.has({3, hot}, hot) ? 1 : 0;
    return found;
  };
  for (std::uint64_t hot = 1; hot <= 500; ++hot) rig.put({3, hot}, hot);
  use_some();
  use_some();
  while (rig.usage(1).evictions < 5000) ++id, rig.put({1, id}, id, id * 7919 % 400);
  use_some();
  for (std::uint64_t large = 1; large <= 5; ++large) rig.put({2, large}, large, 20000);
  EXPECT_GT(use_some(), 490u) << "of 500, though every tenth of the memory was cleared";
}

// A row that is replaced by a larger one is not in its own way.
TEST(RowCache, RowsGrowInAFullCache) {
  CacheRig rig(kSmall);
  for (std::uint64_t id = 1; id <= 2000; ++id) rig.put({1, id}, id, id % 300);
  for (std::size_t size = 100; size <= rig->max_row(); size += 97) {
    ASSERT_EQ(rig.put({1, 2000}, size, size), Put::kStored);
    ASSERT_TRUE(rig.has({1, 2000}, size, size));
    ASSERT_EQ(rig.wrong(), "");
  }
}

// Hashes that differ nowhere but where the table does not look must still be told apart.
TEST(RowCache, CrowdedBucketsLoseNothing) {
  CacheRig rig(kSmall);
  constexpr std::uint64_t kRows = 1100;  // more than there are slots
  for (std::uint64_t id = 1; id <= kRows; ++id) rig.put({1, id}, id, 0);
  ASSERT_EQ(rig.usage(1).evictions, 0u);
  ASSERT_EQ(rig.wrong(), "");
  for (std::uint64_t id = 1; id <= kRows; id += 2) EXPECT_TRUE(rig->erase({1, id}));
  ASSERT_EQ(rig.wrong(), "");
  for (std::uint64_t id = 1; id <= kRows; ++id) EXPECT_TRUE(rig.has({1, id}, id % 2 ? 0 : id, 0));
}

// S3-FIFO's promise.
TEST(RowCache, AScanDoesNotWashOutWhatIsUsed) {
  CacheRig rig(kSmall);
  for (std::uint64_t id = 1; id <= 200; ++id) rig.put({1, id}, id);
  for (int i = 0; i < 3; ++i)
    for (std::uint64_t id = 1; id <= 200; ++id) EXPECT_TRUE(rig.has({1, id}, id));
  for (std::uint64_t id = 1; id <= 10000; ++id) rig.put({2, id}, id);
  std::size_t left = 0;
  for (std::uint64_t id = 1; id <= 200; ++id) left += rig.has({1, id}, id) ? 1 : 0;
  EXPECT_EQ(left, 200u);
}

TEST(RowCache, WhatComesBackSoonAfterItWasEvictedStays) {
  CacheRig rig(kSmall);
  std::uint64_t id = 0;
  const auto scan = [&](std::uint64_t count) {
    for (const std::uint64_t end = id + count; id < end; ++id) rig.put({2, id}, id);
  };
  scan(2000);
  rig.put({1, 2}, 2);
  while (rig.usage(1).evictions == 0) scan(1);
  rig.put({1, 2}, 2);  // a ghost: it goes into the main queue
  scan(500);
  EXPECT_TRUE(rig.has({1, 2}, 2));
}

TEST(RowCache, WhatIsExpectedToBeUsedStaysBeforeWhatIsNew) {
  CacheRig rig(kSmall);
  const auto expect = [&](std::uint64_t id) {
    return rig->put({1, id}, stamp_of(id), cache_row(id, 100), rig->epoch(1),
                    RowCache::Use::kExpected);
  };
  for (std::uint64_t id = 1; id <= 3000; ++id) rig.put({2, id}, id);
  std::uint64_t wanted = 0;
  while (rig.usage(1).evictions == 0) ASSERT_EQ(expect(++wanted), Put::kStored);
  EXPECT_LT(rig.usage(2).entries, wanted / 8) << "all but the small queue made room first";
  EXPECT_GT(rig.usage(1).bytes, rig->usage().capacity * 7 / 8);
  for (std::uint64_t id = 3001; id <= 6000; ++id) rig.put({2, id}, id);
  EXPECT_GT(rig.usage(1).entries, wanted * 8 / 10) << "one-hit wonders have the small queue only";
  EXPECT_EQ(rig.wrong(), "");
}

TEST(RowCache, AnEntryThatIsThereCanBeExpectedToBeUsed) {
  CacheRig rig(kSmall);
  rig.put({1, 1}, 1);
  rig->put({1, 1}, stamp_of(1), cache_row(1, 100), rig->epoch(1), RowCache::Use::kExpected);
  for (std::uint64_t id = 1; id <= 3000; ++id) rig.put({2, id}, id);
  EXPECT_TRUE(rig.has({1, 1}, 1));
}

TEST(RowCache, AMillionRowsAreResidentIn256MB) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "one thread, many steps";
#endif
  CacheRig rig(256u << 20);
  constexpr std::uint64_t kRows = 1000000;
  const test::Bytes row = cache_row(1, 100);
  const std::uint64_t epoch = rig->epoch(1);
  for (std::uint64_t id = 1; id <= kRows; ++id)
    ASSERT_EQ(rig->put({1, id}, stamp_of(1), row, epoch), Put::kStored);
  EXPECT_EQ(rig.usage(1).entries, kRows);
  EXPECT_EQ(rig.usage(1).evictions, 0u);
  EXPECT_EQ(rig.wrong(), "");
}

}  // namespace
}  // namespace pgwc
