// Sizes that are part of the file format or bound the shared structures.
#pragma once

#ifdef POSTGRES_H
#error "core headers come before PostgreSQL's and never need them"
#endif

#include <cstddef>
#include <cstdint>

namespace pgwc {

// A block is the unit of allocation; it belongs to one queue at a time and holds whole frames only.
inline constexpr std::size_t kBlockSize = 64 * 1024;

// Frames start at multiples of this. Each half of a frame header lies inside one aligned unit, so a
// torn page (whole sectors) cannot split it.
inline constexpr std::size_t kFrameAlign = 32;

// Rows inside a frame start at multiples of this, so that a reader can use them in place.
inline constexpr std::size_t kRowAlign = 8;

// Room in front of the blocks: two copies of the file header, the rest unused.
inline constexpr std::size_t kFileHeaderSpan = kBlockSize;
inline constexpr std::size_t kFileHeaderCopySize = 4096;

inline constexpr std::size_t kCacheLine = 128;  // two lines: adjacent-line prefetch shares pairs

inline constexpr std::uint32_t kMinBlocks = 16;
inline constexpr std::uint32_t kMaxBlocks = 1u << 24;  // 1 TiB

inline constexpr std::uint32_t kNoBlock = 0xFFFFFFFFu;
inline constexpr std::uint32_t kNoQueueNo = 0xFFFFFFFFu;

// Transaction ids as PostgreSQL defines them; the core only compares and stores them.
using Xid = std::uint32_t;
inline constexpr Xid kNoXid = 0;
inline constexpr Xid kFrozenXid = 2;  // committed for everyone: a row that survived a restart

// Ids go round: of two, the one is older from which the other can be reached in less than half a
// round.
constexpr bool is_older(Xid a, Xid b) {
  return a <= kFrozenXid || b <= kFrozenXid ? a < b : static_cast<std::int32_t>(a - b) < 0;
}

}  // namespace pgwc
