#include "pg/write_back/flush.hpp"

#include <algorithm>
#include <cstring>
#include <new>

#include "core/flush_plan.hpp"
#include "core/recovery.hpp"
#include "pg/boundary/compat.hpp"
#include "pg/boundary/guard.hpp"
#include "pg/boundary/injection.hpp"
#include "pg/server/settings.hpp"
#include "pg/server/shmem.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/tables/catalog.hpp"
#include "pg/write_back/constraint_mode.hpp"
#include "pg/write_back/referenced.hpp"
#include "pg/write_back/snapshots.hpp"
#include "pg/write_back/reject.hpp"
#include "pg/write_back/store.hpp"

extern "C" {
#include "access/xlog.h"
#include "commands/extension.h"
#include "mb/pg_wchar.h"
#include "utils/guc.h"
}

namespace pgwc::flush {

namespace {

// How long commits are held at least, if nobody releases them, and at most.
constexpr std::int64_t kHoldUs = 1'000'000;
constexpr std::int64_t kLongestHoldUs = 30 * kHoldUs;

// The frames of the batch in hand. Made once per process and never destroyed: no destructor runs in
// the server.
std::vector<FrameRef>& batch_frames() {
  alignas(std::vector<FrameRef>) static std::byte storage[sizeof(std::vector<FrameRef>)];
  static std::vector<FrameRef>* frames = new (storage) std::vector<FrameRef>;
  return *frames;
}

void forget_failures(QueueStatus* status) noexcept {
  status->failures = status->faults = 0;
  status->not_before = 0;
  status->state = QueueState::kActive;
  std::atomic_ref(status->failing_id).store(0, std::memory_order_relaxed);
}

// Whether a failure says something about the table. Who waits for a lock finds the table itself all
// right, and a writer can wait for it as well as we.
bool is_fault(int sqlerrcode) {
  const int category = ERRCODE_TO_CATEGORY(sqlerrcode);
  return sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE && category != ERRCODE_TRANSACTION_ROLLBACK &&
         category != ERRCODE_OPERATOR_INTERVENTION;
}

void note_success(QueueNo queue, std::uint64_t queue_id, std::uint64_t rejected) noexcept {
  LWLockAcquire(server_lock(), LW_EXCLUSIVE);
  QueueStatus& status = server->queues[queue];
  if (status.queue_id == queue_id) {
    status.last_flush = GetCurrentTimestamp();
    forget_failures(&status);
    status.rows_rejected += rejected;
  }
  LWLockRelease(server_lock());
  ConditionVariableBroadcast(&server->progress);
}

void note_failure(QueueNo queue, std::uint64_t queue_id, const ErrorData* error) {
  char* text =
      psprintf("%s: %s", unpack_sql_state(error->sqlerrcode), error->message ? error->message : "");
  // Half a character is none.
  text[pg_mbcliplen(text, static_cast<int>(strlen(text)), kErrorTextSize - 1)] = '\0';
  LWLockAcquire(server_lock(), LW_EXCLUSIVE);
  QueueStatus& status = server->queues[queue];
  if (status.queue_id == queue_id) {
    status.last_error_at = GetCurrentTimestamp();
    ++status.failures;
    if (is_fault(error->sqlerrcode)) {
      ++status.faults;
      std::atomic_ref(status.failing_id).store(queue_id, std::memory_order_relaxed);
    }
    const bool broken = reject::kind_of(error->sqlerrcode) == reject::ErrorKind::kBroken;
    status.state = broken ? QueueState::kPaused : QueueState::kRetrying;
    status.not_before = broken ? PG_INT64_MAX : status.last_error_at + back_off_us(status.failures);
    strlcpy(status.last_error, text, sizeof(status.last_error));
  }
  LWLockRelease(server_lock());
  ConditionVariableBroadcast(&server->progress);
}

// A slot may have changed hands since; then its status starts afresh. Returns whether the queue may
// be tried now.
bool prepare_status(QueueNo queue, std::uint64_t queue_id, bool* watermark_applied) {
  LWLockAcquire(server_lock(), LW_EXCLUSIVE);
  QueueStatus& status = server->queues[queue];
  if (status.queue_id != queue_id) {
    std::memset(static_cast<void*>(&status), 0, sizeof(status));
    status.queue_id = queue_id;
  }
  *watermark_applied = status.watermark_applied;
  const bool ready = status.not_before <= GetCurrentTimestamp();
  LWLockRelease(server_lock());
  return ready;
}

// After a restart the records may be older than the table: the watermark knows. Whoever comes
// first applies it; as long as nobody has, no batch is under way, and it is that of the run before.
void apply_watermark(QueueNo queue, std::int32_t attachment, std::uint64_t queue_id) {
  const std::uint64_t seq = catalog::read_watermark(attachment, buffer().incarnation());
  std::uint64_t rows = 0;
  LWLockAcquire(server_lock(), LW_EXCLUSIVE);
  QueueStatus& status = server->queues[queue];
  if (status.queue_id == queue_id && !status.watermark_applied) {
    if (seq > 0) rows = Recovery::apply_watermark(buffer(), queue, seq);
    status.watermark_applied = true;
  }
  LWLockRelease(server_lock());
  if (rows > 0)
    ereport(LOG, errmsg("write buffer: %llu rows are in table \"%s\" already",
                        static_cast<unsigned long long>(rows),
                        get_rel_name(catalog::relation_of(attachment))));
}

// A batch in the current transaction: finished by its commit, taken back by its rollback. While the
// transaction holds its lock on the table, so that nobody else can take the frames in between.
struct Pass {
  Pass* next;
  QueueNo queue;
  SubTransactionId owner;
  TransactionId xid;
  CommandId command;  // later commands of the transaction see the rows in the table
  std::uint64_t queue_id;
  std::uint64_t through;
  std::uint64_t rejected;
  std::size_t count;
  FrameRef* frames;
};
Pass* passes = nullptr;  // in TopTransactionContext

// Takes a batch for the current transaction, whose end decides about it from here on. Null if
// nothing is pending.
Pass* take_batch(QueueNo queue, std::uint64_t queue_id, const FlushLimits& limits, Batch* batch) {
  std::vector<FrameRef>& frames = batch_frames();
  bool splits = false;
  no_throw([&] {
    *batch = buffer().take(queue, limits, &frames);
    splits = buffer().splits_transaction(frames, server->whole_through.load());
  });
  if (frames.empty()) return nullptr;
  // What is stored of a transaction whose rest a power loss takes would be a part of it.
  if (splits && settings::sync_interval_ms > 0) (void)sync_buffer();
  auto* pass = static_cast<Pass*>(MemoryContextAlloc(TopTransactionContext, sizeof(Pass)));
  auto* own = static_cast<FrameRef*>(
      MemoryContextAllocHuge(TopTransactionContext, sizeof(FrameRef) * frames.size()));
  std::copy(frames.begin(), frames.end(), own);
  *pass = {passes,
           queue,
           GetCurrentSubTransactionId(),
           GetCurrentTransactionId(),
           GetCurrentCommandId(true),
           queue_id,
           batch->through,
           0,
           frames.size(),
           own};
  frames.clear();
  passes = pass;
  // Before the rows are stored: whoever reads the table in this transaction sees them there.
  buffer().mark({own, pass->count}, pass->xid);
  return pass;
}

// Stores a batch, rows and watermark; or rejects the rows, if there is an error to do it with.
void store(Relation relation, std::int32_t attachment, Pass* pass, const ErrorData* reject_with) {
  auto* spans = static_cast<RowSpan*>(
      MemoryContextAllocHuge(CurrentMemoryContext, sizeof(RowSpan) * pass->count));
  for (std::size_t i = 0; i < pass->count; ++i) {
    const std::span<const std::byte> rows = buffer().payload(pass->frames[i]);
    const FrameHeader& header = buffer().header(pass->frames[i]);
    spans[i] = {rows.data(), rows.size(), InvalidCommandId, header.generation, header.origin};
  }
  // Index expressions and triggers are the owner's code and run with no more than the owner's
  // rights.
  Oid user;
  int security;
  GetUserIdAndSecContext(&user, &security);
  SetUserIdAndSecContext(relation->rd_rel->relowner, security | SECURITY_RESTRICTED_OPERATION);
  const int nest_level = NewGUCNestLevel();
  SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION);
  pass->rejected =
      (reject_with == nullptr ? reject::store_or_reject(relation, spans, pass->count)
                              : reject::reject_all(relation, spans, pass->count, reject_with))
          .rejected;
  AtEOXact_GUC(false, nest_level);
  SetUserIdAndSecContext(user, security);
  pfree(spans);

