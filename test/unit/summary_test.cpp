// Summaries of blocks: "no" is never said of a block that has the value.
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "core/block_summary.hpp"

namespace pgwc {
namespace {

constexpr std::uint64_t kColumns = 77;

std::unique_ptr<BlockSummary> make_summary() {
  auto summary = std::make_unique<BlockSummary>();
  summary->epoch = 0;
  summary->busy = 0;
  return summary;
}

SummaryKey key_of(std::int64_t value) { return {mix(static_cast<std::uint64_t>(value)), value}; }

Probe equal(std::int64_t value) {
  return {0, true, mix(static_cast<std::uint64_t>(value)), true, value, value};
}

Probe between(std::int64_t low, std::int64_t high) { return {0, false, 0, true, low, high}; }

void add(BlockSummary* summary, std::uint64_t epoch, std::uint32_t from, std::uint32_t to,
         const std::vector<std::int64_t>& values) {
  std::vector<SummaryKey> keys;
  for (std::int64_t value : values) keys.push_back(key_of(value));
  const std::vector<std::uint8_t> columns(values.size(), 0);
  extend(summary, epoch, kColumns, from, to, keys.data(), columns.data(), keys.size(), 0);
}

bool may_match(const BlockSummary& summary, std::uint64_t epoch, const Probe& probe) {
  return ask(summary, epoch, kColumns, &probe, 1).may_match;
}

TEST(Summary, KnowsNothingAtFirst) {
  auto summary = make_summary();
  const Probe probe = equal(1);
  EXPECT_EQ(ask(*summary, 5, kColumns, &probe, 1).covered, 0u);
  EXPECT_TRUE(may_match(*summary, 5, probe));
}

TEST(Summary, FindsWhatIsThereAndRulesOutMostOfTheRest) {
  auto summary = make_summary();
  std::vector<std::int64_t> values;
  std::mt19937_64 random(1);
  for (int i = 0; i < 1000; ++i)
    values.push_back(static_cast<std::int64_t>(random() % 1'000'000'000));
  add(summary.get(), 5, 0, 60000, values);
  for (std::int64_t value : values) EXPECT_TRUE(may_match(*summary, 5, equal(value)));
  int wrong = 0;
  for (int i = 0; i < 100'000; ++i)
    wrong += may_match(*summary, 5, equal(static_cast<std::int64_t>(random() % 1'000'000'000)));
  EXPECT_LT(wrong, 200);
}

TEST(Summary, KnowsRanges) {
  auto summary = make_summary();
  add(summary.get(), 5, 0, 100, {10, 20, 30});
  EXPECT_TRUE(may_match(*summary, 5, between(30, INT64_MAX)));
  EXPECT_FALSE(may_match(*summary, 5, between(31, INT64_MAX)));
  EXPECT_FALSE(may_match(*summary, 5, between(INT64_MIN, 9)));
  EXPECT_TRUE(may_match(*summary, 5, between(15, 16)));  // it knows no gaps
}

TEST(Summary, GrowsWithItsBlockAndOnlyAtItsEnd) {
  auto summary = make_summary();
  add(summary.get(), 5, 0, 100, {10});
  add(summary.get(), 5, 100, 200, {20});
  EXPECT_TRUE(may_match(*summary, 5, equal(20)));
  add(summary.get(), 5, 100, 300, {30});  // somebody was faster up to 200
  const Probe probe = equal(30);
  EXPECT_EQ(ask(*summary, 5, kColumns, &probe, 1).covered, 200u);
}

TEST(Summary, BelongsToOneUseOfTheBlockAndOneSetOfColumns) {
  auto summary = make_summary();
  add(summary.get(), 5, 0, 100, {10});
  const Probe probe = equal(11);
  EXPECT_EQ(ask(*summary, 6, kColumns, &probe, 1).covered, 0u);
  EXPECT_EQ(ask(*summary, 5, kColumns + 1, &probe, 1).covered, 0u);
  add(summary.get(), 6, 0, 50, {12});
  EXPECT_FALSE(may_match(*summary, 6, equal(10)));
  EXPECT_TRUE(may_match(*summary, 6, equal(12)));
  EXPECT_EQ(ask(*summary, 5, kColumns, &probe, 1).covered, 0u);
}

TEST(Summary, ABlockOfNullsMatchesNothing) {
  auto summary = make_summary();
  add(summary.get(), 5, 0, 100, {});
  EXPECT_FALSE(may_match(*summary, 5, equal(0)));
  EXPECT_FALSE(may_match(*summary, 5, between(INT64_MIN + 1, INT64_MAX)));
}

// Two that fill it, for changing uses of the block, and one that asks: whatever it is told about
// covers what was added.
TEST(Summary, NeverDeniesWhatItCovers) {
  auto summary = make_summary();
  std::atomic<bool> stop{false};
  auto fill = [&] {
    for (std::uint64_t epoch = 1; epoch < 2000; ++epoch)
      for (std::uint32_t part = 0; part < 4; ++part)
        add(summary.get(), epoch, part * 100, (part + 1) * 100,
            {static_cast<std::int64_t>(epoch * 10 + part)});
  };
  std::thread one(fill);
  std::thread two(fill);
  std::thread reader([&] {
    while (!stop)
      for (std::uint64_t epoch = 1; epoch < 2000; epoch += 7)
        for (std::uint32_t part = 0; part < 4; ++part) {
          const Probe probe = equal(static_cast<std::int64_t>(epoch * 10 + part));
          const SummaryAnswer answer = ask(*summary, epoch, kColumns, &probe, 1);
          if (answer.covered >= (part + 1) * 100) {
            ASSERT_TRUE(answer.may_match) << epoch << ' ' << part;
          }
        }
  });
  one.join();
  two.join();
  stop = true;
  reader.join();
}

}  // namespace
TEST(Summary, KnowsBoundsOfAllRowsOrNone) {
  auto summary = make_summary();
  EXPECT_FALSE(bounds_of(*summary, 7, kColumns, 0, 100).known);
  add(summary.get(), 7, 0, 100, {5, -3, 9});
  const SummaryBounds bounds = bounds_of(*summary, 7, kColumns, 0, 100);
  EXPECT_TRUE(bounds.known);
  EXPECT_FALSE(bounds.has_nulls);
  EXPECT_EQ(bounds.low, -3);
  EXPECT_EQ(bounds.high, 9);
  EXPECT_FALSE(bounds_of(*summary, 7, kColumns, 0, 101).known) << "there are rows behind";
  EXPECT_FALSE(bounds_of(*summary, 8, kColumns, 0, 100).known) << "another use of the block";
  EXPECT_FALSE(bounds_of(*summary, 7, kColumns + 1, 0, 100).known) << "other columns";
  extend(summary.get(), 7, kColumns, 100, 200, nullptr, nullptr, 0, 2);
  EXPECT_FALSE(bounds_of(*summary, 7, kColumns, 0, 200).has_nulls);
  EXPECT_TRUE(bounds_of(*summary, 7, kColumns, 1, 200).has_nulls);
  add(summary.get(), 8, 0, 100, {1});
  EXPECT_FALSE(bounds_of(*summary, 8, kColumns, 1, 100).has_nulls) << "begun anew";
}

}  // namespace pgwc
