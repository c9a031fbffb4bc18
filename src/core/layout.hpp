// The buffer file: the only place that knows its bytes.
//
//   | header copy 0 | header copy 1 | notes | unused ... | block 0 | block 1 | ...
//   0               4096            8192                 64 KiB
//
//   block:  BlockHeader, then frames back to back, each at a multiple of kFrameAlign
//   frame:  FrameHeader, then rows: u32 length (itself included), bytes, padded to kRowAlign
//
// One transaction's rows for one table make one frame per block they touch. Nothing but these
// records is in the file: no lock, no pointer, no free list. Everything else is rebuilt by
// scanning.
//
// A frame's life (the state word; every transition is one store, so a killed process leaves one
// state or the other):
//
//   RESERVED ──copied──► PREPARED ──────(commit)──────► PUBLISHED ──(flush committed)──► FLUSHED
//       │                   │  └──► COMMITTED ────────────▲  │
//       └──────(abort)──────┴──► DISCARDED ◄─(table gone)────┘
//
// COMMITTED comes up only in transactions of several frames: all of them, then the first PUBLISHED.
// Never: out of FLUSHED or DISCARDED; PUBLISHED to DISCARDED except when the table is dropped, and
// in recovery, when the transaction proves uncommitted.
#pragma once

#ifdef POSTGRES_H
#error "core headers come before PostgreSQL's and never need them"
#endif

#include <cstdint>
#include <type_traits>

#include "core/limits.hpp"

