#include "core/frame.hpp"

namespace pgwc {

void format_frame(FrameHeader* frame, std::uint64_t queue_id, std::uint32_t epoch,
                  std::uint32_t generation, std::uint32_t payload_bytes,
                  std::uint32_t row_count) noexcept {
  *frame = {};
  set_frame_state(*frame, FrameState::kReserved);
  frame->payload_bytes = payload_bytes;
  frame->row_count = row_count;
  frame->queue_id = queue_id;
  frame->epoch = epoch;
  frame->generation = generation;
  frame->header_crc = frame_header_crc(*frame);
  // Only now a frame: whatever was here before cannot be taken for one with this state.
  std::atomic_ref<std::uint32_t>(frame->magic).store(kFrameMagic, std::memory_order_release);
}

void format_block(std::byte* block, std::uint64_t epoch, std::uint64_t queue_id,
                  std::uint32_t relation) noexcept {
  BlockHeader header{};
  header.epoch = epoch;
  header.queue_id = queue_id;
  header.relation = relation;
  header.crc = block_header_crc(header);
  std::memcpy(block, &header, sizeof(header));
  auto* magic = &reinterpret_cast<BlockHeader*>(block)->magic;
  std::atomic_ref<std::uint32_t>(*magic).store(kBlockMagic, std::memory_order_release);
}

void clear_block(std::byte* block) noexcept {
  auto* magic = &reinterpret_cast<BlockHeader*>(block)->magic;
  std::atomic_ref<std::uint32_t>(*magic).store(0, std::memory_order_release);
}

RowRun longest_run(std::span<const std::byte> rows, std::size_t room) noexcept {
  RowRun run{};
  if (room < frame_span(0)) return run;
  std::size_t limit = room / kFrameAlign * kFrameAlign - sizeof(FrameHeader);
  while (run.bytes < rows.size()) {
    std::uint32_t size;
    std::memcpy(&size, rows.data() + run.bytes, sizeof(size));
    std::size_t padded = align_up<kRowAlign>(size);
    if (run.bytes + padded > limit) break;
    run.bytes += padded;
    ++run.rows;
  }
  return run;
}

}  // namespace pgwc