  PGWC_INJECT("flush-rows-stored");
  catalog::write_watermark(attachment, buffer().incarnation(), pass->through);
  PGWC_INJECT("flush-marked");
}

bool waits_for_table = false;

// Whether somebody insists; then it is said who waits for the lock from here on.
bool note_lock_miss(QueueNo queue, std::uint64_t queue_id) {
  LWLockAcquire(server_lock(), LW_EXCLUSIVE);
  QueueStatus& status = server->queues[queue];
  ++status.lock_misses;
  const bool insisted = status.queue_id == queue_id && status.insist;
  status.insist = false;
  if (insisted) GET_VXID_FROM_PGPROC(status.insisting, *MyProc);
  LWLockRelease(server_lock());
  if (DatabaseSlot* database = database_slot(MyDatabaseId))
    database->locked_out.store(GetCurrentTimestamp());
  if (insisted) ConditionVariableBroadcast(&server->progress);
  return insisted;
}

// Stores nothing if it finds queues that have to be stored first.
Outcome store_batch_in_transaction(QueueNo queue, const QueueView& view, bool watermark_applied,
                                   referenced::Queues* first) {
  const auto attachment = static_cast<std::int32_t>(view.id & 0xFFFFFFFF);
  StartTransactionCommand();
  const Oid relid = catalog::relation_of(attachment);
  // A lock that is not free at once stalls only this table.
  if (OidIsValid(relid) && !ConditionalLockRelationOid(relid, RowExclusiveLock)) {
    if (!note_lock_miss(queue, view.id)) {
      AbortCurrentTransaction();
      return Outcome::kBusy;
    }
    waits_for_table = true;
    LockRelationOid(relid, RowExclusiveLock);
    waits_for_table = false;
  }
  Relation relation = OidIsValid(relid) ? try_relation_open(relid, NoLock) : nullptr;
  if (relation == nullptr || catalog::relation_of(attachment) != relid) {
    const bool unreachable = !OidIsValid(catalog::relation_named("attached")) &&
                             OidIsValid(get_extension_oid("pg_writecache", true));
    if (unreachable && view.pending_rows > 0)
      ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE),
              errmsg("table writecache.attached is missing"),
              errhint("Was it, or its schema, renamed?"));
    AbortCurrentTransaction();
    // A command that drops or detaches a table settles its rows itself, unless the library was not
    // loaded then.
    if (view.pending_rows > 0)
      ereport(WARNING, errmsg("threw away %llu buffered rows of table %u, which does not exist or "
                              "is not attached any more",
                              static_cast<unsigned long long>(view.pending_rows), view.relation));
    buffer().drop_queue(queue, view.id);
    ConditionVariableBroadcast(&server->progress);
    return Outcome::kGone;
  }
  if (first != nullptr) referenced::find_pending(relation, first);
  if (first != nullptr && first->count > 0) {
    AbortCurrentTransaction();
    return Outcome::kBusy;
  }
  if (!watermark_applied) apply_watermark(queue, attachment, view.id);
  FlushPolicy policy{};
  if (const Attachment* known = attachments::find_write_back(relid)) {
    policy = attachments::effective_policy(*known);
    buffer().set_policy(queue, policy);  // a reload may have changed it
  }
  constraint_mode::all_immediate();
  const FlushLimits limits = batch_limits(std::uint64_t{buffer().block_count()} * kBlockSize,
                                          std::size_t{1024} * maintenance_work_mem);
  Batch batch{};
  Pass* pass = take_batch(queue, view.id, limits, &batch);
  if (pass != nullptr)
    store(relation, attachment, pass, nullptr);
  else
    buffer().finish(queue, {}, batch.through, kNoXid, 0);
  table_close(relation, NoLock);
  CommitTransactionCommand();
  PGWC_INJECT("flush-finished");
  return batch.rows > 0 ? Outcome::kStored : Outcome::kNothing;
}

