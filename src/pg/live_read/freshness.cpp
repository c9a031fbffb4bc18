#include "pg/live_read/freshness.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/live_read/paths.hpp"
#include "pg/live_read/pending_scan.hpp"
#include "pg/live_read/reader.hpp"
#include "pg/server/settings.hpp"
#include "pg/server/shmem.hpp"
#include "pg/server/workers.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/write_back/committed_rows.hpp"
#include "pg/write_back/flush.hpp"
#include "pg/write_back/own_rows.hpp"
#include "pg/write_back/store.hpp"

extern "C" {
#include "access/parallel.h"
#include "executor/executor.h"
#include "nodes/plannodes.h"
#include "parser/parsetree.h"
}

namespace pgwc::freshness {

namespace {

constinit ExecutorStart_hook_type previous_start = nullptr;

// The sources that the plan reads beside the tables.
List* merged_sources(const Plan* plan, List* found);

List* merged_in(const List* plans, List* found) {
  const ListCell* cell;
  foreach (cell, plans) found = merged_sources(static_cast<const Plan*>(lfirst(cell)), found);
  return found;
}

List* merged_sources(const Plan* plan, List* found) {
  if (plan == nullptr) return found;
  const Oid source = pending_scan::source_of(plan);
  if (OidIsValid(source)) return list_append_unique_oid(found, source);
  switch (nodeTag(plan)) {
    case T_Append:
      return merged_in(reinterpret_cast<const Append*>(plan)->appendplans, found);
    case T_MergeAppend:
      return merged_in(reinterpret_cast<const MergeAppend*>(plan)->mergeplans, found);
    case T_SubqueryScan:
      return merged_sources(reinterpret_cast<const SubqueryScan*>(plan)->subplan, found);
    case T_CustomScan:
      return merged_in(reinterpret_cast<const CustomScan*>(plan)->custom_plans, found);
    default:
      return merged_sources(plan->righttree, merged_sources(plan->lefttree, found));
  }
}

// Attached tables of the statement whose buffered rows its plan does not read. Who changes or locks
// rows needs them all; a mere reader may have switched them off.
List* missed_sources(const PlannedStmt* statement) {
  const bool reads_only = statement->resultRelations == NIL && statement->rowMarks == NIL;
  if (reads_only && !settings::read_pending) return NIL;
  List* candidates = NIL;
  Index index = 0;
  ListCell* cell;
  foreach (cell, statement->rtable) {
    const auto* entry = lfirst_node(RangeTblEntry, cell);
    ++index;
    if (entry->rtekind != RTE_RELATION || entry->relkind == RELKIND_VIEW ||
        entry->relid == storing_into() || own_rows::is_insert_target_only(statement, index))
      continue;
    candidates =
        list_concat_unique_oid(candidates, live_read::sources_of(entry->relid, reads_only));
  }
  if (candidates == NIL) return NIL;
  List* merged = merged_sources(statement->planTree, NIL);
  merged = merged_in(statement->subplans, merged);
  return list_difference_oid(candidates, merged);
}

[[noreturn]] void raise_unserializable(Oid relation) {
  ereport(
      ERROR, errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
      errmsg(
          "could not serialize access to table \"%s\" because rows that the transaction sees are "
          "not in the table yet, or were stored since",
          get_rel_name(relation)),
      errhint("Call writecache.flush() before the transaction, or use READ COMMITTED."));
  pg_unreachable();
}

[[noreturn]] void raise_timeout(Oid relation) {
  ereport(ERROR, errcode(ERRCODE_LOCK_NOT_AVAILABLE),
          errmsg("timed out waiting for the buffered rows of table \"%s\" to be stored",
                 get_rel_name(relation)),
          errhint("Is the table, or a row that its rows refer to, locked? See "
                  "writecache.stat_write_back and "
                  "\"writecache.wait_timeout\"."));
  pg_unreachable();
}

// Stores what the snapshot sees in the buffer. True if the table may hold more now than it sees.
bool store_what_is_seen(Oid relation, Snapshot snapshot) {
  Attachment* attachment = attachments::find_write_back(relation);
  if (attachment == nullptr) return false;
  ensure_settled();
  const std::uint64_t id = attachment->queue_id();
  const QueueNo queue = attachments::find_queue(attachment);
  if (queue == kNoQueueNo || live_read::is_empty(queue, id, relation, snapshot)) return false;
  flush::drop_what_is_stored(queue, attachment->number);
  if (!live_read::sees_any(queue, id, relation, snapshot, false)) return false;
  if (IsolationUsesXactSnapshot()) raise_unserializable(relation);
  const TimestampTz deadline =
      settings::wait_timeout_ms > 0
          ? GetCurrentTimestamp() + std::int64_t{1000} * settings::wait_timeout_ms
          : PG_INT64_MAX;
  while (!flush::drained_here(queue) && live_read::sees_any(queue, id, relation, snapshot, true)) {
    if (committed_rows::await_table(relation)) continue;
    if (OidIsValid(storing_into())) return false;  // a batch is in hand
    if (GetCurrentTimestamp() >= deadline) raise_timeout(relation);
    // A transaction is seen a moment before it has a place in the queue that could be waited for.
    pg_usleep(1000);
    CHECK_FOR_INTERRUPTS();
  }
  return true;
}

bool await_referencing(const PlannedStmt* statement) {
  if (statement->commandType == CMD_INSERT || statement->resultRelations == NIL) return false;
  bool waited = false;
  ListCell* cell;
  foreach (cell, statement->rtable) {
    auto* entry = lfirst_node(RangeTblEntry, cell);
    if (entry->rtekind == RTE_RELATION && entry->rellockmode == RowExclusiveLock &&
        compat::is_named(entry) && committed_rows::await_referencing(statement, entry))
      waited = true;
  }
  return waited;
}

void freshen(QueryDesc* query) {
  Snapshot snapshot = query->snapshot;
  if (snapshot == nullptr || !IsMVCCSnapshot(snapshot)) return;
  const CommandId command = snapshot->curcid;
  const bool newest = command == GetCurrentCommandId(false);
  bool stored = await_referencing(query->plannedstmt);
  ListCell* cell;
  foreach (cell, missed_sources(query->plannedstmt))
    if (store_what_is_seen(lfirst_oid(cell), snapshot)) stored = true;
  if (!stored || IsolationUsesXactSnapshot()) return;
  // A later moment of the same statement's beginning. Commands of this transaction that the
  // statement must not see stay unseen.
  query->snapshot = RegisterSnapshot(GetLatestSnapshot());
  if (!newest) query->snapshot->curcid = command;
  UnregisterSnapshot(snapshot);
}

void start(QueryDesc* query, int flags) {
  if (!attachments::names_unbuffered_only(query->plannedstmt->rtable) &&
      (flags & EXEC_FLAG_EXPLAIN_ONLY) == 0 && buffer_ready() && attachments::any() &&
      !IsParallelWorker() && !RecoveryInProgress() && !workers::is_worker())
    freshen(query);
  if (previous_start)
    previous_start(query, flags);
  else
    standard_ExecutorStart(query, flags);
}

}  // namespace

void install_hook() {
  previous_start = ExecutorStart_hook;
  ExecutorStart_hook = start;
}

}  // namespace pgwc::freshness
