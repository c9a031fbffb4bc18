#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "unit/rig.hpp"

namespace pgwc {
namespace {

using test::Ids;
using test::make_rows;
using test::Rig;

TEST(Take, OfNothingIsEmptyAndThroughAllThatIsPublished) {
  Rig rig;
  const QueueNo a = rig.open(1);
  const QueueNo b = rig.open(2);
  rig.write(b, Ids{1});
  std::vector<FrameRef> frames;
  const Batch batch = rig.take(a, &frames);
  EXPECT_TRUE(frames.empty());
  EXPECT_EQ(batch.through, rig.buffer().last_seq());
  EXPECT_EQ(batch.last_seq, 0u);
  EXPECT_EQ(batch.rows, 0u);
}

TEST(Take, StopsAtTheRowLimit) {
  Rig rig;
  const QueueNo q = rig.open(1);
  for (test::RowId id = 1; id <= 9; ++id) rig.write(q, Ids{id});
  EXPECT_EQ(rig.flush(q, {4, UINT64_MAX}), (Ids{1, 2, 3, 4}));
  EXPECT_EQ(rig.flush(q, {4, UINT64_MAX}), (Ids{5, 6, 7, 8}));
  EXPECT_EQ(rig.flush(q, {4, UINT64_MAX}), Ids{9});
}

TEST(Take, StopsAtTheByteLimit) {
  Rig rig;
  const QueueNo q = rig.open(1);
  for (test::RowId id = 1; id <= 4; ++id) rig.write(q, Ids{id});  // 64 bytes each
  EXPECT_EQ(rig.flush(q, {UINT64_MAX, 65}), (Ids{1, 2}));
}

TEST(Take, TakesAtLeastOneFrame) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1, 2, 3});
  rig.write(q, Ids{4});
  EXPECT_EQ(rig.flush(q, {1, 1}), (Ids{1, 2, 3}));
  EXPECT_EQ(rig.flush(q, {0, 0}), Ids{4});
  EXPECT_EQ(rig.flush(q, {0, 0}), Ids{});
}

TEST(Take, FindsTheOldestInALaterBlock) {
  Rig rig;
  const QueueNo q = rig.open(1);
  std::vector<FrameRef> first = rig.stage(q, make_rows({1}, kMaxRow), 100);
  std::vector<FrameRef> second = rig.stage(q, make_rows({2}, kMaxRow), 101);
  rig.publish(second);
  rig.publish(first);
  EXPECT_EQ(rig.flush(q, {1, UINT64_MAX}), Ids{2});
  EXPECT_EQ(rig.flush(q, {1, UINT64_MAX}), Ids{1});
}

TEST(Take, ALatecomerInAnOldBlockDoesNotPushOlderRowsOut) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  std::vector<FrameRef> late = rig.stage(q, Ids{99});
  rig.write(q, make_rows({2}, kMaxRow));
  rig.write(q, make_rows({3}, kMaxRow));
  rig.publish(late);
  EXPECT_EQ(rig.flush(q, {2, UINT64_MAX}), (Ids{1, 2}));
  EXPECT_EQ(rig.flush(q, {2, UINT64_MAX}), (Ids{3, 99}));
}

TEST(Take, RepeatsWhatACancelGaveBack) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1, 2});
  std::vector<FrameRef> frames;
  rig.take(q, &frames);
  rig.buffer().mark(frames, 4711);
  EXPECT_EQ(rig.header(frames[0]).flush_xid, 4711u);
  rig.buffer().cancel(frames);
  EXPECT_EQ(rig.header(frames[0]).flush_xid, kNoXid);
  rig.write(q, Ids{3});
  EXPECT_EQ(rig.flush(q), (Ids{1, 2, 3}));
}

TEST(Take, OfATransactionThatPublishesMeanwhileIsLeftForTheNext) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  std::vector<FrameRef> frames;
  const Batch batch = rig.take(q, &frames);
  rig.write(q, Ids{2});
  rig.buffer().finish(q, frames, batch.through, 100, 1);
  EXPECT_LT(rig.buffer().view(q).flushed_through, rig.buffer().last_seq());
  EXPECT_EQ(rig.flush(q), Ids{2});
}

TEST(Take, OfEverythingIsThroughAllThatIsPublished) {
  Rig rig;
  const QueueNo a = rig.open(1);
  const QueueNo b = rig.open(2);
  rig.write(a, Ids{1});
  rig.write(b, Ids{2});
  rig.flush(a, {1, UINT64_MAX});
  EXPECT_EQ(rig.buffer().view(a).flushed_through, rig.buffer().last_seq());
}

TEST(Take, ReportsWhatItsFramesHold) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, make_rows({1, 2}, 60));
  const std::vector<FrameRef> second = rig.write(q, make_rows({3}, 100));
  rig.write(q, Ids{4});
  std::vector<FrameRef> frames;
  const Batch batch = rig.take(q, &frames, {3, UINT64_MAX});
  EXPECT_EQ(batch.rows, 3u);
  EXPECT_EQ(batch.bytes, 2 * 64u + 104u);
  EXPECT_EQ(batch.last_seq, second.back().seq);
  EXPECT_EQ(batch.through, second.back().seq);
}

TEST(Take, CollectsAcrossMoreBlocksThanBefore) {
  Rig rig({200, 2});
  const QueueNo q = rig.open(1);
  Ids ids;
  for (test::RowId id = 1; id <= 190; ++id) {
    rig.write(q, make_rows({id}, kMaxRow));
    ids.push_back(id);
  }
  EXPECT_EQ(rig.pending(q), ids);
}

