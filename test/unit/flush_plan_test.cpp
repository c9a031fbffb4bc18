#include "core/flush_plan.hpp"

#include <gtest/gtest.h>

namespace pgwc {
namespace {

constexpr FlushPolicy kPolicy{100, 1000, 50};
constexpr FlushPressure kCalm{false, 7000};

QueueView pending(std::uint64_t rows, std::uint64_t bytes = 1) {
  QueueView view{};
  view.pending_rows = rows;
  view.pending_bytes = bytes;
  view.oldest_us = 7000;
  return view;
}

TEST(FlushAt, IsNeverWithoutRows) {
  EXPECT_EQ(flush_at(pending(0), kPolicy, {true, 7000}), kNever);
}

TEST(FlushAt, IsTheOldestRowsIntervalLater) {
  EXPECT_EQ(flush_at(pending(1), kPolicy, kCalm), 7050);
}

TEST(FlushAt, IsNowWhenALimitIsReached) {
  EXPECT_GT(flush_at(pending(99), kPolicy, kCalm), 7000);
  EXPECT_EQ(flush_at(pending(100), kPolicy, kCalm), 7000);
  EXPECT_EQ(flush_at(pending(1, 1000), kPolicy, kCalm), 7000);
}

TEST(FlushAt, ALimitOfZeroIsNone) { EXPECT_EQ(flush_at(pending(1), {0, 0, 50}, kCalm), 7050); }

TEST(FlushAt, IsNowWhenSomebodyAsksOrHurries) {
  QueueView asked = pending(1);
  asked.flushed_through = 5;
  asked.requested = 5;
  EXPECT_GT(flush_at(asked, kPolicy, kCalm), 7000);
  asked.requested = 6;
  EXPECT_EQ(flush_at(asked, kPolicy, kCalm), 7000);
  EXPECT_EQ(flush_at(pending(1), kPolicy, {true, 7000}), 7000);
}

TEST(BackOff, DoublesUpToItsBound) {
  EXPECT_EQ(back_off_us(0), 0);
  EXPECT_EQ(back_off_us(1), 50'000);
  for (std::uint32_t n = 1; n < 10; ++n) EXPECT_EQ(back_off_us(n + 1), 2 * back_off_us(n));
  for (std::uint32_t n = 11; n < 100; ++n) EXPECT_EQ(back_off_us(n), 30'000'000) << n;
  EXPECT_EQ(back_off_us(UINT32_MAX), 30'000'000);
}

TEST(RunningFull, IsBelowAQuarter) {
  EXPECT_TRUE(is_running_full(0, 16));
  EXPECT_TRUE(is_running_full(3, 16));
  EXPECT_FALSE(is_running_full(4, 16));
}

}  // namespace
}  // namespace pgwc
