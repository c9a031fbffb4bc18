#include <gtest/gtest.h>

#include "core/frame.hpp"
#include "unit/rig.hpp"

namespace pgwc {
namespace {

using test::Bytes;
using test::Ids;
using test::make_rows;
using test::Rig;

constexpr std::uint32_t kFillsBlock = kMaxRow;

TEST(Reserve, GivesEachFrameWholeRowsInOrder) {
  Rig rig;
  const QueueNo q = rig.open(1);
  Ids ids;
  for (test::RowId id = 1; id <= 3000; ++id) ids.push_back(id);
  std::vector<FrameRef> frames = rig.stage(q, ids);
  EXPECT_GT(frames.size(), 2u);
  EXPECT_EQ(rig.ids_in(frames), ids);
}

TEST(Reserve, FillsABlockUpBeforeItTakesTheNext) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  const std::vector<FrameRef> frames = rig.reserve(q, make_rows(Ids(2000, 9)));
  ASSERT_GE(frames.size(), 2u);
  EXPECT_GT(frames[0].offset, sizeof(BlockHeader));
  EXPECT_EQ(frames[1].offset, sizeof(BlockHeader));
}

TEST(Reserve, TakesARowOfExactlyABlock) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, make_rows({1}, kFillsBlock));
  rig.write(q, make_rows({2}, kFillsBlock));
  EXPECT_EQ(rig.pending(q), (Ids{1, 2}));
  EXPECT_EQ(rig.buffer().free_blocks(), rig.buffer().block_count() - 2);
}

TEST(Reserve, RefusesALargerRow) {
  Rig rig;
  const QueueNo q = rig.open(1);
  std::vector<FrameRef> frames;
  EXPECT_EQ(rig.try_reserve(q, make_rows({1}, kFillsBlock + 1), &frames), Status::kRowTooLarge);
  EXPECT_TRUE(frames.empty());
}

TEST(Reserve, RefusesALargerRowBehindGoodOnesAndKeepsNothing) {
  Rig rig;
  const QueueNo q = rig.open(1);
  Bytes rows = make_rows(Ids(3000, 1));
  test::append_row(&rows, 2, kFillsBlock + 1);
  std::vector<FrameRef> frames;
  EXPECT_EQ(rig.try_reserve(q, rows, &frames), Status::kRowTooLarge);
  EXPECT_EQ(rig.buffer().free_blocks(), rig.buffer().block_count());
  EXPECT_EQ(rig.buffer().view(q).open_frames, 0u);
}

TEST(Reserve, RefusesARowWithoutLength) {
  Rig rig;
  const QueueNo q = rig.open(1);
  std::vector<FrameRef> frames;
  EXPECT_EQ(rig.try_reserve(q, Bytes(64), &frames), Status::kRowTooLarge);
}

TEST(Reserve, OfNothingIsNoFrames) {
  Rig rig;
  const QueueNo q = rig.open(1);
  EXPECT_TRUE(rig.reserve(q, {}).empty());
  EXPECT_EQ(rig.buffer().free_blocks(), rig.buffer().block_count());
}

TEST(Reserve, WithoutSpaceForAllTakesNothing) {
  Rig rig;
  const QueueNo q = rig.open(1);
  std::vector<FrameRef> frames;
  EXPECT_EQ(rig.try_reserve(q, make_rows(Ids(kMinBlocks + 1, 1), kFillsBlock), &frames),
            Status::kNoSpace);
  EXPECT_EQ(rig.buffer().free_blocks(), rig.buffer().block_count());
  EXPECT_EQ(rig.buffer().view(q).block_count, 0u);
  EXPECT_EQ(rig.buffer().view(q).open_frames, 0u);
}

TEST(Reserve, WithoutSpaceLeavesWhatOthersHave) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1, 2});
  std::vector<FrameRef> frames;
  EXPECT_EQ(rig.try_reserve(q, make_rows(Ids(kMinBlocks, 1), kFillsBlock), &frames),
            Status::kNoSpace);
  EXPECT_EQ(rig.pending(q), (Ids{1, 2}));
  EXPECT_EQ(rig.buffer().free_blocks(), rig.buffer().block_count() - 1);
}

TEST(Reserve, UsesTheLastBlock) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, make_rows(Ids(kMinBlocks, 1), kFillsBlock));
  EXPECT_EQ(rig.buffer().free_blocks(), 0u);
  std::vector<FrameRef> frames;
  EXPECT_EQ(rig.try_reserve(q, make_rows({1}), &frames), Status::kNoSpace);
}

TEST(Reserve, NeverNeedsMoreFramesThanMaxFrames) {
  // try_reserve() checks it. Rows of a little over half a block are the worst case.
  for (std::uint32_t size : {12u, 1000u, 21800u, 21816u, 32704u, 32712u, 43000u, kFillsBlock}) {
    for (std::size_t count = 1; count <= 14; ++count) {
      Rig rig;
      const QueueNo q = rig.open(1);
      rig.write(q, make_rows({1}, 20000));
      EXPECT_FALSE(rig.reserve(q, make_rows(Ids(count, 1), size)).empty());
    }
  }
}

