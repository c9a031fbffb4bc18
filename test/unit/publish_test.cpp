#include <gtest/gtest.h>

#include "core/frame.hpp"
#include "unit/rig.hpp"

namespace pgwc {
namespace {

using test::Ids;
using test::make_rows;
using test::Rig;

TEST(Publish, OrderIsTakeOrder) {
  Rig rig;
  const QueueNo q = rig.open(1);
  Ids ids;
  for (test::RowId id = 1; id <= 5000; ++id) {
    rig.write(q, Ids{id});
    ids.push_back(id);
  }
  EXPECT_EQ(rig.pending(q), ids);
}

TEST(Publish, OrderCountsNotReserveOrder) {
  Rig rig;
  const QueueNo q = rig.open(1);
  std::vector<FrameRef> first = rig.stage(q, Ids{1});
  std::vector<FrameRef> second = rig.stage(q, Ids{2});
  rig.publish(second);
  EXPECT_EQ(rig.pending(q), Ids{2});
  rig.publish(first);
  EXPECT_EQ(rig.pending(q), (Ids{2, 1}));
}

TEST(Publish, OfAStuckTransactionHoldsNobodyBack) {
  Rig rig;
  const QueueNo q = rig.open(1);
  std::vector<FrameRef> stuck = rig.stage(q, Ids{1});
  rig.write(q, Ids{2});
  EXPECT_EQ(rig.flush(q), Ids{2});
  rig.write(q, Ids{3});
  EXPECT_EQ(rig.flush(q), Ids{3});
  rig.publish(stuck);
  EXPECT_EQ(rig.flush(q), Ids{1});
}

TEST(Publish, GivesEachFrameANumberOfItsOwnAndCountsUp) {
  Rig rig;
  const QueueNo a = rig.open(1);
  const QueueNo b = rig.open(2);
  std::uint64_t last = rig.buffer().last_seq();
  for (int i = 0; i < 10; ++i) {
    for (const FrameRef& frame : rig.write(i % 3 == 0 ? a : b, make_rows(Ids(1500, 1)))) {
      EXPECT_GT(frame.seq, last);
      last = frame.seq;
      EXPECT_EQ(rig.header(frame).seq, frame.seq);
    }
    EXPECT_EQ(rig.buffer().last_seq(), last);
    for (QueueNo q : {a, b}) rig.flush(q), rig.buffer().reclaim(q, UINT64_MAX);
  }
}

TEST(Publish, PassesCommittedOnlyWithSeveralFrames) {
  Rig rig;
  const QueueNo q = rig.open(1);
  std::vector<FrameRef> frames = rig.stage(q, make_rows(Ids(2000, 1)), 100);
  ASSERT_GE(frames.size(), 2u);
  // The first publish wakes the flusher while the last frame is still to come.
  rig.buffer().publish(frames, 1, [&](QueueNo) {
    EXPECT_EQ(frame_state(rig.header(frames.front())), FrameState::kPublished);
    EXPECT_EQ(frame_state(rig.header(frames.back())), FrameState::kCommitted);
  });
  EXPECT_EQ(frame_state(rig.header(frames.back())), FrameState::kPublished);
}

TEST(Publish, InOneQueueLeavesOthersAlone) {
  Rig rig;
  const QueueNo a = rig.open(1);
  const QueueNo b = rig.open(2);
  rig.write(a, Ids{1});
  rig.write(b, Ids{2});
  rig.write(a, Ids{3});
  EXPECT_EQ(rig.flush(a), (Ids{1, 3}));
  EXPECT_EQ(rig.pending(b), Ids{2});
  EXPECT_EQ(rig.buffer().view(b).pending_rows, 1u);
}

TEST(Publish, CountsExactly) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, make_rows(Ids(3, 1), 60));  // 64 bytes with padding
  rig.write(q, make_rows(Ids(2, 1), 100));
  QueueView view = rig.buffer().view(q);
  EXPECT_EQ(view.pending_rows, 5u);
  EXPECT_EQ(view.pending_bytes, 3 * 64u + 2 * 104u);
  EXPECT_EQ(view.counters.rows_published, 5u);
  EXPECT_EQ(view.counters.bytes_published, 3 * 64u + 2 * 104u);
  rig.flush(q);
  view = rig.buffer().view(q);
  EXPECT_EQ(view.pending_rows, 0u);
  EXPECT_EQ(view.pending_bytes, 0u);
  EXPECT_EQ(view.counters.rows_flushed, 5u);
  EXPECT_EQ(view.counters.batches, 1u);
  EXPECT_EQ(view.counters.rows_published, 5u);
}

