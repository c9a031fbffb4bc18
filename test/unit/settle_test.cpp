#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "core/frame.hpp"
#include "unit/rig.hpp"

namespace pgwc {
namespace {

using test::Ids;
using test::make_rows;
using test::Rig;

constexpr Xid kXid = 500;
constexpr Xid kFlushXid = 600;

class Fates final : public FateOf {
 public:
  explicit Fates(std::map<Xid, Fate> fates) : fates_(std::move(fates)) {}
  Fate operator()(Xid xid) const noexcept override {
    const auto found = fates_.find(xid);
    test::must(found != fates_.end(), "settle asks only for what transactions() has named");
    return found->second;
  }

 private:
  std::map<Xid, Fate> fates_;
};

// --- the rule for one record ---

struct Case {
  FrameState state;
  bool pure;
  Fate fate;
  bool sibling_decided;
  bool kept;
};

class DecideTest : public ::testing::TestWithParam<Case> {};

TEST_P(DecideTest, FollowsTheDesign) {
  const Case& c = GetParam();
  FrameHeader frame{};
  set_frame_state(frame, c.state);
  frame.xid = kXid;
  frame.flags = c.pure ? kFramePure : 0;
  EXPECT_EQ(decide(frame, c.sibling_decided, Fates({{kXid, c.fate}})),
            c.kept ? Verdict::kKeep : Verdict::kUncommitted);
}

constexpr auto P = FrameState::kPrepared;
constexpr auto C = FrameState::kCommitted;
constexpr auto S = FrameState::kPublished;
constexpr auto kYes = Fate::kCommitted;
constexpr auto kNo = Fate::kNotCommitted;
constexpr auto kOld = Fate::kForgotten;
INSTANTIATE_TEST_SUITE_P(All, DecideTest,
                         ::testing::Values(
                             // Pure: the state alone, as soon as it says more than PREPARED.
                             Case{P, true, kYes, false, true}, Case{P, true, kNo, false, false},
                             Case{P, true, kOld, false, false}, Case{P, true, kNo, true, true},
                             Case{P, true, kOld, true, true}, Case{C, true, kNo, false, true},
                             Case{C, true, kOld, false, true}, Case{S, true, kNo, false, true},
                             Case{S, true, kYes, false, true}, Case{S, true, kOld, false, true},
                             // Others: the log, and only where it is too young the state.
                             Case{P, false, kYes, false, true}, Case{P, false, kNo, false, false},
                             Case{P, false, kOld, false, false}, Case{P, false, kNo, true, false},
                             Case{C, false, kYes, false, true}, Case{C, false, kNo, false, false},
                             Case{C, false, kOld, false, true}, Case{S, false, kYes, false, true},
                             Case{S, false, kNo, false, false}, Case{S, false, kOld, false, true}));

TEST(Decide, AFlushedRecordGoesOnlyIfItsFlushCommitted) {
  FrameHeader frame{};
  set_frame_state(frame, S);
  frame.xid = kFrozenXid;
  frame.flush_xid = kFlushXid;
  EXPECT_EQ(decide(frame, false, Fates({{kFlushXid, kYes}})), Verdict::kAlreadyStored);
  EXPECT_EQ(decide(frame, false, Fates({{kFlushXid, kNo}})), Verdict::kKeep);
  // The watermark is the one who knows.
  EXPECT_EQ(decide(frame, false, Fates({{kFlushXid, kOld}})), Verdict::kKeep);
}

TEST(Decide, AFrozenRecordIsKeptWithoutAsking) {
  FrameHeader frame{};
  frame.xid = kFrozenXid;
  for (FrameState state : {P, C, S}) {
    set_frame_state(frame, state);
    EXPECT_EQ(decide(frame, false, Fates({})), Verdict::kKeep);
  }
}

TEST(Decide, ARecordWithoutTransactionIsNobodys) {
  FrameHeader frame{};
  set_frame_state(frame, P);
  EXPECT_EQ(decide(frame, false, Fates({})), Verdict::kUncommitted);
}

// --- settle ---

struct Settle : ::testing::Test {
  Rig rig;
  QueueNo q = rig.open(1);
  SettleReport recover(std::map<Xid, Fate> fates) {
    rig.start();
    Recovery recovery(rig.buffer());
    recovery.scan();
    for (Xid xid : recovery.transactions()) test::must(fates.count(xid) != 0, "a known xid");
    SettleReport report = recovery.settle(Fates(std::move(fates)), 77);
    q = rig.open(1);
    return report;
  }
  std::vector<FrameRef> published(const Ids& ids, Xid xid, bool pure = true) {
    std::vector<FrameRef> frames = rig.stage(q, make_rows(ids), xid, pure);
    rig.publish(frames);
    return frames;
  }
};

TEST_F(Settle, ReportsWhatBecameOfTheRows) {
  published({1, 2}, 10);
  published({3}, 11, false);
  rig.buffer().mark(published({4}, 12), kFlushXid);
  const SettleReport report = recover({{10, kNo}, {11, kNo}, {12, kNo}, {kFlushXid, kYes}});
  EXPECT_EQ(report.rows_kept, 2u);
  EXPECT_EQ(report.rows_uncommitted, 1u);
  EXPECT_EQ(report.rows_already_stored, 1u);
  EXPECT_EQ(rig.pending(q), (Ids{1, 2}));
}

TEST_F(Settle, TransactionsNamesEachXidOnceAndNoSpecialOnes) {
  published({1}, 10);
  rig.buffer().mark(published({2}, 10), kFlushXid);
  published({3}, 11);
  rig.stage(q, make_rows({4}), 12);
  rig.reserve(q, make_rows({5}));
  rig.start();
  Recovery(rig.buffer()).scan();
  std::vector<Xid> xids = Recovery(rig.buffer()).transactions();
  std::sort(xids.begin(), xids.end());
  EXPECT_EQ(xids, (std::vector<Xid>{10, 11, 12, kFlushXid}));
}

TEST_F(Settle, SurvivorsLoseTheirTransaction) {
  rig.buffer().mark(published({1}, 10), kFlushXid);
  recover({{10, kNo}, {kFlushXid, kNo}});
  std::vector<FrameRef> frames;
  rig.take(q, &frames);
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(rig.header(frames[0]).xid, kFrozenXid);
  EXPECT_EQ(rig.header(frames[0]).flush_xid, kNoXid);
  // So another transaction with the same number decides nothing.
  EXPECT_EQ(recover({}).rows_kept, 1u);
}

TEST_F(Settle, PublishesACommittedPreparedRecordAnewBehindAllOthers) {
  rig.stage(q, make_rows({1}), 10, false);
  published({2}, 11);
  recover({{10, kYes}, {11, kYes}});
  EXPECT_EQ(rig.pending(q), (Ids{2, 1}));
  std::vector<FrameRef> frames;
  rig.take(q, &frames);
  EXPECT_EQ(frames[1].seq, rig.buffer().last_seq());
}

TEST_F(Settle, APublishedFrameDecidesForItsPreparedSiblings) {
  const QueueNo other = rig.open(2);
  std::vector<FrameRef> first = rig.stage(q, make_rows({1}), 10);
  rig.stage(other, make_rows({2}), 10);
  set_frame_state(rig.header(first[0]),
                  FrameState::kCommitted);  // killed right behind the first store
  recover({{10, kNo}});
  EXPECT_EQ(rig.pending(q), Ids{1});
  EXPECT_EQ(rig.pending(rig.open(2)), Ids{2});
}

TEST_F(Settle, ASiblingOfATransactionThatWroteElsewhereIsTheLogs) {
  const QueueNo other = rig.open(2);
  published({1}, 10, false);
  rig.stage(other, make_rows({2}), 10, false);
  recover({{10, kNo}});
  EXPECT_TRUE(rig.pending(q).empty());
  EXPECT_TRUE(rig.pending(rig.open(2)).empty());
}

TEST_F(Settle, MakesTheBufferUsable) {
  published({1}, 10);
  rig.stage(q, make_rows({2}), 11);
  EXPECT_TRUE(rig.buffer().view(q).open_frames == 1);
  recover({{10, kNo}, {11, kNo}});
  EXPECT_TRUE(rig.buffer().settled());
  const QueueView view = rig.buffer().view(q);
  EXPECT_EQ(view.open_frames, 0u);
  EXPECT_EQ(view.pending_rows, 1u);
  EXPECT_EQ(view.pending_bytes, 64u);
  EXPECT_EQ(view.oldest_us, 77);
  EXPECT_EQ(view.flushed_through, 0u);
  published({3}, 12);
  EXPECT_EQ(rig.flush(q), (Ids{1, 3}));
  EXPECT_EQ(rig.buffer().reclaim(q, UINT64_MAX), 1u);
}

TEST_F(Settle, FreesBlocksWithNothingKept) {
  rig.stage(q, make_rows(Ids(5, 1), kMaxRow), 10);
  recover({{10, kNo}});
  EXPECT_EQ(rig.buffer().free_blocks(), kMinBlocks);
}

TEST_F(Settle, GivesAnImpossibleSequenceNumberAnew) {
  for (std::uint64_t damaged : {std::uint64_t{0}, UINT64_MAX - 5, (rig.run() + 100) << kRunShift}) {
    const std::vector<FrameRef> frames = published({1}, 10);
    published({2}, 11);
    rig.header(frames[0]).seq = damaged;
    recover({{10, kNo}, {11, kNo}});
    EXPECT_EQ(rig.flush(q), (Ids{2, 1}));
    EXPECT_EQ(rig.buffer().view(q).pending_rows, 0u);
  }
}

TEST_F(Settle, AppendsBehindWhatItFound) {
  std::vector<FrameRef> frames = published({1}, 10);
  recover({{10, kNo}});
  const std::vector<FrameRef> more = published({2}, 11);
  EXPECT_EQ(more[0].block, frames[0].block);
  EXPECT_EQ(more[0].offset, frames[0].offset + frame_span(64));
  recover({{11, kNo}});
  EXPECT_EQ(rig.pending(q), (Ids{1, 2}));
}

// --- the watermark ---

TEST_F(Settle, TheWatermarkDropsWhatIsStoredAndNoMore) {
  published({1}, 10);
  const std::uint64_t seq = published({2}, 11)[0].seq;
  published({3}, 12);
  recover({{10, kNo}, {11, kNo}, {12, kNo}});
  EXPECT_EQ(Recovery::apply_watermark(rig.buffer(), q, seq), 2u);
  EXPECT_EQ(rig.pending(q), Ids{3});
  const QueueView view = rig.buffer().view(q);
  EXPECT_EQ(view.pending_rows, 1u);
  EXPECT_EQ(view.pending_bytes, 64u);
  EXPECT_EQ(view.flushed_through, seq);
  EXPECT_EQ(Recovery::apply_watermark(rig.buffer(), q, seq), 0u);
}

TEST_F(Settle, TheWatermarkFreesBlocksThatItEmpties) {
  const std::uint64_t seq = published({1, 2, 3}, 10).back().seq;
  recover({{10, kNo}});
  Recovery::apply_watermark(rig.buffer(), q, seq);
  EXPECT_EQ(rig.buffer().free_blocks(), kMinBlocks);
  EXPECT_FALSE(rig.buffer().request(q, UINT64_MAX));
}

TEST_F(Settle, TheWatermarkOfAnEarlierRunDoesNotReachRecordsPublishedAnew) {
  rig.stage(q, make_rows({1}), 10, false);
  published({2}, 11);
  const std::uint64_t seq = rig.buffer().last_seq();
  recover({{10, kYes}, {11, kYes}});
  EXPECT_EQ(Recovery::apply_watermark(rig.buffer(), q, seq), 1u);
  EXPECT_EQ(rig.pending(q), Ids{1});
}

TEST(Decide, AfterAPowerLossOnlyPublishedFramesCount) {
  FrameHeader frame{};
  frame.xid = 77;
  frame.flags = kFramePure;
  const test::EverythingCommitted fates;
  for (FrameState state : {FrameState::kPrepared, FrameState::kCommitted}) {
    set_frame_state(frame, state);
    EXPECT_EQ(decide(frame, true, fates), Verdict::kKeep);
    EXPECT_EQ(decide(frame, true, fates, {.power_lost = true}), Verdict::kUncommitted);
  }
  set_frame_state(frame, FrameState::kPublished);
  EXPECT_EQ(decide(frame, false, fates, {.power_lost = true}), Verdict::kKeep);
}

TEST(Decide, WhereIdsWereReusedTheLogKnowsNothingOfPreparedRecordsAndFlushes) {
  constexpr Doubts kReused{.ids_reused = true};
  FrameHeader frame{};
  frame.xid = 77;
  const test::EverythingCommitted fates;
  set_frame_state(frame, P);
  EXPECT_EQ(decide(frame, false, fates, kReused), Verdict::kUncommitted);
  EXPECT_EQ(decide(frame, true, fates, kReused), Verdict::kKeep);
  EXPECT_EQ(decide(frame, true, test::NothingCommitted{}, kReused), Verdict::kUncommitted);
  set_frame_state(frame, S);
  frame.flush_xid = kFlushXid;
  EXPECT_EQ(decide(frame, false, fates), Verdict::kAlreadyStored);
  EXPECT_EQ(decide(frame, false, fates, kReused), Verdict::kKeep);
  frame.xid = kFrozenXid;
  set_frame_state(frame, P);
  EXPECT_EQ(decide(frame, false, fates, kReused), Verdict::kKeep);
}

// --- a power loss that takes a part of a transaction ---

struct PowerLoss : Settle {
  QueueNo other = rig.open(2);
  std::vector<FrameRef> across(Xid xid) {
    std::vector<FrameRef> frames = rig.reserve(q, make_rows({1}));
    frames.push_back(rig.reserve(other, make_rows({2}))[0]);
    for (std::size_t i = 0; i < 2; ++i) {
      const test::Bytes row = make_rows({static_cast<test::RowId>(i + 1)});
      (void)rig.buffer().fill(frames[i], row.data(), xid, true, 0, 2);
    }
    rig.publish(frames);
    return frames;
  }
  void lose(const FrameRef& frame) { rig.header(frame).magic = 0; }
  SettleReport recover(std::uint64_t synced) {
    rig.start();
    Recovery recovery(rig.buffer());
    recovery.scan();
    const SettleReport report =
        recovery.settle(test::EverythingCommitted{}, 77, Doubts{true, synced});
    q = rig.open(1);
    other = rig.open(2);
    return report;
  }
};

TEST_F(PowerLoss, AWholeTransactionIsKept) {
  across(10);
  const SettleReport report = recover(0);
  EXPECT_EQ(report.rows_kept, 2u);
  EXPECT_EQ(report.rows_incomplete, 0u);
  EXPECT_EQ(rig.pending(q), Ids{1});
  EXPECT_EQ(rig.pending(other), Ids{2});
}

TEST_F(PowerLoss, APartOfATransactionIsNot) {
  for (std::size_t lost : {0u, 1u}) {
    lose(across(10)[lost]);
    published({7}, 11);
    const SettleReport report = recover(0);
    EXPECT_EQ(report.rows_kept, 1u);
    EXPECT_EQ(report.rows_incomplete, 1u);
    EXPECT_EQ(rig.flush(q), Ids{7});
    EXPECT_TRUE(rig.pending(other).empty());
  }
}

TEST_F(PowerLoss, WhatWasSyncedAsAWholeIsKeptWhateverIsMissing) {
  // The other part was stored, and its space used again.
  const std::vector<FrameRef> frames = across(10);
  lose(frames[0]);
  EXPECT_EQ(recover(frames[1].seq).rows_kept, 1u);
  EXPECT_EQ(rig.pending(other), Ids{2});
}

TEST_F(PowerLoss, AFrameThatWasNotPublishedOnDiskIsMissing) {
  const std::vector<FrameRef> frames = across(10);
  set_frame_state(rig.header(frames[1]), FrameState::kCommitted);
  const SettleReport report = recover(0);
  EXPECT_EQ(report.rows_kept, 0u);
  EXPECT_EQ(report.rows_incomplete, 1u);
}

TEST_F(PowerLoss, WhatIsKeptIsNotJudgedByItsPartsAgain) {
  const std::vector<FrameRef> frames = across(10);
  recover(0);
  lose(frames[0]);
  EXPECT_EQ(recover(0).rows_kept, 1u);
}

TEST_F(PowerLoss, OfOneTransactionConcernsNoOther) {
  lose(across(10)[0]);
  across(11);
  const SettleReport report = recover(0);
  EXPECT_EQ(report.rows_kept, 2u);
  EXPECT_EQ(report.rows_incomplete, 1u);
}

TEST_F(PowerLoss, ACrashIsNone) {
  lose(across(10)[0]);
  rig.start();
  Recovery(rig.buffer()).scan();
  EXPECT_EQ(Recovery(rig.buffer()).settle(test::NothingCommitted{}, 0).rows_kept, 1u);
}

}  // namespace
}  // namespace pgwc