DatabaseSlot* drained_in = nullptr;  // whose worker is to free what this transaction has stored
DatabaseSlot* altered_in = nullptr;  // set if this transaction has changed options

void undo(const Pass* pass) noexcept { buffer().cancel({pass->frames, pass->count}); }

void announce_options(XactEvent event) noexcept {
  if (event == XACT_EVENT_COMMIT) {
    altered_in->altered.store(1);
    wake_worker(altered_in);
  }
  if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
    altered_in = nullptr;
}

void end_passes(XactEvent event) {
  if (event == XACT_EVENT_COMMIT) {
    PGWC_INJECT("flush-committed");
    for (const Pass* pass = passes; pass != nullptr; pass = pass->next) {
      buffer().finish(pass->queue, {pass->frames, pass->count}, pass->through, pass->xid,
                      static_cast<std::uint64_t>(XactLastCommitEnd), GetCurrentTimestamp());
      note_success(pass->queue, pass->queue_id, pass->rejected);
    }
    passes = nullptr;
    if (drained_in != nullptr) wake_worker(drained_in);
    drained_in = nullptr;
  } else if (event == XACT_EVENT_ABORT) {
    for (const Pass* pass = passes; pass != nullptr; pass = pass->next) undo(pass);
    passes = nullptr;
    drained_in = nullptr;
  } else if (event == XACT_EVENT_PRE_PREPARE) {
    ereport(
        ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
        errmsg("cannot PREPARE a transaction that has stored buffered rows of an attached table"),
        errhint("Call writecache.flush() for the table before the transaction."));
  }
}

