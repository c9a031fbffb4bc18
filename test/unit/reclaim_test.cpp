#include <gtest/gtest.h>

#include "core/frame.hpp"
#include "unit/rig.hpp"

namespace pgwc {
namespace {

using test::Ids;
using test::make_rows;
using test::Rig;

std::vector<RetiredBatch> retired(Rig& rig, QueueNo q) {
  RetiredBatch out[kRetiredSlots];
  const std::size_t count = rig.buffer().retired(q, out);
  return {out, out + count};
}

TEST(Finish, KeepsTheBlocksUntilTheirBatchIsReclaimed) {
  Rig rig;
  const QueueNo q = rig.open(1);
  const std::vector<FrameRef> frames = rig.write(q, make_rows({1}, kMaxRow));
  rig.flush(q);
  EXPECT_EQ(rig.buffer().free_blocks(), kMinBlocks - 1);
  EXPECT_EQ(frame_state(rig.header(frames[0])), FrameState::kFlushed);
  EXPECT_EQ(rig.ids_in(frames), Ids{1});  // still readable by those who need it
  EXPECT_EQ(rig.buffer().reclaim(q, retired(rig, q)[0].batch - 1), 0u);
  EXPECT_EQ(rig.buffer().reclaim(q, retired(rig, q)[0].batch), 1u);
  EXPECT_EQ(rig.buffer().free_blocks(), kMinBlocks);
}

TEST(Finish, TellsWhatTheBatchWaitsFor) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  std::vector<FrameRef> frames;
  const Batch batch = rig.take(q, &frames);
  rig.buffer().finish(q, frames, batch.through, 4711, 0x1234);
  ASSERT_EQ(retired(rig, q).size(), 1u);
  EXPECT_EQ(retired(rig, q)[0].flush_xid, 4711u);
  EXPECT_EQ(retired(rig, q)[0].lsn, 0x1234u);
}

TEST(Finish, OfAnEmptyBatchCountsNothing) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.flush(q);
  EXPECT_TRUE(retired(rig, q).empty());
  EXPECT_EQ(rig.buffer().view(q).counters.batches, 0u);
}

TEST(Finish, KeepsABlockWithUnflushedRows) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  rig.write(q, Ids{2});
  rig.flush(q, {1, UINT64_MAX});
  EXPECT_EQ(rig.buffer().reclaim(q, UINT64_MAX), 0u);
  EXPECT_EQ(rig.pending(q), Ids{2});
}

TEST(Finish, KeepsABlockWithOpenFrames) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  std::vector<FrameRef> open = rig.stage(q, Ids{2});
  rig.flush(q);
  EXPECT_EQ(rig.buffer().reclaim(q, UINT64_MAX), 0u);
  rig.publish(open);
  EXPECT_EQ(rig.flush(q), Ids{2});
}

TEST(Finish, PassesOverWhatADropHasThrownAway) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  std::vector<FrameRef> frames;
  const Batch batch = rig.take(q, &frames);
  rig.drop(q);
  const QueueNo next = rig.open(2);
  ASSERT_EQ(next, q);
  rig.write(next, Ids{2});
  rig.buffer().finish(q, frames, batch.through, 100, 1);
  EXPECT_EQ(rig.pending(next), Ids{2});
  EXPECT_EQ(rig.buffer().view(next).pending_rows, 1u);
  EXPECT_TRUE(retired(rig, next).empty());
}

TEST(Reclaim, FreesBatchByBatch) {
  Rig rig;
  const QueueNo q = rig.open(1);
  for (test::RowId id = 1; id <= 3; ++id) {
    rig.write(q, make_rows({id}, kMaxRow));
    rig.flush(q);
  }
  const std::vector<RetiredBatch> waiting = retired(rig, q);
  ASSERT_EQ(waiting.size(), 3u);
  EXPECT_EQ(rig.buffer().reclaim(q, waiting[1].batch), 2u);
  EXPECT_EQ(retired(rig, q).size(), 1u);
  EXPECT_EQ(rig.buffer().reclaim(q, waiting[2].batch), 1u);
  EXPECT_TRUE(retired(rig, q).empty());
}

TEST(Reclaim, HoldsTheBlockForItsNewestBatch) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  rig.write(q, Ids{2});
  rig.flush(q, {1, UINT64_MAX});
  rig.flush(q);
  EXPECT_EQ(rig.buffer().reclaim(q, retired(rig, q)[0].batch), 0u);
  EXPECT_EQ(rig.buffer().reclaim(q, retired(rig, q)[0].batch), 1u);
}