// The property that makes a watermark mean something: whatever stays pending has a number above
// `through`, and no row is taken before an older one.
TEST(Take, NeverSkipsAnUnflushedFrame) {
  for (unsigned seed = 0; seed < 30; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Rig rig({64, 2});
    const QueueNo queues[] = {rig.open(1), rig.open(2)};
    std::vector<std::vector<FrameRef>> staged;
    std::vector<std::pair<std::uint64_t, test::RowId>> unflushed[2];  // by sequence number
    test::RowId next_id = 1;
    for (int step = 0; step < 400; ++step) {
      const unsigned which = random() % 2;
      const QueueNo q = queues[which];
      switch (random() % 6) {
        case 0:
        case 1:
          if (rig.buffer().free_blocks() > 20) {
            const std::uint32_t size = 16 + random() % (random() % 8 == 0 ? 40000 : 400);
            staged.push_back(rig.stage(q, make_rows({next_id++}, size), 100));
          }
          break;
        case 2:
        case 3:
          if (!staged.empty()) {
            std::swap(staged[random() % staged.size()], staged.back());
            rig.publish(staged.back());
            for (const FrameRef& frame : staged.back())
              unflushed[frame.queue == queues[0] ? 0 : 1].push_back(
                  {frame.seq, rig.ids_in({&frame, 1}).front()});
            staged.pop_back();
          }
          break;
        default: {
          const FlushLimits limits{1 + random() % 5, 1 + random() % 60000};
          std::vector<FrameRef> frames;
          const Batch batch = rig.take(q, &frames, limits);
          auto& model = unflushed[which];
          ASSERT_EQ(frames.empty(), model.empty());
          std::sort(model.begin(), model.end());
          for (const FrameRef& frame : frames) {
            ASSERT_EQ(frame.seq, model.front().first);
            ASSERT_EQ(rig.ids_in({&frame, 1}), Ids{model.front().second});
            model.erase(model.begin());
          }
          for (const auto& [seq, id] : model) ASSERT_GT(seq, batch.through);
          rig.buffer().finish(q, frames, batch.through, 100, 1);
          rig.buffer().reclaim(q, UINT64_MAX);
        }
      }
    }
  }
}

// --- request ---

TEST(Request, FindsNothingInAnEmptyQueue) {
  Rig rig;
  const QueueNo q = rig.open(1);
  EXPECT_FALSE(rig.buffer().request(q, UINT64_MAX));
}

TEST(Request, SeesWhatIsAsOldAsAsked) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  const std::uint64_t token = rig.buffer().last_seq();
  EXPECT_TRUE(rig.buffer().request(q, token));
  EXPECT_EQ(rig.buffer().view(q).requested, token);
  rig.flush(q);
  EXPECT_FALSE(rig.buffer().request(q, token));
}

TEST(Request, IgnoresWhatCameLater) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  rig.flush(q);
  const std::uint64_t token = rig.buffer().last_seq();
  rig.write(q, Ids{2});
  EXPECT_FALSE(rig.buffer().request(q, token));
  EXPECT_EQ(rig.buffer().view(q).requested, 0u);
}

TEST(Request, SeesTheRestOfAPartlyFlushedBlock) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  rig.write(q, Ids{2});
  const std::uint64_t token = rig.buffer().last_seq();
  rig.flush(q, {1, UINT64_MAX});
  EXPECT_TRUE(rig.buffer().request(q, token));
  EXPECT_FALSE(rig.buffer().request(q, token - 1));
}

TEST(Request, IsAnsweredAlthoughRowsCameDuringTheFlush) {
  Rig rig;
  const QueueNo q = rig.open(1);
  const QueueNo other = rig.open(2);
  rig.write(q, Ids{1});
  rig.write(other, Ids{2});
  const std::uint64_t token = rig.buffer().last_seq();
  std::vector<FrameRef> frames;
  const Batch batch = rig.take(q, &frames);
  rig.write(q, Ids{3});  // into the same block
  rig.buffer().finish(q, frames, batch.through, 500, 500);
  EXPECT_FALSE(rig.buffer().request(q, token));
  EXPECT_TRUE(rig.buffer().request(q, rig.buffer().last_seq()));
}

// --- transactions that a batch would split ---

TEST(SplitsTransaction, OnlyIfAFrameOfItIsNotAmongThem) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  std::vector<FrameRef> several = rig.write(q, make_rows(Ids(3, 2), kMaxRow));
  ASSERT_EQ(several.size(), 3u);
  rig.write(q, Ids{3});
  std::vector<FrameRef> all;
  rig.take(q, &all);
  EXPECT_FALSE(rig.buffer().splits_transaction(all, 0));
  for (const FrameRef& missing : several) {
    std::vector<FrameRef> some;
    for (const FrameRef& frame : all)
      if (frame.seq != missing.seq) some.push_back(frame);
    EXPECT_TRUE(rig.buffer().splits_transaction(some, 0));
    EXPECT_TRUE(rig.buffer().splits_transaction(some, several[0].seq));
    EXPECT_FALSE(rig.buffer().splits_transaction(some, several[2].seq));
  }
  EXPECT_FALSE(rig.buffer().splits_transaction({}, 0));
}

}  // namespace
}  // namespace pgwc