// Short for the many transactions that it does not concern.
void xact_callback(XactEvent event, void*) {
  if (altered_in != nullptr) announce_options(event);
  if (passes != nullptr) end_passes(event);
}

void subxact_callback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void*) {
  if (passes == nullptr) return;
  if (event == SUBXACT_EVENT_COMMIT_SUB) {
    for (Pass* pass = passes; pass != nullptr; pass = pass->next)
      if (pass->owner == mine) pass->owner = parent;
  } else if (event == SUBXACT_EVENT_ABORT_SUB) {
    Pass** link = &passes;
    while (*link != nullptr) {
      if ((*link)->owner == mine) {
        undo(*link);
        *link = (*link)->next;
      } else {
        link = &(*link)->next;
      }
    }
  }
}

}  // namespace

namespace {

Outcome attempt(QueueNo queue, referenced::Queues* first) {
  const QueueView view = buffer().view(queue);
  if (view.id == 0) return Outcome::kNothing;
  bool watermark_applied;
  if (!prepare_status(queue, view.id, &watermark_applied)) return Outcome::kBusy;
  volatile Outcome outcome = Outcome::kFailed;
  MemoryContext context = CurrentMemoryContext;
  PG_TRY();
  { outcome = store_batch_in_transaction(queue, view, watermark_applied, first); }
  PG_CATCH();
  {
    HOLD_INTERRUPTS();
    MemoryContextSwitchTo(context);
    ErrorData* error = CopyErrorData();
    const bool still_locked = waits_for_table && error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
    waits_for_table = false;
    if (!still_locked) EmitErrorReport();
    FlushErrorState();
    AbortCurrentTransaction();
    MemoryContextSwitchTo(context);
    if (still_locked)
      outcome = Outcome::kBusy;
    else
      note_failure(queue, view.id, error);
    FreeErrorData(error);
    RESUME_INTERRUPTS();
  }
  PG_END_TRY();
  return outcome;
}

bool is_paused(QueueNo queue) {
  LWLockAcquire(server_lock(), LW_SHARED);
  const bool paused = server->queues[queue].state == QueueState::kPaused;
  LWLockRelease(server_lock());
  return paused;
}

}  // namespace

Outcome store_batch(QueueNo queue) {
  // Tables may refer to each other in a circle.
  constexpr int kMaxDepth = 8;
  static int depth = 0;
  referenced::Queues first;
  const Outcome outcome = attempt(queue, depth < kMaxDepth ? &first : nullptr);
  if (first.count == 0) return outcome;
  ++depth;
  const std::uint64_t seq = buffer().last_seq();
  bool stored = true;
  for (std::size_t i = 0; i < first.count; ++i) {
    while (store_batch(first.at[i]) == Outcome::kStored && buffer().request(first.at[i], seq)) {
    }
    // Rows that refer to a table that is paused are better off in writecache.rejected than stalled
    // with it.
    if (buffer().request(first.at[i], seq) && !is_paused(first.at[i])) stored = false;
  }
  --depth;
  return stored ? attempt(queue, nullptr) : Outcome::kBusy;
}