TEST(Reclaim, MoreBatchesThanSlotsOnlyWaitLonger) {
  Rig rig({64, 2});
  const QueueNo q = rig.open(1);
  constexpr std::size_t kBatches = kRetiredSlots + 5;
  for (test::RowId id = 1; id <= kBatches; ++id) {
    rig.write(q, make_rows({id}, kMaxRow));
    rig.flush(q);
  }
  const std::vector<RetiredBatch> waiting = retired(rig, q);
  ASSERT_EQ(waiting.size(), kRetiredSlots);
  // All but the newest entry: the batches that share it stay.
  EXPECT_EQ(rig.buffer().reclaim(q, waiting[kRetiredSlots - 2].batch), kRetiredSlots - 1);
  EXPECT_EQ(rig.buffer().view(q).block_count, kBatches - (kRetiredSlots - 1));
  EXPECT_EQ(rig.buffer().reclaim(q, waiting.back().batch), kBatches - (kRetiredSlots - 1));
}

TEST(Reclaim, DoesNotLetADiscardFreeWhatSnapshotsNeed) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  const std::vector<FrameRef> open = rig.stage(q, Ids{2});
  rig.flush(q);
  rig.buffer().discard(open);
  EXPECT_EQ(rig.buffer().free_blocks(), kMinBlocks - 1);
  EXPECT_EQ(rig.buffer().reclaim(q, UINT64_MAX), 1u);
}

TEST(Reclaim, LetsALaterDiscardFreeTheBlock) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  const std::vector<FrameRef> open = rig.stage(q, Ids{2});
  rig.flush(q);
  EXPECT_EQ(rig.buffer().reclaim(q, UINT64_MAX), 0u);
  rig.buffer().discard(open);
  EXPECT_EQ(rig.buffer().free_blocks(), kMinBlocks);
}

TEST(Reclaim, OfEverythingDoesNotReachBatchesToCome) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.buffer().reclaim(q, UINT64_MAX);
  rig.write(q, Ids{1});
  const std::vector<FrameRef> open = rig.stage(q, Ids{2});
  rig.flush(q);
  rig.buffer().discard(open);
  EXPECT_EQ(rig.buffer().free_blocks(), kMinBlocks - 1);
}

TEST(Reclaim, ByAFlusherOfTheSlotsLastOwnerFreesNothing) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  rig.flush(q);
  const std::uint64_t old_batch = retired(rig, q)[0].batch;
  rig.drop(q);
  ASSERT_EQ(rig.open(2), q);
  rig.write(q, Ids{2});
  rig.flush(q);
  EXPECT_EQ(rig.buffer().reclaim(q, old_batch), 0u);
}

TEST(Reclaim, BlocksAreUsedAgain) {
  Rig rig;
  const QueueNo q = rig.open(1);
  for (test::RowId id = 1; id <= 10 * kMinBlocks; ++id) {
    rig.write(q, make_rows({id}, kMaxRow));
    ASSERT_EQ(rig.flush(q), Ids{id});
    ASSERT_EQ(rig.buffer().reclaim(q, UINT64_MAX), 1u);
  }
}

// --- queues and their slots ---

TEST(Queues, AreFoundAgainByTheirId) {
  Rig rig;
  const QueueNo q = rig.open(7);
  EXPECT_EQ(rig.open(7), q);
  EXPECT_NE(rig.open(8), q);
  EXPECT_TRUE(rig.buffer().is_queue(q, 7));
  EXPECT_FALSE(rig.buffer().is_queue(q, 8));
  EXPECT_FALSE(rig.buffer().is_queue(kNoQueueNo, 7));
  EXPECT_EQ(rig.buffer().view(q).relation, 7u);
}

TEST(Queues, BeyondTheSlotsAreRefused) {
  Rig rig;
  for (std::uint64_t id = 1; id <= 4; ++id) rig.open(id);
  QueueNo q;
  EXPECT_EQ(rig.buffer().open_queue(5, 0, &q), Status::kNoQueue);
  EXPECT_EQ(rig.buffer().open_queue(4, 0, &q), Status::kOk);
}

TEST(Queues, StartWithNothingOlderPending) {
  Rig rig;
  rig.write(rig.open(1), Ids{1});
  EXPECT_EQ(rig.buffer().view(rig.open(2)).flushed_through, rig.buffer().last_seq());
}

TEST(DropQueue, ThrowsAwayWhatIsPendingAndFreesTheSlot) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, make_rows({1, 2, 3}, kMaxRow));
  rig.drop(q);
  EXPECT_EQ(rig.buffer().free_blocks(), kMinBlocks);
  EXPECT_FALSE(rig.buffer().is_queue(q, 1));
  EXPECT_EQ(rig.open(2), q);
  EXPECT_TRUE(rig.pending(q).empty());
  EXPECT_EQ(rig.buffer().view(q).counters.rows_published, 0u);
}

TEST(DropQueue, LeavesTheSlotsNextOwnerAlone) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.drop(q);
  ASSERT_EQ(rig.open(2), q);
  rig.write(q, Ids{1});
  rig.buffer().drop_queue(q, 1);
  EXPECT_EQ(rig.pending(q), Ids{1});
}

