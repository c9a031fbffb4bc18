#include <gtest/gtest.h>

#include "core/frame.hpp"
#include "unit/rig.hpp"

namespace pgwc {
namespace {

using test::Ids;
using test::make_rows;
using test::Rig;

// Scans a fresh index; nothing is settled yet.
ScanReport scan(Rig& rig) {
  rig.start();
  return Recovery(rig.buffer()).scan();
}

void damage(void* at) { *static_cast<unsigned char*>(at) ^= 0x10; }

TEST(Scan, OfAFreshFileFindsNothingAndWritesNothing) {
  Rig rig;
  const ScanReport report = scan(rig);
  EXPECT_EQ(report.blocks_in_use, 0u);
  EXPECT_EQ(report.damaged_blocks, 0u);
  EXPECT_EQ(rig.buffer().free_blocks(), kMinBlocks);
  for (std::size_t at = 0; at < file_size(kMinBlocks); ++at)
    ASSERT_EQ(rig.file()[at], std::byte{0}) << at;
}

TEST(Scan, FindsEveryLiveFrame) {
  Rig rig;
  const QueueNo a = rig.open(1);
  const QueueNo b = rig.open(2);
  rig.write(a, Ids{1});
  rig.write(b, Ids{2});
  rig.stage(a, Ids{3});
  const ScanReport report = scan(rig);
  EXPECT_EQ(report.frames, 3u);
  EXPECT_EQ(report.blocks_in_use, 2u);
  EXPECT_EQ(report.damaged_blocks, 0u);
  EXPECT_EQ(rig.buffer().free_blocks(), kMinBlocks - 2);
}

TEST(Scan, DiscardsWhatWasOnlyReserved) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  rig.reserve(q, make_rows({2}));
  rig.write(q, Ids{3});
  rig.recover();
  EXPECT_EQ(rig.pending(rig.open(1)), (Ids{1, 3}));
}

TEST(Scan, FreesBlocksWithNothingLive) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  rig.flush(q);
  EXPECT_EQ(scan(rig).blocks_in_use, 0u);
  EXPECT_EQ(rig.buffer().free_blocks(), kMinBlocks);
}

TEST(Scan, DoesNotTakeLeftoversOfAnEarlierUseForRows) {
  Rig rig({kMinBlocks, 4});
  QueueNo q = rig.open(1);
  // Runs whose counters begin alike: the same block, the same queue, the same number within the
  // run.
  for (int run = 0; run < 3; ++run) {
    rig.write(q, Ids{1, 2, 3});
    std::vector<FrameRef> rest = rig.write(q, Ids{4});
    rig.flush(q);
    rig.buffer().reclaim(q, UINT64_MAX);
    // As a power loss leaves them: not yet marked as flushed.
    set_frame_state(rig.header(rest[0]), FrameState::kPublished);
    rig.recover();
    q = rig.open(1);
    rig.write(q, Ids{5});
    EXPECT_EQ(rig.recover().rows_kept, 1u);
    q = rig.open(1);
    EXPECT_EQ(rig.flush(q), Ids{5});
    rig.buffer().reclaim(q, UINT64_MAX);
  }
}

TEST(Scan, TwiceIsAsOnce) {
  Rig rig;
  const QueueNo q = rig.open(1);
  std::vector<FrameRef> frames;
  for (test::RowId id = 1; id <= 9; ++id) frames.push_back(rig.write(q, Ids{id})[0]);
  damage(&rig.header(frames[3]).header_crc);
  damage(&rig.header(frames[8]).header_crc);
  damage(&rig.block_header(frames[0].block).crc);
  const ScanReport first = scan(rig);
  EXPECT_EQ(first.damaged_blocks, 1u);
  const ScanReport second = scan(rig);
  EXPECT_EQ(second.damaged_blocks, 0u);
  EXPECT_EQ(second.frames, 7u);
  EXPECT_EQ(first.frames, 7u);
}

TEST(Scan, StepsOverADamagedFrameHeader) {
  for (std::size_t field : {offsetof(FrameHeader, magic), offsetof(FrameHeader, header_crc),
                            offsetof(FrameHeader, payload_bytes), offsetof(FrameHeader, epoch)}) {
    Rig rig;
    const QueueNo q = rig.open(1);
    rig.write(q, Ids{1});
    const std::vector<FrameRef> hit = rig.write(q, make_rows({2, 3}, 500));
    rig.write(q, Ids{4});
    damage(reinterpret_cast<std::byte*>(&rig.header(hit[0])) + field);
    const ScanReport report = scan(rig);
    EXPECT_EQ(report.damaged_blocks, 1u);
    EXPECT_GE(report.damaged_bytes, 1000u);
    Recovery(rig.buffer()).settle(test::NothingCommitted{}, 0);
    EXPECT_EQ(rig.pending(rig.open(1)), (Ids{1, 4}));
  }
}