namespace {

std::uint64_t drain(Relation relation, std::int32_t attachment, QueueNo queue,
                    const ErrorData* reject_with) {
  const std::uint64_t queue_id =
      make_queue_id(MyDatabaseId, static_cast<std::uint32_t>(attachment));
  if (!buffer().is_queue(queue, queue_id)) return 0;
  ensure_settled();
  bool watermark_applied;
  prepare_status(queue, queue_id, &watermark_applied);
  if (!watermark_applied) apply_watermark(queue, attachment, queue_id);
  // A second drain of the same transaction must not take what the first one has: those are
  // unflushed until it commits.
  if (drained_here(queue)) return 0;

  Batch batch{};
  Pass* pass = take_batch(queue, queue_id, {UINT64_MAX, UINT64_MAX}, &batch);
  if (pass == nullptr) return 0;
  constraint_mode::immediate(relation);
  store(relation, attachment, pass, reject_with);
  constraint_mode::restore(relation);
  // The commit takes acknowledged rows out of the buffer: it must not be lost, whatever the session
  // has set.
  ForceSyncCommit();
  drained_in = database_slot(MyDatabaseId);
  CommandCounterIncrement();
  return batch.rows;
}

}  // namespace

std::uint64_t drain_here(Relation relation, std::int32_t attachment, QueueNo queue) {
  return drain(relation, attachment, queue, nullptr);
}

std::uint64_t reject_here(Relation relation, std::int32_t attachment, QueueNo queue) {
  ErrorData error{};
  error.sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
  error.message = const_cast<char*>("row was given up by writecache.reject_pending()");
  char text[kErrorTextSize] = "";
  LWLockAcquire(server_lock(), LW_SHARED);
  const QueueStatus& status = server->queues[queue];
  if (status.queue_id == make_queue_id(MyDatabaseId, static_cast<std::uint32_t>(attachment)) &&
      status.failures > 0)
    strlcpy(text, status.last_error, sizeof(text));
  LWLockRelease(server_lock());
  if (text[0] != '\0') error.detail = psprintf("The last error of the table was: %s", text);
  return drain(relation, attachment, queue, &error);
}

void drop_what_is_stored(QueueNo queue, std::int32_t attachment) {
  if (server->watermarks_decide.load(std::memory_order_relaxed) == 0) return;
  const std::uint64_t queue_id =
      make_queue_id(MyDatabaseId, static_cast<std::uint32_t>(attachment));
  // A slot that changed hands since the start has new rows only.
  LWLockAcquire(server_lock(), LW_SHARED);
  QueueStatus& status = server->queues[queue];
  const std::uint64_t owner = status.queue_id;
  const bool applied = status.watermark_applied;
  LWLockRelease(server_lock());
  if (applied || (owner != 0 && owner != queue_id)) return;
  LWLockAcquire(server_lock(), LW_EXCLUSIVE);
  if (status.queue_id == 0) status.queue_id = queue_id;
  const bool wanted = status.queue_id == queue_id && !status.watermark_applied;
  LWLockRelease(server_lock());
  if (wanted) apply_watermark(queue, attachment, queue_id);
}

int held_back_by(QueueNo queue) {
  RetiredBatch retired[kRetiredSlots];
  if (buffer().retired(queue, retired) == 0) return 0;
  int count;
  VirtualTransactionId* holders = snapshots::holders_of(retired[0].flush_xid, &count);
  int pid = 0;
  TransactionId oldest = InvalidTransactionId;
  for (int i = 0; i < count; ++i) {
    // Read without a lock: it may be a snapshot later by now, or another session's.
    const PGPROC* process = compat::process_of(holders[i]);
    if (process == nullptr) continue;
    const TransactionId xmin = process->xmin;
    if (!TransactionIdIsValid(xmin) ||
        (TransactionIdIsValid(oldest) && !TransactionIdPrecedes(xmin, oldest)))
      continue;
    oldest = xmin;
    pid = process->pid;
  }
  pfree(holders);
  return pid;
}

bool release_retired(QueueNo queue) {
  RetiredBatch retired[kRetiredSlots];
  const std::size_t count = buffer().retired(queue, retired);
  std::uint64_t free_through = 0;
  std::size_t i = 0;
  const bool full = running_full();
  for (; i < count; ++i) {
    if (retired[i].lsn > static_cast<std::uint64_t>(GetFlushRecPtr(nullptr))) break;
    if (snapshots::need(retired[i].flush_xid, retired[i].finished_us, full)) break;
    free_through = retired[i].batch;
  }
  if (free_through > 0) PGWC_INJECT("before-free");
  if (free_through > 0 && buffer().reclaim(queue, free_through) > 0)
    ConditionVariableBroadcast(&server->progress);
  if (free_through > 0) PGWC_INJECT("after-free");
  return i < count;
}

