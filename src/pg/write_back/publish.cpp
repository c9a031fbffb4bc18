#include "pg/write_back/publish.hpp"

#include "pg/boundary/injection.hpp"
#include "pg/server/settle.hpp"
#include "pg/server/shmem.hpp"
#include "pg/server/sync.hpp"
#include "pg/write_back/queue_status.hpp"
#include "pg/write_back/room.hpp"
#include "pg/write_back/stages.hpp"
#include "pg/write_back/staging.hpp"

extern "C" {
#include "access/xlog.h"
#include "commands/trigger.h"
#include "storage/proc.h"
#include "utils/syscache.h"
}

namespace pgwc::publish {

namespace {

// Of all stages of the transaction, in their order. Never freed: the callbacks allocate nothing.
FrameRef* frames = nullptr;
std::size_t frame_count = 0;
std::size_t frame_capacity = 0;

void forget() noexcept {
  frame_count = 0;
  stages::forget_all();
}

void need_frames(std::size_t more) {
  if (frame_count + more <= frame_capacity) return;
  std::size_t capacity = frame_capacity == 0 ? 64 : frame_capacity;
  while (capacity < frame_count + more) capacity *= 2;
  const std::size_t size = capacity * sizeof(FrameRef);
  frames = static_cast<FrameRef*>(frames == nullptr ? MemoryContextAllocHuge(stages::memory(), size)
                                                    : repalloc_huge(frames, size));
  frame_capacity = capacity;
}

// Whatever DDL the transaction has done or taken back, what is still staged has the layout that its
// table has at commit: DDL stores before it changes anything.
std::uint32_t layout_at_commit(Oid relid) {
  Attachment* attachment = attachments::find_write_back(relid);
  if (attachment != nullptr && attachment->shape_known) return attachment->generation;
  Relation relation = table_open(relid, NoLock);  // locked by the statement that staged
  const std::uint32_t layout = attachments::layout_fingerprint(RelationGetDescr(relation));
  if (attachment != nullptr) attachments::learn_shape(attachment, relation);
  table_close(relation, NoLock);
  return layout;
}

enum class Outcome { kReserved, kToTable, kFull, kHeld };

// Where the rows end that one role has staged in a row, from mark `*i` on; `*i` becomes the mark
// after them. A frame is of one role.
std::size_t role_end(const Stage* stage, std::size_t* i) {
  const Oid role = stage->marks[*i].staged_by;
  while (*i + 1 < stage->mark_count && stage->marks[*i + 1].staged_by == role) ++*i;
  return stages::mark_end(stage, (*i)++);
}

Outcome reserve(Stage* stage, const RoomWait& wait) {
  // What could fill half the buffer alone is no use to anybody in there, and what the disk does not
  // take would be lost with the power.
  if (server->sync_failed.load(std::memory_order_relaxed) != 0 || stage->bypassing ||
      stage->oversized || stage->used / kMaxPayload >= buffer().block_count() / 2)
    return Outcome::kToTable;
  // Somebody may wait for this transaction, and the flush for them: then waiting here could be for
  // ever. DDL that waits for our lock on a table keeps the worker off it.
  const bool locked_out = wait.since != 0 && own_database() != nullptr &&
                          own_database()->locked_out.load() >= wait.since;
  if (!locked_out && room::is_held(wait, stage->queue)) return Outcome::kHeld;
  const std::size_t before = frame_count;
  const std::uint32_t layout = layout_at_commit(stage->relation);
  Status status = Status::kOk;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < stage->mark_count && status == Status::kOk;) {
    const std::size_t end = role_end(stage, &i);
    if (begin == end) continue;
    need_frames(max_frames(end - begin));
    std::size_t count = 0;
    status =
        buffer().reserve(stage->queue, stage->queue_id, layout,
                         {reinterpret_cast<const std::byte*>(stage->data) + begin, end - begin},
                         frames + frame_count, &count);
    frame_count += count;
    begin = end;
  }
  if (status == Status::kOk) return Outcome::kReserved;
  buffer().discard({frames + before, frame_count - before});
  frame_count = before;
  if (status == Status::kNoSpace) note_no_room();
  if (status != Status::kNoSpace || stage->when_full == WhenFull::kWriteThrough ||
      queue_status::passes_through(stage->queue, stage->queue_id))
    return Outcome::kToTable;
  if (stage->when_full == WhenFull::kError) room::raise_full(stage->relation);
  // Room must not wait for a snapshot of ours.
  InvalidateCatalogSnapshot();
  return locked_out || TransactionIdIsValid(GetTopTransactionIdIfAny()) ||
                 TransactionIdIsValid(MyProc->xmin)
             ? Outcome::kToTable
             : Outcome::kFull;
}

// Rows of a table that this transaction has dropped go with it.
bool is_dropped(const Stage* stage) {
  return attachments::find_write_back(stage->relation) == nullptr &&
         !SearchSysCacheExists1(RELOID, ObjectIdGetDatum(stage->relation));
}

// Finds every stage's rows a place: frames in the buffer or, spilled, the table itself. Nothing
// stays reserved while it waits, or two transactions could wait for each other's share.
void place_rows() {
  RoomWait wait;
  for (Stage* stage = stages::used; stage != nullptr;) {
    if (is_dropped(stage)) stage->used = stage->mark_count = 0;
    stages::compact(stage);
    const Outcome outcome =
        stages::has_unspilled(stage) ? reserve(stage, wait) : Outcome::kReserved;
    if (outcome == Outcome::kFull || outcome == Outcome::kHeld) {
      buffer().discard({frames, frame_count});
      frame_count = 0;
      if (outcome == Outcome::kFull)
        room::wait_for_space(&wait, own_database(), stage->relation);
      else
        room::wait_while_held(&wait, stage->queue);
      stage = stages::used;
      continue;
    }
    if (outcome == Outcome::kToTable) {
      (void)staging::spill(stage->relation);
      // The loop over deferred triggers that a commit begins with is over.
      AfterTriggerFireDeferred();
      // Triggers may have staged more rows, also for tables that are through already.
      buffer().discard({frames, frame_count});
      frame_count = 0;
      stage = stages::used;
      continue;
    }
    stage = stage->next;
  }
}

void pre_commit() {
  ensure_settled();
  if (stages::used == nullptr) return;
  place_rows();
  if (frame_count == 0) return;
  PGWC_INJECT("reserved");
  // Spills write WAL, and whether there is any decides how the rest is recovered.
  const bool pure = XactLastRecEnd == 0;
  // After a crash the log is asked about it, if it is the same log.
  if (!pure) note_checkpoint();
  const TransactionId xid = GetTopTransactionId();
  // Frames stand in the order of the stages that have rows left.
  std::size_t frame = 0;
  for (Stage* stage = stages::used; stage != nullptr; stage = stage->next) {
    std::size_t mark = 0;
    for (std::size_t at = 0; at < stage->used; ++frame) {
      while (stages::mark_end(stage, mark) <= at) ++mark;
      PGWC_HALF_COPIED(buffer().payload(frames[frame]), stage->data + at);
      at += buffer().fill(frames[frame], reinterpret_cast<const std::byte*>(stage->data) + at, xid,
                          pure, stage->marks[mark].staged_by, frame_count);
      PGWC_INJECT("frame-filled");
    }
  }
  PGWC_INJECT("prepared");
  Assert(frame == frame_count);
}

void on_commit() noexcept {
  if (frame_count > 0) PGWC_INJECT("committed");
  if (frame_count > 0)
    buffer().publish({frames, frame_count}, GetCurrentTransactionStopTimestamp(),
                     [](QueueNo) { wake_worker(own_database()); });
  if (frame_count > 0) PGWC_INJECT("published");
  forget();
}

void on_abort() noexcept {
  if (frame_count > 0) PGWC_INJECT("aborted");
  if (frame_count > 0) buffer().discard({frames, frame_count});
  forget();
}

void end_transaction(XactEvent event) {
  switch (event) {
    case XACT_EVENT_PRE_COMMIT:
      if (buffer_ready()) pre_commit();
      break;
    case XACT_EVENT_PRE_PREPARE:
      // The rows must outlive this session as part of the prepared transaction: only the table can
      // keep them so.
      if (buffer_ready()) {
        ensure_settled();
        // Triggers may stage more rows; the loop over deferred ones that a PREPARE begins with is
        // over.
        while (staging::any()) {
          staging::spill_all();
          AfterTriggerFireDeferred();
        }
      }
      break;
    case XACT_EVENT_COMMIT:
    case XACT_EVENT_PARALLEL_COMMIT:
      on_commit();
      break;
    case XACT_EVENT_ABORT:
    case XACT_EVENT_PARALLEL_ABORT:
    case XACT_EVENT_PREPARE:
      on_abort();
      break;
    case XACT_EVENT_PARALLEL_PRE_COMMIT:
      break;
  }
}

// Short for the many transactions that stage nothing.
void xact_callback(XactEvent event, void*) {
  static bool settled = false;
  if (settled && stages::used == nullptr && frame_count == 0) return;
  end_transaction(event);
  if (buffer_ready() && buffer().settled()) settled = true;
}

void subxact_callback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void*) {
  if (event == SUBXACT_EVENT_ABORT_SUB || event == SUBXACT_EVENT_COMMIT_SUB)
    stages::end_subtransaction(event, mine, parent);
}

}  // namespace

void init() {
  RegisterXactCallback(xact_callback, nullptr);
  RegisterSubXactCallback(subxact_callback, nullptr);
}

}  // namespace pgwc::publish