TEST(Reserve, RefusesASlotThatIsNotThisQueues) {
  Rig rig;
  const QueueNo q = rig.open(1);
  FrameRef frame;
  std::size_t count;
  EXPECT_EQ(rig.buffer().reserve(q, 2, 0, make_rows({1}), &frame, &count), Status::kNoQueue);
  EXPECT_EQ(rig.buffer().reserve(99, 1, 0, make_rows({1}), &frame, &count), Status::kNoQueue);
}

TEST(Reserve, WritesFramesThatNobodyTakesForRows) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.reserve(q, make_rows({1}));
  EXPECT_TRUE(rig.pending(q).empty());
  EXPECT_EQ(rig.buffer().view(q).open_frames, 1u);
  EXPECT_EQ(rig.buffer().view(q).pending_rows, 0u);
}

TEST(Fill, KeepsGenerationXidAndPurity) {
  Rig rig;
  const QueueNo q = rig.open(1);
  const std::vector<FrameRef> pure = rig.stage(q, make_rows({1}), 4711, true);
  const std::vector<FrameRef> mixed = rig.stage(q, make_rows({2}), 4712, false);
  EXPECT_EQ(rig.header(pure[0]).xid, 4711u);
  EXPECT_EQ(rig.header(pure[0]).flags, kFramePure);
  EXPECT_EQ(rig.header(pure[0]).generation, 7u);
  EXPECT_EQ(frame_state(rig.header(pure[0])), FrameState::kPrepared);
  EXPECT_EQ(rig.header(mixed[0]).flags, 0u);
}

TEST(Discard, GivesTheSpaceBackAtOnce) {
  Rig rig;
  const QueueNo q = rig.open(1);
  const std::vector<FrameRef> frames = rig.stage(q, make_rows(Ids(5, 1), kFillsBlock), 100);
  EXPECT_EQ(rig.buffer().free_blocks(), rig.buffer().block_count() - 5);
  rig.buffer().discard(frames);
  EXPECT_EQ(rig.buffer().free_blocks(), rig.buffer().block_count());
  EXPECT_EQ(rig.buffer().view(q).open_frames, 0u);
}

TEST(Discard, KeepsBlocksThatOthersUse) {
  Rig rig;
  const QueueNo q = rig.open(1);
  const std::vector<FrameRef> gone = rig.stage(q, Ids{1});
  std::vector<FrameRef> open = rig.stage(q, Ids{2});
  rig.buffer().discard(gone);
  rig.publish(open);
  EXPECT_EQ(rig.pending(q), Ids{2});
}

TEST(Discard, UnlinksBlocksFromAnywhereInTheChain) {
  Rig rig;
  const QueueNo q = rig.open(1);
  std::vector<std::vector<FrameRef>> frames;
  for (test::RowId id = 1; id <= 6; ++id)
    frames.push_back(rig.stage(q, make_rows({id}, kFillsBlock), 100));
  for (int middle_first_last : {2, 0, 5}) rig.buffer().discard(frames[middle_first_last]);
  for (int rest : {4, 1, 3}) rig.publish(frames[rest]);
  EXPECT_EQ(rig.pending(q), (Ids{5, 2, 4}));
  EXPECT_EQ(rig.buffer().view(q).block_count, 3u);
  rig.write(q, make_rows({7}, kFillsBlock));
  EXPECT_EQ(rig.pending(q), (Ids{5, 2, 4, 7}));
}

TEST(Discard, CountsItsRowsButNotThoseOfAFailedReserve) {
  Rig rig;
  const QueueNo q = rig.open(1);
  std::vector<FrameRef> none;
  EXPECT_EQ(rig.try_reserve(q, make_rows(Ids(kMinBlocks + 1, 1), kFillsBlock), &none),
            Status::kNoSpace);
  EXPECT_EQ(rig.buffer().view(q).counters.rows_discarded, 0u);
  rig.buffer().discard(rig.stage(q, Ids{1, 2, 3}));
  EXPECT_EQ(rig.buffer().view(q).counters.rows_discarded, 3u);
}

TEST(Discard, SpansSeveralQueues) {
  Rig rig;
  const QueueNo a = rig.open(1);
  const QueueNo b = rig.open(2);
  std::vector<FrameRef> frames = rig.stage(a, Ids{1});
  for (const FrameRef& frame : rig.stage(b, Ids{2})) frames.push_back(frame);
  rig.buffer().discard(frames);
  EXPECT_EQ(rig.buffer().free_blocks(), rig.buffer().block_count());
}

TEST(Reserve, LeavesEveryOtherQueueABlock) {
  Rig rig;
  const QueueNo greedy = rig.open(1);
  const QueueNo late = rig.open(2);
  std::vector<FrameRef> frames;
  std::uint32_t taken = 0;
  while (rig.try_reserve(greedy, make_rows({1}, kFillsBlock), &frames) == Status::kOk) ++taken;
  EXPECT_EQ(taken, rig.buffer().block_count() - 1);
  EXPECT_EQ(rig.try_reserve(late, make_rows({2}, kFillsBlock), &frames), Status::kOk);
  EXPECT_EQ(rig.try_reserve(late, make_rows({3}, kFillsBlock), &frames), Status::kNoSpace);
}

}  // namespace
}  // namespace pgwc
