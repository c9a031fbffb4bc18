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
#include "pg/server/settle.hpp"
#include "pg/server/shmem.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/tables/catalog.hpp"
#include "pg/write_back/constraint_mode.hpp"
#include "pg/write_back/passes.hpp"
#include "pg/write_back/queue_status.hpp"
#include "pg/write_back/referenced.hpp"
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

// Stores a batch, rows and watermark; or rejects the rows, if there is an error to do it with.
void store(Relation relation, std::int32_t attachment, passes::Pass* pass,
           const ErrorData* reject_with) {
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

// Stores nothing if it finds queues that have to be stored first.
Outcome store_batch_in_transaction(QueueNo queue, const QueueView& view, bool watermark_applied,
                                   referenced::Queues* first) {
  const auto attachment = static_cast<std::int32_t>(view.id & 0xFFFFFFFF);
  StartTransactionCommand();
  const Oid relid = catalog::relation_of(attachment);
  // A lock that is not free at once stalls only this table.
  if (OidIsValid(relid) && !ConditionalLockRelationOid(relid, RowExclusiveLock)) {
    if (!queue_status::note_lock_miss(queue, view.id)) {
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
  passes::Pass* pass = passes::take(queue, view.id, limits, &batch);
  if (pass != nullptr)
    store(relation, attachment, pass, nullptr);
  else
    buffer().finish(queue, {}, batch.through, kNoXid, 0);
  table_close(relation, NoLock);
  CommitTransactionCommand();
  PGWC_INJECT("flush-finished");
  return batch.rows > 0 ? Outcome::kStored : Outcome::kNothing;
}

Outcome attempt(QueueNo queue, referenced::Queues* first) {
  const QueueView view = buffer().view(queue);
  if (view.id == 0) return Outcome::kNothing;
  bool watermark_applied;
  if (!queue_status::prepare(queue, view.id, &watermark_applied)) return Outcome::kBusy;
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
      queue_status::note_failure(queue, view.id, error);
    FreeErrorData(error);
    RESUME_INTERRUPTS();
  }
  PG_END_TRY();
  return outcome;
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
    if (buffer().request(first.at[i], seq) &&
        !queue_status::is_paused(first.at[i], buffer().view(first.at[i]).id))
      stored = false;
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
  queue_status::prepare(queue, queue_id, &watermark_applied);
  if (!watermark_applied) apply_watermark(queue, attachment, queue_id);
  // A second drain of the same transaction must not take what the first one has: those are
  // unflushed until it commits.
  if (passes::drained_here(queue)) return 0;

  Batch batch{};
  passes::Pass* pass = passes::take(queue, queue_id, {UINT64_MAX, UINT64_MAX}, &batch);
  if (pass == nullptr) return 0;
  constraint_mode::immediate(relation);
  store(relation, attachment, pass, reject_with);
  constraint_mode::restore(relation);
  // The commit takes acknowledged rows out of the buffer: it must not be lost, whatever the session
  // has set.
  ForceSyncCommit();
  passes::announce_to(database_slot(MyDatabaseId));
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
  char text[kErrorTextSize];
  queue_status::last_error(
      queue, make_queue_id(MyDatabaseId, static_cast<std::uint32_t>(attachment)), text);
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

}  // namespace pgwc::flush