TEST(Scan, NeverReturnsADamagedRow) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  const std::vector<FrameRef> hit = rig.write(q, Ids{2, 3});
  rig.write(q, Ids{4});
  damage(&rig.header(hit[0]) + 1);
  EXPECT_EQ(scan(rig).damaged_blocks, 1u);
  Recovery(rig.buffer()).settle(test::NothingCommitted{}, 0);
  EXPECT_EQ(rig.pending(rig.open(1)), (Ids{1, 4}));
}

TEST(Scan, NeverReturnsAFrameInNoKnownState) {
  Rig rig;
  const QueueNo q = rig.open(1);
  const std::vector<FrameRef> hit = rig.write(q, Ids{1});
  rig.write(q, Ids{2});
  damage(&rig.header(hit[0]).state);
  EXPECT_EQ(scan(rig).damaged_blocks, 1u);
  Recovery(rig.buffer()).settle(test::NothingCommitted{}, 0);
  EXPECT_EQ(rig.pending(rig.open(1)), Ids{2});
}

TEST(Scan, KeepsTheRowsBehindADamagedBlockHeader) {
  for (std::size_t field : {offsetof(BlockHeader, magic), offsetof(BlockHeader, crc),
                            offsetof(BlockHeader, epoch), offsetof(BlockHeader, queue_id)}) {
    Rig rig;
    const QueueNo a = rig.open(11);
    const QueueNo b = rig.open(12);
    rig.write(a, make_rows(Ids(1500, 1)));
    const std::vector<FrameRef> hit = rig.write(a, Ids{2});
    rig.write(b, Ids{3});
    damage(reinterpret_cast<std::byte*>(&rig.block_header(hit[0].block)) + field);
    EXPECT_EQ(scan(rig).damaged_blocks, 1u);
    Recovery(rig.buffer()).settle(test::NothingCommitted{}, 0);
    EXPECT_EQ(rig.pending(rig.open(11)).size(), 1501u);
    EXPECT_EQ(rig.pending(rig.open(12)), Ids{3});
    // Repaired for good.
    EXPECT_EQ(scan(rig).damaged_blocks, 0u);
  }
}

TEST(Scan, ABlockWithADamagedHeaderBelongsToItsLatestUse) {
  Rig rig;
  const QueueNo a = rig.open(1);
  rig.write(a, Ids(500, 1));
  const std::uint32_t block = rig.write(a, Ids{2})[0].block;
  rig.flush(a);
  rig.buffer().reclaim(a, UINT64_MAX);
  const QueueNo b = rig.open(2);
  // Its payload was never copied, so an old frame lies in there.
  ASSERT_EQ(rig.reserve(b, make_rows(Ids(400, 3)))[0].block, block);
  rig.write(b, Ids{4});
  damage(&rig.block_header(block).queue_id);
  damage(rig.file() + block_offset(block) + sizeof(BlockHeader));  // and the first frame's
  rig.recover();
  EXPECT_EQ(rig.pending(rig.open(2)), Ids{4});
  EXPECT_TRUE(rig.pending(rig.open(1)).empty());
}

TEST(Scan, TakesABlockKilledWhileItWasTakenIntoUseForFree) {
  Rig rig;
  BlockHeader& never_used = rig.block_header(0);
  never_used.epoch = 5;
  never_used.queue_id = 1;
  BlockHeader& used_before = rig.block_header(1);
  used_before = never_used;
  used_before.magic = kFreeMagic;
  const ScanReport report = scan(rig);
  EXPECT_EQ(report.damaged_blocks, 0u);
  EXPECT_EQ(rig.buffer().free_blocks(), kMinBlocks);
}

TEST(Scan, ReportsABlockOfGarbage) {
  Rig rig;
  std::memset(rig.file() + block_offset(3), 0x5A, kBlockSize);
  EXPECT_EQ(scan(rig).damaged_blocks, 1u);
  EXPECT_EQ(rig.buffer().free_blocks(), kMinBlocks);
  EXPECT_EQ(scan(rig).damaged_blocks, 0u);
}

TEST(Scan, DoesNotTakeAHalfWrittenFrameForDamage) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  const std::vector<FrameRef> frames = rig.reserve(q, make_rows({2}));
  rig.header(frames[0]).magic = 0;
  EXPECT_EQ(scan(rig).damaged_blocks, 0u);
}