// --- when the flusher is called ---

TEST(Wake, ComesWithTheFirstRowOnly) {
  Rig rig;
  const QueueNo q = rig.open(1);
  for (int round = 0; round < 3; ++round) {
    std::vector<FrameRef> frames = rig.stage(q, Ids{1});
    EXPECT_EQ(rig.publish(frames), 1);
    frames = rig.stage(q, Ids{2});
    EXPECT_EQ(rig.publish(frames), 0);
    rig.flush(q);
  }
}

TEST(Wake, ComesOnceWhenTheRowLimitIsCrossed) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.buffer().set_policy(q, {5, 0, 0});
  const int expected[] = {1, 0, 0, 0, 1, 0, 0};
  for (int wakes : expected) {
    std::vector<FrameRef> frames = rig.stage(q, Ids{1});
    EXPECT_EQ(rig.publish(frames), wakes);
  }
}

TEST(Wake, ComesOnceWhenTheByteLimitIsCrossed) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.buffer().set_policy(q, {0, 200, 0});
  const int expected[] = {1, 0, 0, 1, 0};  // 64 bytes each
  for (int wakes : expected) {
    std::vector<FrameRef> frames = rig.stage(q, Ids{1});
    EXPECT_EQ(rig.publish(frames), wakes);
  }
}

TEST(Wake, IsPerQueue) {
  Rig rig;
  const QueueNo a = rig.open(1);
  const QueueNo b = rig.open(2);
  std::vector<FrameRef> frames = rig.stage(a, Ids{1});
  for (const FrameRef& frame : rig.stage(b, Ids{2})) frames.push_back(frame);
  std::vector<QueueNo> woken;
  rig.buffer().publish(frames, 1, [&](QueueNo q) { woken.push_back(q); });
  EXPECT_EQ(woken, (std::vector<QueueNo>{a, b}));
}

TEST(View, KnowsWhenTheOldestPendingRowCame) {
  Rig rig;
  const QueueNo q = rig.open(1);
  EXPECT_EQ(rig.buffer().view(q).oldest_us, 0);
  std::vector<FrameRef> frames = rig.stage(q, make_rows({1}, kMaxRow), 100);
  rig.publish(frames, 500);
  frames = rig.stage(q, make_rows({2}, kMaxRow), 101);
  rig.publish(frames, 700);
  EXPECT_EQ(rig.buffer().view(q).oldest_us, 500);
  rig.flush(q, {1, UINT64_MAX});
  EXPECT_EQ(rig.buffer().view(q).oldest_us, 700);
}

TEST(View, OfAFreeSlotIsEmpty) {
  Rig rig;
  EXPECT_EQ(rig.buffer().view(0).id, 0u);
  EXPECT_EQ(rig.buffer().view(0).pending_rows, 0u);
}

TEST(Attach, SeesWhatTheCreatorMade) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  test::Memory index(shared_index_size(Rig::kDefault));
  test::OrderedLocks locks;
  WriteBuffer(WriteBuffer::Create{}, index.data(), rig.file(), Rig::kDefault, 5, 9, locks);
  WriteBuffer attached(WriteBuffer::Attach{}, index.data(), rig.file(), locks);
  EXPECT_EQ(attached.block_count(), kMinBlocks);
  EXPECT_EQ(attached.queue_count(), 4u);
  EXPECT_EQ(attached.incarnation(), 5u);
  EXPECT_EQ(attached.free_blocks(), kMinBlocks);
  EXPECT_FALSE(attached.settled());
}

}  // namespace
}  // namespace pgwc
