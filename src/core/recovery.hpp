// From the bytes of the buffer file back to queues: what survives a restart.
//
// Two steps, because the second needs PostgreSQL's commit log and the first must not wait for it:
//   scan     in the postmaster, before anything else runs: checks every record, rebuilds the block
//   chains settle   before any transaction can commit: decides each record by its transaction's
//   fate
// Between the two nobody may reserve, publish or read.
//
// Both leave a file on which they can run again: a crash in the middle loses and doubles nothing.
#pragma once

#ifdef POSTGRES_H
#error "core headers come before PostgreSQL's and never need them"
#endif

#include <cstdint>

#include "core/write_buffer.hpp"

namespace pgwc {

struct ScanReport {
  std::uint32_t blocks_in_use;
  std::uint32_t damaged_blocks;  // had an unreadable header or a gap between records
  std::uint64_t damaged_bytes;   // skipped
  std::uint32_t parked_blocks;   // of queues for which there is no slot
  std::uint64_t frames;          // that settle() has to decide
};

struct SettleReport {
  std::uint64_t rows_kept;
  std::uint64_t rows_uncommitted;     // their transaction had not committed
  std::uint64_t rows_already_stored;  // a flush had committed
  std::uint64_t rows_incomplete;      // another part of their transaction was lost
};

// What happened to a transaction, as far as the commit log of this start knows.
enum class Fate : std::uint8_t { kCommitted, kNotCommitted, kForgotten /* older than the log */ };

class FateOf {
 public:
  virtual Fate operator()(Xid xid) const noexcept = 0;

 protected:
  ~FateOf() = default;
};

// What a start has to reckon with beside a crash of the server.
struct Doubts {
  bool power_lost = false;   // the file may be older than the database, in parts
  std::uint64_t synced = 0;  // then: the file's note of that name
  // Ids of transactions that the crash has lost were given to others since. Then the log knows
  // nothing of a PREPARED record, and of a flush the watermark does.
  bool ids_reused = false;
};

// The rule for one record (DESIGN: life of a row). `sibling_decided`: a frame of the same
// transaction was found COMMITTED or PUBLISHED. After a power loss a record that was not PUBLISHED
// at the last sync may have been published, flushed and forgotten since, and only PUBLISHED ones
// have a place that the watermark can be held against.
enum class Verdict : std::uint8_t { kKeep, kUncommitted, kAlreadyStored };
Verdict decide(const FrameHeader& frame, bool sibling_decided, const FateOf& fate_of,
               const Doubts& doubts = {}) noexcept;

class Recovery {
 public:
  explicit Recovery(WriteBuffer& buffer) noexcept : buffer_(buffer) {}

  // On a freshly created index. May throw std::bad_alloc.
  ScanReport scan();
  // Every transaction id whose fate settle() will ask for, each once, in no order. May throw
  // std::bad_alloc.
  std::vector<Xid> transactions() const;
  // Exclusive: the caller makes sure that it runs once and nothing beside it. May throw
  // std::bad_alloc. judge() decides, allow_use() lets everybody in; who forces the verdicts to disk
  // does so in between.
  SettleReport settle(const FateOf& fate_of, std::int64_t now_us, const Doubts& doubts = {}) {
    const SettleReport report = judge(fate_of, now_us, doubts);
    allow_use();
    return report;
  }
  SettleReport judge(const FateOf& fate_of, std::int64_t now_us, const Doubts& doubts);
  void allow_use() noexcept;
  // Everything the queue holds up to `seq` is in the table by the watermark's word. Returns the
  // rows dropped. For the queue's flusher, before its first batch.
  static std::uint64_t apply_watermark(WriteBuffer& buffer, QueueNo queue,
                                       std::uint64_t seq) noexcept;

 private:
  WriteBuffer& buffer_;
};

}  // namespace pgwc
