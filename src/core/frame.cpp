#include "core/frame.hpp"

#include <algorithm>

namespace pgwc {

namespace {

std::byte* bytes_of(void* header) noexcept { return static_cast<std::byte*>(header); }

void store_magic(std::uint32_t& magic, std::uint32_t value) noexcept {
  std::atomic_ref<std::uint32_t>(magic).store(value, std::memory_order_release);
}

}  // namespace

void format_frame(FrameHeader* target, const FrameHeader& frame, std::uint32_t salt) noexcept {
  FrameHeader header = frame;
  header.header_crc = frame_header_crc(header, salt);
  // No frame while it is being written, so that what was here before is never taken for one with a
  // new state. The fence holds back the compiler; a killed process has stored in program order.
  store_magic(target->magic, 0);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  constexpr std::size_t kFrom = offsetof(FrameHeader, header_crc);
  std::memcpy(bytes_of(target) + kFrom, bytes_of(&header) + kFrom, sizeof(header) - kFrom);
  set_frame_state(*target, FrameState::kReserved);
  store_magic(target->magic, kFrameMagic);
}

void format_block(std::byte* block, std::uint64_t epoch, std::uint64_t queue_id,
                  std::uint32_t relation) noexcept {
  BlockHeader header{};
  header.epoch = epoch;
  header.queue_id = queue_id;
  header.relation = relation;
  header.crc = block_header_crc(header);
  constexpr std::size_t kFrom = offsetof(BlockHeader, crc);
  std::memcpy(block + kFrom, bytes_of(&header) + kFrom, sizeof(header) - kFrom);
  store_magic(reinterpret_cast<BlockHeader*>(block)->magic, kBlockMagic);
}

void clear_block(std::byte* block) noexcept {
  store_magic(reinterpret_cast<BlockHeader*>(block)->magic, kFreeMagic);
}

RowRun longest_run(std::span<const std::byte> rows, std::size_t room) noexcept {
  RowRun run{};
  if (room < frame_span(0)) return run;
  const std::size_t limit =
      std::min(room / kFrameAlign * kFrameAlign - sizeof(FrameHeader), rows.size());
  std::uint32_t size;
  while (run.bytes + sizeof(size) <= limit) {
    std::memcpy(&size, rows.data() + run.bytes, sizeof(size));
    const std::size_t padded = align_up<kRowAlign>(size);
    if (size < sizeof(size) || padded > limit - run.bytes) break;
    run.bytes += padded;
    ++run.rows;
  }
  return run;
}

}  // namespace pgwc