void resume(std::int32_t attachment) {
  const std::uint64_t queue_id =
      make_queue_id(MyDatabaseId, static_cast<std::uint32_t>(attachment));
  LWLockAcquire(server_lock(), LW_EXCLUSIVE);
  for (QueueNo q = 0; q < buffer().queue_count(); ++q) {
    QueueStatus& status = server->queues[q];
    if (status.queue_id != queue_id) continue;
    forget_failures(&status);
  }
  LWLockRelease(server_lock());
  altered_in = database_slot(MyDatabaseId);
}

bool is_paused(QueueNo queue, std::uint64_t queue_id) {
  LWLockAcquire(server_lock(), LW_SHARED);
  const QueueStatus& status = server->queues[queue];
  const bool paused = status.queue_id == queue_id && status.state == QueueState::kPaused;
  LWLockRelease(server_lock());
  return paused;
}

TimestampTz not_before(QueueNo queue, std::uint64_t queue_id) {
  LWLockAcquire(server_lock(), LW_SHARED);
  const QueueStatus& status = server->queues[queue];
  const TimestampTz time = status.queue_id == queue_id ? status.not_before : 0;
  LWLockRelease(server_lock());
  return time;
}

bool passes_through(QueueNo queue, std::uint64_t queue_id) {
  QueueStatus& status = server->queues[queue];
  if (settings::pass_through_failures == 0 ||
      std::atomic_ref(status.failing_id).load(std::memory_order_relaxed) != queue_id)
    return false;
  LWLockAcquire(server_lock(), LW_SHARED);
  const bool passes =
      status.queue_id == queue_id &&
      (status.state == QueueState::kPaused ||
       status.faults >= static_cast<std::uint32_t>(settings::pass_through_failures));
  LWLockRelease(server_lock());
  return passes;
}

void hold_commits(QueueNo queue, std::int64_t waited_us) {
  // Twice what a flush took is enough for those who are let in between to be stored.
  const std::int64_t us = std::clamp(2 * waited_us, kHoldUs, kLongestHoldUs);
  std::atomic_ref(server->queues[queue].held_until)
      .store(GetCurrentTimestamp() + us, std::memory_order_relaxed);
}

void release_commits(QueueNo queue) {
  std::atomic_ref(server->queues[queue].held_until).store(0, std::memory_order_relaxed);
  ConditionVariableBroadcast(&server->progress);
}

TimestampTz held_until(QueueNo queue) {
  const TimestampTz until =
      std::atomic_ref(server->queues[queue].held_until).load(std::memory_order_relaxed);
  return until != 0 && GetCurrentTimestamp() < until ? until : 0;
}

std::uint32_t lock_misses(QueueNo queue) {
  LWLockAcquire(server_lock(), LW_SHARED);
  const std::uint32_t misses = server->queues[queue].lock_misses;
  LWLockRelease(server_lock());
  return misses;
}

void insist(QueueNo queue) {
  LWLockAcquire(server_lock(), LW_EXCLUSIVE);
  server->queues[queue].insist = true;
  LWLockRelease(server_lock());
}

void await_insisting(QueueNo queue) {
  LWLockAcquire(server_lock(), LW_SHARED);
  const VirtualTransactionId waiting = server->queues[queue].insisting;
  LWLockRelease(server_lock());
  // At once if that transaction is over.
  if (VirtualTransactionIdIsValid(waiting)) (void)VirtualXactLock(waiting, true);
}

bool own_pass(TransactionId xid, CommandId* command) {
  for (const Pass* pass = passes; pass != nullptr; pass = pass->next) {
    if (pass->xid != xid) continue;
    *command = pass->command;
    return true;
  }
  return false;
}

bool drained_here(QueueNo queue) {
  for (const Pass* pass = passes; pass != nullptr; pass = pass->next)
    if (pass->queue == queue) return true;
  return false;
}

void init() {
  RegisterXactCallback(xact_callback, nullptr);
  RegisterSubXactCallback(subxact_callback, nullptr);
}

}  // namespace pgwc::flush
