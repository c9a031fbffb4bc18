#include "pg/write_back/staging.hpp"

#include <cstring>

#include "pg/boundary/injection.hpp"
#include "pg/server/settings.hpp"
#include "pg/server/shmem.hpp"
#include "pg/write_back/queue_status.hpp"
#include "pg/write_back/room.hpp"
#include "pg/write_back/store.hpp"

extern "C" {
#include "access/detoast.h"
#include "access/xlog.h"
#include "commands/trigger.h"
#include "storage/proc.h"
#include "utils/syscache.h"
}

namespace pgwc {

namespace {

// Rows staged by one subtransaction at one command, in the order of their bytes.
struct Mark {
  std::size_t begin;
  SubTransactionId owner;
  SubTransactionId spilled_in;  // InvalidSubTransactionId: not in the table
  CommandId command;
  Oid staged_by;
};

}  // namespace

struct Stage {
  Stage* next;
  Oid relation;
  std::uint64_t queue_id;
  QueueNo queue;
  WhenFull when_full;
  bool bypassing;  // too much for the buffer: rows only stop here to be stored in bulk
  bool oversized;  // holds a row that no block can take
  bool spilled;    // some mark's rows are in the table
  bool storing;    // a spill is under way, and what it runs must not begin another
  char* data;
  std::size_t used;
  std::size_t capacity;
  Mark* marks;
  std::size_t mark_count;
  std::size_t mark_capacity;
};

namespace {

// Buffers up to this size stay for the session's next transaction.
constexpr std::size_t kKeepCapacity = 256 * 1024;
constexpr std::size_t kInitialCapacity = 8 * 1024;
// What a bypassing stage collects before it stores.
constexpr std::size_t kBypassChunk = 256 * 1024;

// The session's stages: `used_stages` belong to the transaction, `idle_stages` wait for the next
// one. All of it lives in `context`, which is never reset: the commit callback allocates nothing.
MemoryContext context = nullptr;
Stage* used_stages = nullptr;
Stage* idle_stages = nullptr;
DatabaseSlot* database = nullptr;

FrameRef* frames = nullptr;
std::size_t frame_count = 0;
std::size_t frame_capacity = 0;

void grow(Stage* stage, std::size_t need) {
  std::size_t capacity = stage->capacity == 0 ? kInitialCapacity : stage->capacity;
  while (capacity < need) capacity *= 2;
  stage->data =
      static_cast<char*>(stage->data == nullptr ? MemoryContextAllocHuge(context, capacity)
                                                : repalloc_huge(stage->data, capacity));
  stage->capacity = capacity;
}

std::size_t mark_end(const Stage* stage, std::size_t i) {
  return i + 1 < stage->mark_count ? stage->marks[i + 1].begin : stage->used;
}

// Rows of this moment's command and subtransaction go behind the last mark if it says so, else
// behind a new one.
void mark_rows(Stage* stage) {
  const SubTransactionId owner = GetCurrentSubTransactionId();
  const CommandId command = GetCurrentCommandId(true);
  const Oid user = GetUserId();
  if (stage->mark_count > 0) {
    Mark& last = stage->marks[stage->mark_count - 1];
    if (last.owner == owner && last.command == command && last.staged_by == user &&
        last.spilled_in == InvalidSubTransactionId)
      return;
    if (last.begin == stage->used) --stage->mark_count;
  }
  if (stage->mark_count == stage->mark_capacity) {
    const std::size_t capacity = stage->mark_capacity == 0 ? 16 : stage->mark_capacity * 2;
    const std::size_t size = capacity * sizeof(Mark);
    stage->marks =
        static_cast<Mark*>(stage->marks == nullptr ? MemoryContextAllocHuge(context, size)
                                                   : repalloc_huge(stage->marks, size));
    stage->mark_capacity = capacity;
  }
  stage->marks[stage->mark_count++] = {stage->used, owner, InvalidSubTransactionId, command, user};
}

// Back to an empty stage, its memory kept if it is small. Callable in callbacks: frees, never
// allocates.
void recycle(Stage* stage) noexcept {
  if (stage->capacity > kKeepCapacity) {
    pfree(stage->data);
    stage->data = nullptr;
    stage->capacity = 0;
  }
  if (stage->mark_capacity > 1024) {
    pfree(stage->marks);
    stage->marks = nullptr;
    stage->mark_capacity = 0;
  }
  stage->used = stage->mark_count = 0;
  stage->bypassing = stage->oversized = stage->spilled = stage->storing = false;
  stage->relation = InvalidOid;
  stage->next = idle_stages;
  idle_stages = stage;
}

void forget_all() noexcept {
  frame_count = 0;
  while (used_stages != nullptr) {
    Stage* stage = used_stages;
    used_stages = stage->next;
    recycle(stage);
  }
}

bool has_unspilled(const Stage* stage) {
  if (stage->storing) return false;
  for (std::size_t i = 0; i < stage->mark_count; ++i)
    if (stage->marks[i].spilled_in == InvalidSubTransactionId &&
        stage->marks[i].begin < mark_end(stage, i))
      return true;
  return false;
}

// Drops rows that need not be kept any more: those stored in the subtransaction that staged them
// live and die with it.
void drop_spilled(Stage* stage) {
  std::size_t kept = 0;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < stage->mark_count; ++i) {
    Mark mark = stage->marks[i];
    const std::size_t end = mark_end(stage, i);
    if (mark.spilled_in == mark.owner) continue;
    std::memmove(stage->data + bytes, stage->data + mark.begin, end - mark.begin);
    const std::size_t size = end - mark.begin;
    mark.begin = bytes;
    bytes += size;
    stage->marks[kept++] = mark;
  }
  stage->mark_count = kept;
  stage->used = bytes;
}

// As who staged them: index expressions, checks and triggers must not run with anybody else's
// rights.
void store_as(Oid role, Relation relation, const RowSpan* spans, std::size_t count) {
  Oid user;
  int security;
  GetUserIdAndSecContext(&user, &security);
  if (role != user) SetUserIdAndSecContext(role, security | SECURITY_LOCAL_USERID_CHANGE);
  store_rows(relation, spans, count, false);
  SetUserIdAndSecContext(user, security);
}

void spill_stage(Stage* stage, Relation relation) {
  const SubTransactionId current = GetCurrentSubTransactionId();
  auto* spans = static_cast<RowSpan*>(palloc(sizeof(RowSpan) * (stage->mark_count + 1)));
  std::size_t count = 0;
  for (std::size_t i = 0; i < stage->mark_count; ++i) {
    const Mark& mark = stage->marks[i];
    const std::size_t end = mark_end(stage, i);
    if (mark.spilled_in != InvalidSubTransactionId || mark.begin == end) continue;
    spans[count++] = {reinterpret_cast<const std::byte*>(stage->data) + mark.begin,
                      end - mark.begin, mark.command, 0, mark.staged_by};
  }
  if (count > 0) {
    stage->storing = true;
    PG_TRY();
    {
      for (std::size_t from = 0, to; from < count; from = to) {
        for (to = from + 1; to < count && spans[to].staged_by == spans[from].staged_by;) ++to;
        store_as(spans[from].staged_by, relation, spans + from, to - from);
      }
    }
    PG_FINALLY();
    { stage->storing = false; }
    PG_END_TRY();
    for (std::size_t i = 0; i < stage->mark_count; ++i)
      if (stage->marks[i].spilled_in == InvalidSubTransactionId)
        stage->marks[i].spilled_in = current;
    stage->spilled = true;
    drop_spilled(stage);
    stage->oversized = false;
  }
  pfree(spans);
}

// At commit nothing can be rolled back to a savepoint any more: only what is not in a table counts.
void compact(Stage* stage) {
  if (!stage->spilled) return;
  for (std::size_t i = 0; i < stage->mark_count; ++i)
    if (stage->marks[i].spilled_in != InvalidSubTransactionId)
      stage->marks[i].spilled_in = stage->marks[i].owner;
  drop_spilled(stage);
}

void need_frames(std::size_t more) {
  if (frame_count + more <= frame_capacity) return;
  std::size_t capacity = frame_capacity == 0 ? 64 : frame_capacity;
  while (capacity < frame_count + more) capacity *= 2;
  const std::size_t size = capacity * sizeof(FrameRef);
  frames = static_cast<FrameRef*>(frames == nullptr ? MemoryContextAllocHuge(context, size)
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
  return mark_end(stage, (*i)++);
}

Outcome reserve(Stage* stage, const RoomWait& wait) {
  // What could fill half the buffer alone is no use to anybody in there, and what the disk does not
  // take would be lost with the power.
  if (server->sync_failed.load(std::memory_order_relaxed) != 0 || stage->bypassing ||
      stage->oversized || stage->used / kMaxPayload >= buffer().block_count() / 2)
    return Outcome::kToTable;
  // Somebody may wait for this transaction, and the flush for them: then waiting here could be for
  // ever. DDL that waits for our lock on a table keeps the worker off it.
  const bool locked_out =
      wait.since != 0 && database != nullptr && database->locked_out.load() >= wait.since;
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
  for (Stage* stage = used_stages; stage != nullptr;) {
    if (is_dropped(stage)) stage->used = stage->mark_count = 0;
    compact(stage);
    const Outcome outcome = has_unspilled(stage) ? reserve(stage, wait) : Outcome::kReserved;
    if (outcome == Outcome::kFull || outcome == Outcome::kHeld) {
      buffer().discard({frames, frame_count});
      frame_count = 0;
      if (outcome == Outcome::kFull)
        room::wait_for_space(&wait, database, stage->relation);
      else
        room::wait_while_held(&wait, stage->queue);
      stage = used_stages;
      continue;
    }
    if (outcome == Outcome::kToTable) {
      (void)staging::spill(stage->relation);
      // The loop over deferred triggers that a commit begins with is over.
      AfterTriggerFireDeferred();
      // Triggers may have staged more rows, also for tables that are through already.
      buffer().discard({frames, frame_count});
      frame_count = 0;
      stage = used_stages;
      continue;
    }
    stage = stage->next;
  }
}

void pre_commit() {
  ensure_settled();
  if (used_stages == nullptr) return;
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
  for (Stage* stage = used_stages; stage != nullptr; stage = stage->next) {
    std::size_t mark = 0;
    for (std::size_t at = 0; at < stage->used; ++frame) {
      while (mark_end(stage, mark) <= at) ++mark;
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
                     [](QueueNo) { wake_worker(database); });
  if (frame_count > 0) PGWC_INJECT("published");
  forget_all();
}

void on_abort() noexcept {
  if (frame_count > 0) PGWC_INJECT("aborted");
  if (frame_count > 0) buffer().discard({frames, frame_count});
  forget_all();
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
  if (settled && used_stages == nullptr && frame_count == 0) return;
  end_transaction(event);
  if (buffer_ready() && buffer().settled()) settled = true;
}

void subxact_callback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void*) {
  if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB) return;
  for (Stage* stage = used_stages; stage != nullptr; stage = stage->next) {
    if (event == SUBXACT_EVENT_COMMIT_SUB) {
      // Marks of the ending subtransaction are the last ones, but spills may have touched any.
      for (std::size_t i = stage->mark_count; i-- > 0 && stage->marks[i].owner == mine;)
        stage->marks[i].owner = parent;
      for (std::size_t i = 0; stage->spilled && i < stage->mark_count; ++i)
        if (stage->marks[i].spilled_in == mine) stage->marks[i].spilled_in = parent;
    } else {
      while (stage->mark_count > 0 && stage->marks[stage->mark_count - 1].owner == mine)
        stage->used = stage->marks[--stage->mark_count].begin;
      for (std::size_t i = 0; stage->spilled && i < stage->mark_count; ++i)
        if (stage->marks[i].spilled_in == mine)
          stage->marks[i].spilled_in = InvalidSubTransactionId;
    }
  }
}

Stage* find_stage(Oid relation) {
  for (Stage* stage = used_stages; stage != nullptr; stage = stage->next)
    if (stage->relation == relation) return stage;
  return nullptr;
}

Stage* new_stage() {
  if (context == nullptr)
    context =
        AllocSetContextCreate(TopMemoryContext, "pg_writecache staging", ALLOCSET_DEFAULT_SIZES);
  Stage* stage = idle_stages;
  if (stage != nullptr)
    idle_stages = stage->next;
  else
    stage = static_cast<Stage*>(MemoryContextAllocZero(context, sizeof(Stage)));
  stage->next = used_stages;
  used_stages = stage;
  return stage;
}

// Forms the row where it will stay: a MinimalTuple at the end of the stage.
void form_row(Stage* stage, TupleDesc desc, Datum* values, bool* nulls) {
  bool has_null = false;
  Datum* fetched = nullptr;
  for (int i = 0; i < desc->natts; ++i) {
    if (nulls[i]) {
      has_null = true;
    } else if (TupleDescAttr(desc, i)->attlen == -1 &&
               VARATT_IS_EXTERNAL(DatumGetPointer(values[i]))) {
      // The value's home may be gone when the row is stored.
      if (fetched == nullptr) {
        fetched =
            static_cast<Datum*>(palloc(sizeof(Datum) * static_cast<std::size_t>(desc->natts)));
        std::memcpy(fetched, values, sizeof(Datum) * static_cast<std::size_t>(desc->natts));
        values = fetched;
      }
      values[i] = PointerGetDatum(
          detoast_external_attr(reinterpret_cast<struct varlena*>(DatumGetPointer(values[i]))));
    }
  }
  std::size_t header = SizeofMinimalTupleHeader;
  if (has_null) header += static_cast<std::size_t>(BITMAPLEN(desc->natts));
  header = MAXALIGN(header);
  const std::size_t data = heap_compute_data_size(desc, values, nulls);
  const std::size_t size = header + data;
  const std::size_t padded = align_up<kRowAlign>(size);
  if (size > MaxAllocSize)
    ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
            errmsg("row is too large for the write buffer: size %zu, maximum size %zu", size,
                   static_cast<std::size_t>(MaxAllocSize)));
  if (stage->used + padded > stage->capacity) grow(stage, stage->used + padded);
  char* target = stage->data + stage->used;
  std::memset(target, 0, padded);
  auto* tuple = reinterpret_cast<MinimalTuple>(target);
  tuple->t_len = static_cast<std::uint32_t>(size);
  HeapTupleHeaderSetNatts(tuple, desc->natts);
  tuple->t_hoff = static_cast<std::uint8_t>(header + MINIMAL_TUPLE_OFFSET);
  heap_fill_tuple(desc, values, nulls, target + header, data, &tuple->t_infomask,
                  has_null ? tuple->t_bits : nullptr);
  stage->used += padded;
  if (padded > kMaxRow) stage->oversized = true;
  if (fetched != nullptr) pfree(fetched);
}