namespace pgwc {

inline constexpr std::uint64_t kFileMagic = 0x31454843'41435750ull;  // "PWCACHE1"
inline constexpr std::uint32_t kFileVersion = 1;
inline constexpr std::uint32_t kBlockMagic = 0x4B4C4257;  // "WBLK"
inline constexpr std::uint32_t kFreeMagic = 0x45524657;   // "WFRE"
inline constexpr std::uint32_t kFrameMagic = 0x4D524657;  // "WFRM"

// State words are far apart in Hamming distance: random damage does not turn one into another.
enum class FrameState : std::uint32_t {
  kReserved = 0x52C3A5E1,
  kPrepared = 0x9D1E4B76,
  kCommitted = 0x3B78D20C,
  kPublished = 0xE4A5169B,
  kFlushed = 0x0F6B93D2,
  kDiscarded = 0xC8946E37,
};

// Sequence numbers and epochs are counted per run, with the run above these bits: five years of
// 100,000 frames a second.
inline constexpr unsigned kRunShift = 44;

struct FileHeader {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t crc;         // of everything after this field
  std::uint64_t generation;  // the valid copy with the larger one counts
  std::uint64_t system_identifier;
  std::uint64_t incarnation;  // random, drawn when the file is created; watermarks name it
  std::uint64_t run;  // counts server starts on this file; upper bits of every sequence number
  std::uint32_t timeline;
  std::uint32_t block_size;
  std::uint32_t block_count;
  std::uint16_t clean;  // 1 after an orderly stop
  std::uint16_t
      power_lost;  // 1 from a start after the operating system's until settle() is through
  std::uint8_t boot_id[16];
};
static_assert(sizeof(FileHeader) == 80 && std::is_trivially_copyable_v<FileHeader>);

// What a running server keeps up to date. Each number is there twice, the second time inverted; who
// finds a pair that was being written takes the smaller one.
struct NotedNumber {
  std::uint64_t value;
  std::uint64_t inverted;
};
struct FileNotes {
  // Every transaction of which a frame has a sequence number up to here was on disk as a whole.
  NotedNumber synced;
  // The database's last checkpoint known to be of a run with this file. A later one that no run of
  // ours has made is a stranger's, and transaction ids may have got another meaning.
  NotedNumber checkpoint;
  // 1 from a start until it is settled: checkpoints made meanwhile are ours.
  std::uint64_t starting;
};
inline constexpr std::size_t kFileNotesOffset = 2 * 4096;
static_assert(kFileNotesOffset + sizeof(FileNotes) <= 64 * 1024);

struct BlockHeader {
  std::uint32_t magic;  // kFreeMagic when the block is free, 0 when it never was in use
  std::uint32_t crc;    // of everything after this field
  std::uint64_t epoch;  // unique per use of a block
  std::uint64_t queue_id;
  std::uint32_t relation;  // a hint for messages; the queue id is the identity
  std::uint32_t unused;
  std::uint8_t pad[32];
};
static_assert(sizeof(BlockHeader) == 64 && std::is_trivially_copyable_v<BlockHeader>);

struct FrameHeader {
  // Fixed once reserved; header_crc covers the rest of this half.
  std::uint32_t magic;
  std::uint32_t header_crc;  // salted: nobody can stage a row whose bytes pass for a frame
  std::uint64_t queue_id;
  std::uint64_t epoch;          // the block's: tells the frames of an earlier use apart
  std::uint32_t generation;     // of the table's row layout
  std::uint16_t payload_bytes;  // of all rows, padding included
  std::uint16_t row_count;
  // Changes during the frame's life, field by field.
  std::uint32_t state;        // FrameState; stored last
  Xid xid;                    // the staging transaction; kFrozenXid after recovery
  std::uint32_t payload_crc;  // set before PREPARED
  std::uint32_t flags;        // FrameFlags
  Xid flush_xid;              // the transaction that stores these rows, kNoXid if none
  std::uint32_t origin;       // who staged the rows, for people to read; PostgreSQL: a role
  std::uint64_t seq;          // place in publish order, 0 until PUBLISHED
};
static_assert(sizeof(FrameHeader) == 64 && std::is_trivially_copyable_v<FrameHeader>);
static_assert(sizeof(FrameHeader) % kFrameAlign == 0 && sizeof(BlockHeader) % kFrameAlign == 0);

// The transaction wrote nothing else, so its commit record may be lost in a crash after the client
// was told.
inline constexpr std::uint32_t kFramePure = 1;
// Above these bits: how many frames the transaction has, so that after a power loss a part of it is
// known for one. 0 once it is known to be whole.
inline constexpr unsigned kFrameCountShift = 8;
inline constexpr std::uint32_t kMaxFrameCount = UINT32_MAX >> kFrameCountShift;

constexpr std::uint32_t frame_flags(bool pure, std::size_t frames) {
  const auto count = frames < kMaxFrameCount ? static_cast<std::uint32_t>(frames) : 0;
  return (pure ? kFramePure : 0) | (count > 1 ? count << kFrameCountShift : 0);
}
constexpr std::uint32_t frames_of_transaction(std::uint32_t flags) {
  return flags >> kFrameCountShift;
}

inline constexpr std::size_t kMaxPayload = kBlockSize - sizeof(BlockHeader) - sizeof(FrameHeader);
inline constexpr std::size_t kMaxRow = kMaxPayload;
static_assert(kMaxPayload <= UINT16_MAX);

template <std::size_t Align>
constexpr std::size_t align_up(std::size_t n) {
  return (n + Align - 1) / Align * Align;
}

// Bytes a frame takes in its block.
constexpr std::size_t frame_span(std::size_t payload_bytes) {
  return align_up<kFrameAlign>(sizeof(FrameHeader) + payload_bytes);
}

constexpr std::uint64_t file_size(std::uint32_t block_count) {
  return kFileHeaderSpan + static_cast<std::uint64_t>(block_count) * kBlockSize;
}

constexpr std::uint64_t block_offset(std::uint32_t block) {
  return kFileHeaderSpan + static_cast<std::uint64_t>(block) * kBlockSize;
}

// Rows are users' bytes. Where damage makes the scan look for frames inside them, it must not find
// one that a user has forged, so the checksums of headers and gaps contain something of the file
// that no user can read.
constexpr std::uint32_t file_salt(std::uint64_t incarnation) noexcept {
  return static_cast<std::uint32_t>(incarnation ^ (incarnation >> 32));
}

// A queue id names a database and an attachment in it, so that a block with a damaged header can
// still be placed.
constexpr std::uint64_t make_queue_id(std::uint32_t database, std::uint32_t attachment) {
  return static_cast<std::uint64_t>(database) << 32 | attachment;
}
constexpr std::uint32_t queue_database(std::uint64_t queue_id) {
  return static_cast<std::uint32_t>(queue_id >> 32);
}

}  // namespace pgwc
