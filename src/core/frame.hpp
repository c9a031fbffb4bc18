// Reading and writing single records of the buffer file.
#pragma once

#ifdef POSTGRES_H
#error "core headers come before PostgreSQL's and never need them"
#endif

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "core/checksum.hpp"
#include "core/layout.hpp"

namespace pgwc {

inline FrameState frame_state(const FrameHeader& frame) noexcept {
  auto& word = const_cast<std::uint32_t&>(frame.state);
  return static_cast<FrameState>(
      std::atomic_ref<std::uint32_t>(word).load(std::memory_order_acquire));
}

// The state is stored last, after everything it vouches for.
inline void set_frame_state(FrameHeader& frame, FrameState state) noexcept {
  std::atomic_ref<std::uint32_t>(frame.state)
      .store(static_cast<std::uint32_t>(state), std::memory_order_release);
}

inline std::uint32_t frame_header_crc(const FrameHeader& frame, std::uint32_t salt) noexcept {
  constexpr std::size_t kFrom = offsetof(FrameHeader, queue_id);
  return salt ^ crc32c(reinterpret_cast<const std::byte*>(&frame) + kFrom,
                       offsetof(FrameHeader, state) - kFrom);
}

inline std::uint32_t block_header_crc(const BlockHeader& block) noexcept {
  constexpr std::size_t kFrom = offsetof(BlockHeader, epoch);
  return crc32c(reinterpret_cast<const std::byte*>(&block) + kFrom, sizeof(block) - kFrom);
}

// Makes an empty RESERVED frame; `frame` says whose and how large.
void format_frame(FrameHeader* target, const FrameHeader& frame, std::uint32_t salt) noexcept;
// Puts a block to use. Killed half-way, it leaves a free one free, and a damaged one damaged.
void format_block(std::byte* block, std::uint64_t epoch, std::uint64_t queue_id,
                  std::uint32_t relation) noexcept;
// Marks the block free in the file.
void clear_block(std::byte* block) noexcept;

// How many whole rows fit into `room` bytes of a block as one frame.
struct RowRun {
  std::size_t bytes;
  std::uint32_t rows;
};
RowRun longest_run(std::span<const std::byte> rows, std::size_t room) noexcept;

// Where the scan could not read a frame it leaves a marker, so that everyone after it can step over
// the damage.
struct GapMarker {
  std::uint32_t magic;
  std::uint32_t bytes;
  std::uint32_t crc;  // of the other two, salted
};
inline constexpr std::uint32_t kGapMagic = 0x50414757;  // "WGAP"
static_assert(sizeof(GapMarker) <= kFrameAlign);

// Steps through the frames of a block that this run of the server wrote or that recovery has
// checked.
class FrameCursor {
 public:
  FrameCursor(std::byte* block, std::uint32_t used,
              std::uint32_t from = sizeof(BlockHeader)) noexcept
      : block_(block), next_(from), used_(used) {}

  bool next() noexcept {
    while (next_ < used_) {
      offset_ = next_;
      GapMarker gap;
      std::memcpy(&gap, block_ + offset_, sizeof(gap));
      if (gap.magic == kGapMagic) {
        next_ += gap.bytes;
        continue;
      }
      next_ += static_cast<std::uint32_t>(frame_span(header().payload_bytes));
      return true;
    }
    return false;
  }

  FrameHeader& header() const noexcept { return *reinterpret_cast<FrameHeader*>(block_ + offset_); }
  std::uint32_t offset() const noexcept { return offset_; }
  std::uint32_t end() const noexcept { return next_; }

 private:
  std::byte* block_;
  std::uint32_t offset_ = 0;
  std::uint32_t next_;
  std::uint32_t used_;
};

}  // namespace pgwc