bool exceeds_bypass(const Stage* stage) {
  return settings::bulk_bypass_kb >= 0 &&
         stage->used > std::size_t{1024} * static_cast<unsigned>(settings::bulk_bypass_kb);
}

}  // namespace

namespace staging {

void init() {
  RegisterXactCallback(xact_callback, nullptr);
  RegisterSubXactCallback(subxact_callback, nullptr);
}

Stage* open(Relation relation, Attachment* attachment) {
  Stage* stage = find_stage(RelationGetRelid(relation));
  if (stage != nullptr && stage->queue_id == attachment->queue_id()) return stage;
  if (database == nullptr) database = database_slot(MyDatabaseId);
  if (database == nullptr || !attachments::open_queue(attachment)) return nullptr;
  stage = new_stage();
  stage->relation = attachment->relation;
  stage->queue_id = attachment->queue_id();
  stage->queue = attachment->queue;
  stage->when_full = attachment->when_full;
  // Decided for the transaction as a whole, so that its rows do not overtake each other.
  stage->bypassing = queue_status::passes_through(stage->queue, stage->queue_id);
  return stage;
}

void append(Stage* stage, Relation relation, TupleTableSlot* slot) {
  mark_rows(stage);
  slot_getallattrs(slot);
  form_row(stage, RelationGetDescr(relation), slot->tts_values, slot->tts_isnull);
  if (!stage->bypassing && exceeds_bypass(stage)) stage->bypassing = true;
  if (stage->bypassing && stage->used > kBypassChunk) spill_stage(stage, relation);
}

void write_through(Stage* stage) { stage->bypassing = true; }

void end_statement(Stage* stage, Relation relation) {
  if ((stage->bypassing || stage->oversized) && has_unspilled(stage)) spill_stage(stage, relation);
}

bool any() {
  for (Stage* stage = used_stages; stage != nullptr; stage = stage->next)
    if (has_unspilled(stage)) return true;
  return false;
}

bool has_rows(Oid relation) {
  for (Stage* stage = used_stages; stage != nullptr; stage = stage->next)
    if (stage->relation == relation && has_unspilled(stage)) return true;
  return false;
}

bool spill(Oid relation) {
  bool spilled = false;
  // A table that was detached and attached again in a savepoint has two stages.
  for (Stage* stage = used_stages; stage != nullptr; stage = stage->next) {
    if (stage->relation != relation || !has_unspilled(stage)) continue;
    // The statement that staged the rows holds the lock already.
    Relation opened = table_open(relation, RowExclusiveLock);
    spill_stage(stage, opened);
    table_close(opened, NoLock);
    spilled = true;
  }
  return spilled;
}

void spill_all() {
  for (Stage* stage = used_stages; stage != nullptr; stage = stage->next)
    (void)spill(stage->relation);
}

}  // namespace staging
}  // namespace pgwc
