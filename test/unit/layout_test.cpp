#include "core/frame.hpp"

#include <gtest/gtest.h>

#include <bit>

#include "unit/rows.hpp"

namespace pgwc {
namespace {

using test::Bytes;
using test::make_rows;

TEST(Layout, AlignUpReturnsTheNextMultiple) {
  EXPECT_EQ(align_up<32>(0), 0u);
  EXPECT_EQ(align_up<32>(1), 32u);
  EXPECT_EQ(align_up<32>(32), 32u);
  EXPECT_EQ(align_up<8>(UINT32_MAX), std::size_t{1} << 32);
}

TEST(Layout, FramesAreWholeAlignmentUnits) {
  for (std::size_t payload = 0; payload < 200; ++payload) {
    EXPECT_EQ(frame_span(payload) % kFrameAlign, 0u);
    EXPECT_GE(frame_span(payload), sizeof(FrameHeader) + payload);
    EXPECT_LT(frame_span(payload), sizeof(FrameHeader) + payload + kFrameAlign);
  }
}

TEST(Layout, TheLargestPayloadFillsItsBlock) {
  EXPECT_EQ(sizeof(BlockHeader) + frame_span(kMaxPayload), kBlockSize);
}

TEST(Layout, BlocksFollowTheHeaderAreaWithoutGaps) {
  EXPECT_EQ(block_offset(0), kFileHeaderSpan);
  EXPECT_EQ(block_offset(1) - block_offset(0), kBlockSize);
  EXPECT_EQ(block_offset(kMaxBlocks), file_size(kMaxBlocks));
}

TEST(Layout, QueueIdsKeepDatabaseAndAttachmentApart) {
  EXPECT_EQ(queue_database(make_queue_id(0xFFFFFFFF, 1)), 0xFFFFFFFFu);
  EXPECT_NE(make_queue_id(1, 2), make_queue_id(2, 1));
}

TEST(Layout, StateWordsDifferInManyBits) {
  const FrameState states[] = {FrameState::kReserved,  FrameState::kPrepared,
                               FrameState::kCommitted, FrameState::kPublished,
                               FrameState::kFlushed,   FrameState::kDiscarded};
  for (FrameState a : states) {
    for (FrameState b : states) {
      const auto bits = static_cast<std::uint32_t>(a) ^ static_cast<std::uint32_t>(b);
      EXPECT_TRUE(a == b || std::popcount(bits) >= 10);
    }
  }
}

TEST(Frame, HeaderChecksumCoversWhatIsFixedAndNothingElse) {
  FrameHeader frame{};
  const std::uint32_t crc = frame_header_crc(frame, 0);
  for (std::size_t at = 0; at < sizeof(frame); ++at) {
    FrameHeader changed = frame;
    reinterpret_cast<unsigned char*>(&changed)[at] ^= 1;
    const bool fixed = at >= offsetof(FrameHeader, queue_id) && at < offsetof(FrameHeader, state);
    EXPECT_EQ(frame_header_crc(changed, 0) != crc, fixed) << at;
  }
}

TEST(Frame, HeaderChecksumDependsOnTheFile) {
  FrameHeader frame{};
  EXPECT_NE(frame_header_crc(frame, file_salt(1)), frame_header_crc(frame, file_salt(2)));
}

TEST(Frame, FormatReplacesAllThatWasThere) {
  FrameHeader target;
  std::memset(static_cast<void*>(&target), 0xFF, sizeof(target));
  FrameHeader frame{};
  frame.queue_id = 5;
  frame.epoch = 6;
  frame.generation = 7;
  frame.payload_bytes = 8;
  frame.row_count = 1;
  format_frame(&target, frame, 9);
  EXPECT_EQ(target.magic, kFrameMagic);
  EXPECT_EQ(target.header_crc, frame_header_crc(frame, 9));
  EXPECT_EQ(frame_state(target), FrameState::kReserved);
  EXPECT_EQ(target.queue_id, 5u);
  EXPECT_EQ(target.epoch, 6u);
  EXPECT_EQ(target.xid, kNoXid);
  EXPECT_EQ(target.flush_xid, kNoXid);
  EXPECT_EQ(target.seq, 0u);
}

// --- longest_run ---

TEST(LongestRun, IsEmptyWithoutRows) {
  const RowRun run = longest_run({}, kBlockSize);
  EXPECT_EQ(run.rows, 0u);
  EXPECT_EQ(run.bytes, 0u);
}

TEST(LongestRun, IsEmptyWithoutRoomForAHeader) {
  const Bytes rows = make_rows({1}, 16);
  for (std::size_t room = 0; room < sizeof(FrameHeader) + 16; ++room)
    EXPECT_EQ(longest_run(rows, room).rows, 0u) << room;
}

TEST(LongestRun, TakesARowThatFitsExactly) {
  const Bytes rows = make_rows({1, 2}, 32);
  const RowRun run = longest_run(rows, sizeof(FrameHeader) + 32);
  EXPECT_EQ(run.rows, 1u);
  EXPECT_EQ(run.bytes, 32u);
}

TEST(LongestRun, ItsFrameNeverExceedsTheRoom) {
  const Bytes rows = make_rows(test::Ids(50, 1), 20);  // 24 bytes each
  for (std::size_t room = frame_span(0); room < 1200; ++room) {
    const RowRun run = longest_run(rows, room);
    EXPECT_LE(run.rows == 0 ? 0 : frame_span(run.bytes), room);
    // One row more would have.
    EXPECT_TRUE(run.rows == 50 || frame_span(run.bytes + 24) > room) << room;
  }
}

TEST(LongestRun, CutsOnlyBetweenRows) {
  Bytes rows;
  for (std::uint32_t size = test::kSmallestRow; size < 300; ++size)
    test::append_row(&rows, size, size);
  const RowRun run = longest_run(rows, 5000);
  std::size_t at = 0;
  std::uint32_t count = 0;
  for (; at < run.bytes; ++count) {
    std::uint32_t size;
    std::memcpy(&size, rows.data() + at, sizeof(size));
    at += align_up<kRowAlign>(size);
  }
  EXPECT_EQ(at, run.bytes);
  EXPECT_EQ(count, run.rows);
}

TEST(LongestRun, StopsAtARowWithoutLengthInsteadOfLooping) {
  Bytes rows = make_rows({1, 2}, 32);
  std::memset(rows.data() + 32, 0, 4);
  EXPECT_EQ(longest_run(rows, kBlockSize).rows, 1u);
}

TEST(LongestRun, StopsAtARowThatReachesBeyondItsInput) {
  Bytes rows = make_rows({1, 2}, 32);
  const std::uint32_t size = 40;
  std::memcpy(rows.data() + 32, &size, sizeof(size));
  EXPECT_EQ(longest_run(rows, kBlockSize).rows, 1u);
  EXPECT_EQ(longest_run(std::span(rows).first(34), kBlockSize).rows, 1u);
}

}  // namespace
}  // namespace pgwc
