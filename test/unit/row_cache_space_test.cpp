#include <gtest/gtest.h>

#include <vector>

#include "unit/cache_rig.hpp"

namespace pgwc {
namespace {

using test::cache_row;
using test::CacheRig;
using test::stamp_of;
using Put = RowCache::Put;

constexpr std::size_t kSmall = 128 << 10;

TEST(RowCacheSpaces, ErasingOneLeavesTheOthers) {
  CacheRig rig(8 << 20);
  ASSERT_GT(rig.geometry().shards, 1u);
  for (std::uint64_t id = 1; id <= 1000; ++id) {
    rig.put({1, id}, id);
    rig.put({2, id}, id + 1);
  }
  EXPECT_EQ(rig->erase_space(1), 1000u);
  for (std::uint64_t id = 1; id <= 1000; ++id) {
    EXPECT_TRUE(rig.has({1, id}, 0));
    EXPECT_TRUE(rig.has({2, id}, id + 1));
  }
  EXPECT_EQ(rig.usage(1).entries, 0u);
  EXPECT_EQ(rig.usage(1).bytes, 0u);
  EXPECT_EQ(rig.usage(1).evictions, 0u);
  EXPECT_EQ(rig->erase_space(1), 0u);
  EXPECT_EQ(rig->erase_space(3), 0u);
  EXPECT_EQ(rig.wrong(), "");
}

TEST(RowCacheSpaces, WhatWasReadBeforeAnInvalidationDoesNotGetIn) {
  CacheRig rig(kSmall);
  rig.put({1, 1}, 1);
  const std::uint64_t before = rig->epoch(1);
  rig->erase_space(1);
  EXPECT_GT(rig->epoch(1), before);
  EXPECT_EQ(rig->put({1, 2}, stamp_of(2), cache_row(2, 10), before), Put::kOutdated);
  EXPECT_TRUE(rig.has({1, 2}, 0));
  EXPECT_EQ(rig->put({1, 2}, stamp_of(2), cache_row(2, 100), rig->epoch(1)), Put::kStored);
  EXPECT_TRUE(rig.has({1, 2}, 2));
  EXPECT_EQ(rig.wrong(), "");
}

TEST(RowCacheSpaces, AnOutdatedPutLeavesTheNewerRow) {
  CacheRig rig(kSmall);
  const std::uint64_t before = rig->epoch(1);
  rig->erase_space(1);
  rig.put({1, 1}, 1);
  EXPECT_EQ(rig->put({1, 1}, stamp_of(2), cache_row(2, 10), before), Put::kOutdated);
  EXPECT_TRUE(rig.has({1, 1}, 1));
}

TEST(RowCacheSpaces, AnUnknownSpaceIsInvalidatedToo) {
  CacheRig rig(kSmall);
  const std::uint64_t before = rig->epoch(1);
  rig->erase_space(1);
  EXPECT_GT(rig->epoch(1), before);
  EXPECT_EQ(rig->put({1, 1}, stamp_of(1), cache_row(1, 10), before), Put::kOutdated);
}

TEST(RowCacheSpaces, AForgottenSpacesEpochDoesNotComeBack) {
  CacheRig rig(kSmall, 1);
  std::uint64_t last = rig->epoch(1);
  for (int i = 0; i < 20; ++i) {
    const std::uint64_t before = rig->epoch(1);
    EXPECT_GE(before, last);
    rig.put({1, 1}, 1);
    rig->drop_space(1);
    SpaceUsage usage{};
    EXPECT_FALSE(rig->usage(1, &usage));
    EXPECT_EQ(rig->put({1, 1}, stamp_of(1), cache_row(1, 10), before), Put::kOutdated);
    rig.put({2, 1}, 1);  // somebody else in its slot
    rig->erase_space(2);
    EXPECT_EQ(rig->put({1, 1}, stamp_of(1), cache_row(1, 10), before), Put::kOutdated);
    last = before;
  }
  EXPECT_EQ(rig.wrong(), "");
}

TEST(RowCacheSpaces, AnInvalidationOfOneDoesNotOutdateAnother) {
  CacheRig rig(kSmall);
  rig.put({1, 1}, 1);
  rig.put({2, 1}, 1);
  const std::uint64_t epoch = rig->epoch(2);
  rig->erase_space(1);
  EXPECT_EQ(rig->put({2, 2}, stamp_of(2), cache_row(2, 10), epoch), Put::kStored);
}

TEST(RowCacheSpaces, AFullTableHasNoRoomForAnotherSpace) {
  CacheRig rig(kSmall, 4);
  for (std::uint64_t space = 1; space <= 4; ++space)
    EXPECT_EQ(rig.put({space, 1}, 1), Put::kStored);
  EXPECT_EQ(rig.put({5, 1}, 1), Put::kNoRoom);
  EXPECT_TRUE(rig.has({5, 1}, 0));
  for (std::uint64_t space = 1; space <= 4; ++space) EXPECT_TRUE(rig.has({space, 1}, 1));
  rig->count(5, {1, 1, 1, 1, 1, 1});
  SpaceUsage usage{};
  EXPECT_FALSE(rig->usage(5, &usage)) << "counting takes no slot from others";
  EXPECT_EQ(rig.wrong(), "");
}

TEST(RowCacheSpaces, AnEmptySpacesSlotIsTakenOver) {
  CacheRig rig(kSmall, 4);
  for (std::uint64_t space = 1; space <= 4; ++space) rig.put({space, 1}, 1);
  rig->count(3, {1, 0, 0, 0, 0, 0});
  rig->erase({3, 1});
  EXPECT_EQ(rig.put({5, 1}, 1), Put::kStored);
  EXPECT_TRUE(rig.has({5, 1}, 1));
  SpaceUsage usage{};
  EXPECT_FALSE(rig->usage(3, &usage));
  ASSERT_TRUE(rig->usage(5, &usage));
  EXPECT_EQ(usage.counters.hits_by_page, 0u) << "counts are not inherited";
  EXPECT_EQ(usage.fills, 1u);
  EXPECT_EQ(rig.put({3, 1}, 1), Put::kNoRoom);
  EXPECT_EQ(rig.wrong(), "");
}

TEST(RowCacheSpaces, ADroppedSpacesSlotIsFree) {
  CacheRig rig(kSmall, 4);
  for (std::uint64_t first = 1; first <= 200; first += 4) {
    for (std::uint64_t space = first; space < first + 4; ++space) {
      ASSERT_EQ(rig.put({space, 1}, space), Put::kStored);
      ASSERT_TRUE(rig.has({space, 1}, space));
    }
    ASSERT_EQ(rig->list_spaces(nullptr, 0), 4u);
    for (std::uint64_t space = first; space < first + 4; ++space) rig->drop_space(space);
    ASSERT_EQ(rig->list_spaces(nullptr, 0), 0u);
    ASSERT_EQ(rig.wrong(), "");
  }
}

TEST(RowCacheSpaces, EvictionUnderPressureFromManyIsCountedWhereItHappens) {
  constexpr std::uint64_t kSpaces = 100;
  CacheRig rig(1 << 20, kSpaces);
  for (std::uint64_t id = 1; id <= 30000; ++id) {
    const std::uint64_t space = 1 + id * id % kSpaces;
    ASSERT_EQ(rig.put({space, id}, id, 20 + id % 300), Put::kStored);
  }
  std::vector<SpaceUsage> usages(kSpaces);
  const std::size_t count = rig->list_spaces(usages.data(), usages.size());
  ASSERT_LE(count, usages.size());
  SpaceUsage sum{};
  for (std::size_t i = 0; i < count; ++i) {
    sum.entries += usages[i].entries;
    sum.bytes += usages[i].bytes;
    sum.fills += usages[i].fills;
    sum.evictions += usages[i].evictions;
    EXPECT_EQ(usages[i].fills - usages[i].evictions, usages[i].entries);
  }
  EXPECT_EQ(sum.fills, 30000u);
  EXPECT_EQ(sum.entries, rig->usage().entries);
  EXPECT_EQ(sum.bytes, rig->usage().bytes);
  EXPECT_EQ(rig->usage().spaces, count);
  EXPECT_EQ(rig.wrong(), "");
}

TEST(RowCacheSpaces, CountsAreKeptPerSpace) {
  CacheRig rig(kSmall);
  rig->count(1, {1, 2, 3, 4, 5, 6});
  rig->count(1, {10, 20, 30, 40, 50, 60});
  rig->count(2, {0, 0, 0, 7, 0, 0});
  const CacheCounters c = rig.usage(1).counters;
  EXPECT_EQ(c.hits_by_page, 11u);
  EXPECT_EQ(c.hits_by_tid, 22u);
  EXPECT_EQ(c.hits_by_age, 33u);
  EXPECT_EQ(c.misses, 44u);
  EXPECT_EQ(c.failed_proofs, 55u);
  EXPECT_EQ(c.waits, 66u);
  EXPECT_EQ(rig.usage(2).counters.misses, 7u);
  rig.put({1, 1}, 1);
  rig->reset_counters(1);
  EXPECT_EQ(rig.usage(1).counters.misses, 0u);
  EXPECT_EQ(rig.usage(1).fills, 0u);
  EXPECT_EQ(rig.usage(1).entries, 1u) << "what is there is there";
  EXPECT_EQ(rig.usage(2).counters.misses, 7u);
  rig->reset_counters(3);
}

TEST(RowCacheSpaces, ListsUpToAsManyAsAsked) {
  CacheRig rig(kSmall);
  for (std::uint64_t space = 1; space <= 5; ++space) rig.put({space, 1}, 1);
  SpaceUsage usages[3]{};
  EXPECT_EQ(rig->list_spaces(usages, 2), 5u);
  EXPECT_NE(usages[0].space, 0u);
  EXPECT_NE(usages[1].space, 0u);
  EXPECT_EQ(usages[2].space, 0u);
}

TEST(RowCacheSpaces, ErasingALargeSpaceDoesNotHoldALockForLong) {
  CacheRig rig(1 << 20);
  for (std::uint64_t id = 1; id <= 3000; ++id) rig.put({1, id}, id);
  const std::uint64_t before = rig.locks().acquired();
  rig->erase_space(1);
  EXPECT_GE(rig.locks().acquired() - before, 2u) << "in pieces";
}

}  // namespace
}  // namespace pgwc