TEST(Scan, FindsNoFrameThatAUserForged) {
  // A row that contains a frame of another queue, right in all but what only the file knows.
  FrameHeader forged{};
  const test::Bytes loot = make_rows({666});
  forged.queue_id = 2;
  forged.epoch = UINT64_MAX;
  forged.payload_bytes = static_cast<std::uint16_t>(loot.size());
  forged.row_count = 1;
  alignas(FrameHeader) std::byte bytes[sizeof(FrameHeader)];
  auto* frame = reinterpret_cast<FrameHeader*>(bytes);
  format_frame(frame, forged, 0);
  frame->xid = kFrozenXid;
  frame->payload_crc = crc32c(loot.data(), loot.size());
  set_frame_state(*frame, FrameState::kPublished);
  test::Bytes row = make_rows({1}, 1000);
  for (std::size_t at = 32; at + sizeof(bytes) + loot.size() < row.size(); at += 256) {
    std::memcpy(row.data() + at, bytes, sizeof(bytes));
    std::memcpy(row.data() + at + sizeof(bytes), loot.data(), loot.size());
  }
  Rig rig;
  const QueueNo q = rig.open(1);
  const std::vector<FrameRef> carrier = rig.write(q, row);
  rig.write(q, Ids{2});
  damage(&rig.header(carrier[0]).magic);
  damage(&rig.block_header(carrier[0].block).magic);
  rig.recover();
  EXPECT_EQ(rig.pending(rig.open(1)), Ids{2});
  EXPECT_TRUE(rig.pending(rig.open(2)).empty());
}

TEST(Scan, KeepsBlocksInTheOrderOfTheirUse) {
  Rig rig;
  const QueueNo q = rig.open(1);
  // Makes the free list hand out high blocks first.
  std::vector<std::vector<FrameRef>> blocks;
  for (std::uint32_t b = 0; b < kMinBlocks; ++b)
    blocks.push_back(rig.stage(q, make_rows({1}, kMaxRow), 100));
  for (const auto& frames : blocks) rig.buffer().discard(frames);
  const test::Bytes rows = make_rows({1, 2, 3}, kMaxRow);
  const std::vector<FrameRef> frames = rig.stage(q, rows, 100);
  ASSERT_GT(frames[0].block, frames[2].block);
  rig.recover(test::EverythingCommitted{});
  EXPECT_EQ(rig.pending(rig.open(1)), (Ids{1, 2, 3}));
}

TEST(Scan, GivesOutNoNumberTwice) {
  Rig rig;
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1});
  const std::uint64_t last = rig.buffer().last_seq();
  // A run that begins where the last one did, as after the loss of the file's header.
  Rig again(rig.file(), rig.geometry(), rig.run());
  Recovery(again.buffer()).scan();
  Recovery(again.buffer()).settle(test::NothingCommitted{}, 0);
  EXPECT_GE(again.buffer().last_seq(), last);
  again.write(again.open(1), Ids{2});
  EXPECT_EQ(again.pending(again.open(1)), (Ids{1, 2}));
}

// --- more queues than slots ---

struct Parked : ::testing::Test {
  Rig rig;
  void SetUp() override {
    for (std::uint64_t id = 1; id <= 4; ++id) rig.write(rig.open(id), Ids{id, 10 * id});
    rig.start({kMinBlocks, 2});
  }
};

TEST_F(Parked, BlocksStayInTheFileForAStartWithMoreSlots) {
  EXPECT_EQ(Recovery(rig.buffer()).scan().parked_blocks, 2u);
  EXPECT_EQ(Recovery(rig.buffer()).settle(test::NothingCommitted{}, 0).rows_kept, 8u);
  EXPECT_EQ(rig.buffer().free_blocks(), kMinBlocks - 4);
  Rig roomy(rig.file(), {kMinBlocks, 4}, rig.run() + 1);
  EXPECT_EQ(Recovery(roomy.buffer()).scan().parked_blocks, 0u);
  Recovery(roomy.buffer()).settle(test::NothingCommitted{}, 0);
  for (std::uint64_t id = 1; id <= 4; ++id)
    EXPECT_EQ(roomy.pending(roomy.open(id)), (Ids{id, 10 * id}));
}

TEST_F(Parked, BlocksComeBackWithTheirQueue) {
  Recovery(rig.buffer()).scan();
  Recovery(rig.buffer()).settle(test::NothingCommitted{}, 0);
  rig.drop(rig.open(1));
  const QueueNo q = rig.open(4);
  const QueueView view = rig.buffer().view(q);
  EXPECT_EQ(view.pending_rows, 2u);
  EXPECT_EQ(view.flushed_through, 0u);
  std::vector<FrameRef> frames = rig.stage(q, Ids{5});
  EXPECT_EQ(rig.publish(frames), 1) << "nobody else calls the flusher for them";
  EXPECT_EQ(rig.flush(q), (Ids{4, 40, 5}));
  EXPECT_EQ(rig.buffer().reclaim(q, UINT64_MAX), 1u);
}

TEST_F(Parked, BlocksWithNothingKeptAreFreed) {
  for (std::uint32_t b = 0; b < kMinBlocks; ++b) {
    auto* frame =
        reinterpret_cast<FrameHeader*>(rig.file() + block_offset(b) + sizeof(BlockHeader));
    if (frame->magic == kFrameMagic) frame->flags = 0;
  }
  EXPECT_EQ(Recovery(rig.buffer()).scan().parked_blocks, 2u);
  EXPECT_EQ(Recovery(rig.buffer()).settle(test::NothingCommitted{}, 0).rows_uncommitted, 8u);
  EXPECT_EQ(rig.buffer().free_blocks(), kMinBlocks);
}

}  // namespace
}  // namespace pgwc
