#include "core/frame.hpp"
#include "pg/live_read/reader.hpp"

#include "pg/server/shmem.hpp"
#include "pg/write_back/departures.hpp"
#include "pg/write_back/passes.hpp"

extern "C" {
#include "access/subtrans.h"
}

namespace pgwc::live_read {

namespace {

constexpr int kSnapshotTooOld = MAKE_SQLSTATE('7', '2', '0', '0', '0');

constexpr char kSpaceNeeded[] =
    "They were stored after the snapshot was taken, and the write buffer has since needed their "
    "space.";
constexpr char kColumnsChanged[] =
    "They were stored after the snapshot was taken, when the columns of the table were changed.";

[[noreturn]] void raise_too_old(Oid relation, const char* detail = kSpaceNeeded) {
  char* name = get_rel_name(relation);
  ereport(
      ERROR, errcode(kSnapshotTooOld),
      errmsg("snapshot too old for the buffered rows of table \"%s\"", name ? name : "?"),
      errdetail_internal("%s", detail),
      errhint(detail == kSpaceNeeded
                  ? "Run the transaction again; shorten it, or raise \"writecache.buffer_size\"."
                  : "Run the transaction again."));
  pg_unreachable();
}

bool sees_transaction(TransactionId xid, Snapshot snapshot) {
  return TransactionIdIsCurrentTransactionId(xid) ||
         (!XidInMVCCSnapshot(xid, snapshot) && TransactionIdDidCommit(xid));
}

// What is FLUSHED has committed for certain, and the commit log may have forgotten it.
bool sees_flush(TransactionId xid, bool committed, Snapshot snapshot) {
  CommandId command;
  if (passes::own(xid, &command)) return command < snapshot->curcid;
  return committed ? TransactionIdIsCurrentTransactionId(xid) || !XidInMVCCSnapshot(xid, snapshot)
                   : sees_transaction(xid, snapshot);
}

void check_freed(TransactionId freed_xid, Oid relation, Snapshot snapshot) {
  // It has committed for certain, and may be older than what the commit log still knows.
  if (freed_xid != kNoXid && !TransactionIdIsCurrentTransactionId(freed_xid) &&
      XidInMVCCSnapshot(freed_xid, snapshot))
    raise_too_old(relation);
}

bool was_staged_before(const FrameHeader& frame, Snapshot snapshot) {
  switch (frame_state(frame)) {
    case FrameState::kPrepared:
      return sees_transaction(frame.xid, snapshot);
    case FrameState::kCommitted:
    case FrameState::kPublished:
    case FrameState::kFlushed:
      // Committed for certain; the question is only whether it was before the snapshot.
      return TransactionIdIsCurrentTransactionId(frame.xid) ||
             !XidInMVCCSnapshot(frame.xid, snapshot);
    default:
      return false;
  }
}

bool is_visible(Reader* reader, const FrameHeader& frame) {
  if (!was_staged_before(frame, reader->snapshot)) return false;
  if (frame.flush_xid == kNoXid) return true;
  if (frame.flush_xid != reader->flush_xid) {
    reader->flush_xid = frame.flush_xid;
    reader->flush_seen =
        sees_flush(frame.flush_xid, frame_state(frame) == FrameState::kFlushed, reader->snapshot);
  }
  return !reader->flush_seen;
}

// A block that is gone was flushed; its rows are in the table for this snapshot, or it comes too
// late.
void check_gone(const Reader* reader) {
  TransactionId freed_xid;
  (void)buffer().is_empty(reader->queue, reader->queue_id, &freed_xid);
  if (!buffer().is_queue(reader->queue, reader->queue_id)) raise_too_old(reader->relation);
  check_freed(freed_xid, reader->relation, reader->snapshot);
}

// Notes in the block's summary what the copy has behind `from`. Up to the first record that is
// still being written: its rows are not there yet.
void summarize(const Reader* reader, const BlockRef& ref, std::uint32_t from) {
  Search& search = *reader->search;
  if (search.context == nullptr) {
    MemoryContext outer = MemoryContextSwitchTo(search.memory);
    search.slot = MakeSingleTupleTableSlot(search.layout, &TTSOpsMinimalTuple);
    search.context =
        AllocSetContextCreate(search.memory, "pg_writecache summary", ALLOCSET_DEFAULT_SIZES);
    MemoryContextSwitchTo(outer);
  }
  MemoryContext old = MemoryContextSwitchTo(search.context);
  std::size_t capacity = 1024;
  auto* keys = static_cast<SummaryKey*>(palloc(capacity * sizeof(SummaryKey)));
  auto* columns = static_cast<std::uint8_t*>(palloc(capacity));
  std::size_t count = 0;
  std::uint32_t covered = from;
  std::uint32_t nulls = 0;
  bool readable = true;
  FrameCursor cursor(reader->copy, ref.used, from == 0 ? sizeof(BlockHeader) : from);
  while (readable && cursor.next()) {
    const FrameHeader& frame = cursor.header();
    const FrameState state = frame_state(frame);
    if (state == FrameState::kReserved ||
        (state != FrameState::kDiscarded && frame.generation != reader->layout))
      break;
    covered = cursor.end();
    if (state == FrameState::kDiscarded) continue;
    const auto* row = reinterpret_cast<const std::byte*>(&frame + 1);
    for (std::uint32_t i = 0; i < frame.row_count; ++i) {
      auto* tuple = reinterpret_cast<MinimalTuple>(const_cast<std::byte*>(row));
      row += align_up<kRowAlign>(tuple->t_len);
      if (count + kSummaryColumns > capacity) {
        capacity *= 2;
        keys = static_cast<SummaryKey*>(repalloc(keys, capacity * sizeof(SummaryKey)));
        columns = static_cast<std::uint8_t*>(repalloc(columns, capacity));
      }
      ExecStoreMinimalTuple(tuple, search.slot, false);
      count += probes::keys_of(search.columns, search.slot, keys + count, columns + count, &nulls);
    }
  }
  ExecClearTuple(search.slot);
  if (covered > from)
    extend(&buffer().summary(ref), ref.epoch, search.columns.id, from, covered, keys, columns,
           count, nulls);
  MemoryContextSwitchTo(old);
  MemoryContextReset(search.context);
}

// Copies the next block that is still what it was and that the summary does not rule out, or the
// part of it that the summary does not know.
bool go_to_next_block(Reader* reader) {
  while (reader->next_block < reader->block_count) {
    CHECK_FOR_INTERRUPTS();
    const BlockRef& ref = reader->blocks[reader->next_block++];
    SummaryAnswer known{0, true};
    if (reader->search != nullptr)
      known = ask(buffer().summary(ref), ref.epoch, reader->search->columns.id,
                  reader->search->probes, reader->search->count);
    const std::uint32_t from = known.may_match ? 0 : known.covered;
    if (from >= ref.used) {
      ++reader->blocks_passed;
      continue;
    }
    if (!buffer().copy_block(ref, reader->copy, from)) {
      check_gone(reader);
      continue;
    }
    ++reader->blocks_read;
    if (reader->search != nullptr && ref.used - known.covered > reader->search->worth_adding)
      summarize(reader, ref, known.covered);
    reader->copy_used = ref.used;
    reader->next_frame = from == 0 ? sizeof(BlockHeader) : from;
    return true;
  }
  return false;
}

// The next frame of the block in hand that the snapshot sees.
const FrameHeader* next_frame_in_block(Reader* reader) {
  FrameCursor cursor(reader->copy, reader->copy_used, reader->next_frame);
  while (cursor.next()) {
    reader->next_frame = cursor.end();
    if (is_visible(reader, cursor.header())) return &cursor.header();
  }
  return nullptr;
}

// The same of the blocks that are left.
const FrameHeader* next_frame(Reader* reader) {
  for (;;) {
    if (const FrameHeader* frame = next_frame_in_block(reader)) return frame;
    if (!go_to_next_block(reader)) return nullptr;
  }
}

void take_rows(Reader* reader, const FrameHeader* frame) {
  if (frame->generation != reader->layout)
    // Stored by the command that changed the columns, which the snapshot does not see yet.
    raise_too_old(reader->relation, kColumnsChanged);
  reader->rows = {reinterpret_cast<const std::byte*>(frame + 1), frame->payload_bytes};
}

// The next row of the frame in hand that may be wanted; null after the last.
MinimalTuple take_row(Reader* reader) {
  while (!reader->rows.empty()) {
    auto* tuple = reinterpret_cast<MinimalTuple>(const_cast<std::byte*>(reader->rows.data()));
    reader->rows = reader->rows.subspan(align_up<kRowAlign>(tuple->t_len));
    ++reader->rows_read;
    const Search* search = reader->search;
    if (search == nullptr ||
        !probes::rules_out(search->columns, search->probes, search->count, tuple))
      return tuple;
  }
  return nullptr;
}

}  // namespace

bool is_empty(QueueNo queue, std::uint64_t queue_id, Oid relation, Snapshot snapshot) {
  TransactionId freed_xid;
  const bool empty = buffer().is_empty(queue, queue_id, &freed_xid);
  if (empty) check_freed(freed_xid, relation, snapshot);
  if (!buffer().is_queue(queue, queue_id)) departures::check(relation, snapshot);
  return empty;
}

void begin(Reader* reader, QueueNo queue, std::uint64_t queue_id, Oid relation,
           std::uint32_t layout, Snapshot snapshot) {
  *reader = {};
  reader->queue = queue;
  reader->queue_id = queue_id;
  reader->relation = relation;
  reader->layout = layout;
  reader->snapshot = snapshot;
  TransactionId freed_xid;
  std::size_t capacity = 64;
  for (;;) {
    reader->blocks = static_cast<BlockRef*>(palloc(sizeof(BlockRef) * capacity));
    reader->block_count =
        buffer().list_blocks(queue, queue_id, reader->blocks, capacity, &freed_xid);
    if (reader->block_count <= capacity) break;
    pfree(reader->blocks);
    capacity = reader->block_count + reader->block_count / 8;
  }
  check_freed(freed_xid, relation, snapshot);
  if (!buffer().is_queue(queue, queue_id)) departures::check(relation, snapshot);
  if (reader->block_count > 0) reader->copy = static_cast<std::byte*>(palloc(kBlockSize));
}

MinimalTuple next(Reader* reader) {
  for (;;) {
    if (MinimalTuple row = take_row(reader)) return row;
    const FrameHeader* frame = next_frame(reader);
    if (frame == nullptr) return nullptr;
    take_rows(reader, frame);
  }
}

bool enter_block(Reader* reader) { return go_to_next_block(reader); }

MinimalTuple next_in_block(Reader* reader) {
  for (;;) {
    if (MinimalTuple row = take_row(reader)) return row;
    const FrameHeader* frame = next_frame_in_block(reader);
    if (frame == nullptr) return nullptr;
    take_rows(reader, frame);
  }
}

void restart(Reader* reader) {
  reader->next_block = 0;
  reader->copy_used = 0;
  reader->next_frame = 0;
  reader->rows = {};
}

bool sees_any(QueueNo queue, std::uint64_t queue_id, Oid relation, Snapshot snapshot,
              bool unflushed_only) {
  MemoryContext context =
      AllocSetContextCreate(CurrentMemoryContext, "pg_writecache reader", ALLOCSET_DEFAULT_SIZES);
  MemoryContext old = MemoryContextSwitchTo(context);
  Reader reader;
  begin(&reader, queue, queue_id, relation, 0, snapshot);
  bool found = false;
  while (const FrameHeader* frame = next_frame(&reader)) {
    if (unflushed_only && frame_state(*frame) == FrameState::kFlushed) continue;
    found = true;
    break;
  }
  MemoryContextSwitchTo(old);
  MemoryContextDelete(context);
  return found;
}

}  // namespace pgwc::live_read