TEST(DropQueue, ClearsWhatIsRetired) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  rig.flush(q);
  rig.drop(q);
  EXPECT_EQ(rig.buffer().free_blocks(), kMinBlocks);
  EXPECT_TRUE(retired(rig, rig.open(2)).empty());
}

TEST(DropQueue, WaitsForOpenFramesToBeDiscarded) {
  Rig rig;
  const QueueNo q = rig.open(1);
  const std::vector<FrameRef> open = rig.stage(q, Ids{1});
  rig.drop(q);
  EXPECT_TRUE(rig.buffer().is_queue(q, 1));
  rig.buffer().discard(open);
  EXPECT_FALSE(rig.buffer().is_queue(q, 1));
  EXPECT_EQ(rig.buffer().free_blocks(), kMinBlocks);
}

TEST(DropQueue, ThrowsAwayWhatIsPublishedLater) {
  Rig rig;
  const QueueNo q = rig.open(1);
  std::vector<FrameRef> open = rig.stage(q, make_rows(Ids(3, 1), kMaxRow), 100);
  rig.drop(q);
  EXPECT_EQ(rig.publish(open), 0);
  EXPECT_FALSE(rig.buffer().is_queue(q, 1));
  EXPECT_EQ(rig.buffer().free_blocks(), kMinBlocks);
}

TEST(DropQueue, TakesNoNewRows) {
  Rig rig;
  const QueueNo q = rig.open(1);
  const std::vector<FrameRef> open = rig.stage(q, Ids{1});
  rig.drop(q);
  std::vector<FrameRef> frames;
  EXPECT_EQ(rig.try_reserve(q, make_rows({2}), &frames), Status::kNoQueue);
  rig.buffer().discard(open);
}

// --- ids that come round ---

TEST(Freeze, ComparesIdsAsTheyGoRound) {
  EXPECT_TRUE(is_older(10, 11));
  EXPECT_FALSE(is_older(11, 10));
  EXPECT_FALSE(is_older(11, 11));
  EXPECT_TRUE(is_older(UINT32_MAX - 5, 10));
  EXPECT_FALSE(is_older(10, UINT32_MAX - 5));
  EXPECT_TRUE(is_older(kFrozenXid, UINT32_MAX - 5));
}

TEST(Freeze, RecordsLoseIdsThatAreOlderThanTheHorizon) {
  Rig rig;
  const QueueNo q = rig.open(1);
  const auto publish = [&](test::RowId id, Xid xid) {
    std::vector<FrameRef> frames = rig.stage(q, make_rows({id}), xid);
    rig.publish(frames);
    return frames[0];
  };
  const FrameRef old = publish(1, 10);
  const FrameRef flushed = publish(2, 11);
  const FrameRef marked = publish(3, 12);
  const FrameRef young = publish(4, 50);
  const FrameRef prepared = rig.stage(q, make_rows({5}), 13)[0];
  rig.buffer().mark({&flushed, 1}, 20);
  rig.buffer().finish(q, {&flushed, 1}, flushed.seq, 20, 20);
  rig.buffer().mark({&marked, 1}, 60);
  rig.buffer().freeze(q, 30);
  EXPECT_EQ(rig.header(old).xid, kFrozenXid);
  EXPECT_EQ(rig.header(old).flush_xid, kNoXid);
  EXPECT_EQ(rig.header(flushed).flush_xid, kFrozenXid);
  EXPECT_EQ(rig.header(marked).xid, kFrozenXid);
  EXPECT_EQ(rig.header(marked).flush_xid, 60u) << "that flush has not committed";
  EXPECT_EQ(rig.header(young).xid, 50u);
  EXPECT_EQ(rig.header(prepared).xid, 13u);
}

TEST(Freeze, NobodyComesTooLateForWhatWasFreedLongAgo) {
  Rig rig;
  const QueueNo q = rig.open(1);
  std::vector<FrameRef> frames = rig.stage(q, make_rows({1}), 10);
  rig.publish(frames);
  rig.buffer().finish(q, frames, frames[0].seq, 20, 20);
  rig.buffer().reclaim(q, UINT64_MAX);
  Xid freed;
  EXPECT_TRUE(rig.buffer().is_empty(q, 1, &freed));
  EXPECT_EQ(freed, 20u);
  rig.buffer().freeze(q, 20);
  (void)rig.buffer().is_empty(q, 1, &freed);
  EXPECT_EQ(freed, 20u);
  rig.buffer().freeze(q, 21);
  (void)rig.buffer().is_empty(q, 1, &freed);
  EXPECT_EQ(freed, kNoXid);
}

}  // namespace
}  // namespace pgwc
