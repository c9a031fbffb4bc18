// Reading the buffered rows of a queue at a snapshot.
//
// A record is part of what snapshot S sees iff the transaction that staged it is visible to S and
// the one that flushed it is not: then the row is not in the table yet as far as S is concerned.
// Both questions are PostgreSQL's own, so that a row is seen in the buffer or in the table, never
// in both and never in neither. ProcArrayEndTransaction comes before the commit callback: what is
// PREPARED counts like what is PUBLISHED.
#pragma once

#include "core/block_summary.hpp"
#include "pg/boundary/pg.hpp"
#include "pg/live_read/probes.hpp"

namespace pgwc::live_read {

inline constexpr std::size_t kMaxProbes = 8;
// So many bytes behind what a summary covers are read each time before somebody adds them.
inline constexpr std::uint32_t kWorthAdding = 4096;

// What a reader looks for, if it is not everything.
struct Search {
  probes::Columns columns;
  std::size_t count;
  Probe probes[kMaxProbes];
  // For making summaries, once one has to be made.
  std::uint32_t worth_adding;  // bytes that a summary lacks
  TupleDesc layout;
  MemoryContext memory;
  TupleTableSlot* slot;
  MemoryContext context;  // reset for each block
};

struct Reader {
  Search* search;  // null: every row
  QueueNo queue;
  std::uint64_t queue_id;
  Oid relation;  // for messages
  std::uint32_t layout;
  Snapshot snapshot;
  BlockRef* blocks;
  std::size_t block_count;
  std::size_t next_block;
  std::byte* copy;  // of the block in hand
  std::uint32_t copy_used;
  std::uint32_t next_frame;
  std::span<const std::byte> rows;  // left in the frame in hand
  TransactionId flush_xid;          // the last one asked for, and the answer
  bool flush_seen;
  std::uint64_t blocks_passed;
  std::uint64_t rows_read;
  std::uint64_t blocks_read;
};

// Whether the snapshot sees nothing of the queue. Cheap. ERROR if the snapshot is too old.
bool is_empty(QueueNo queue, std::uint64_t queue_id, Oid relation, Snapshot snapshot);

// Begins reading in the current memory context. `layout` is the fingerprint of the columns by which
// rows will be read.
void begin(Reader* reader, QueueNo queue, std::uint64_t queue_id, Oid relation,
           std::uint32_t layout, Snapshot snapshot);
// The next row, valid until the call after this one; null after the last. ERROR if the snapshot is
// too old for what is left in the buffer.
MinimalTuple next(Reader* reader);
void restart(Reader* reader);

// The same block by block: goes to the next block that is to be read, false after the last; then
// its rows, null after the last.
bool enter_block(Reader* reader);
MinimalTuple next_in_block(Reader* reader);

// Whether anything of the queue is seen by the snapshot that is in the buffer only.
// `unflushed_only`: leaves out what has been flushed since.
bool sees_any(QueueNo queue, std::uint64_t queue_id, Oid relation, Snapshot snapshot,
              bool unflushed_only);

}  // namespace pgwc::live_read
