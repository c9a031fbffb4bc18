#include "pg/live_read/freshness.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/live_read/paths.hpp"
#include "pg/live_read/pending_scan.hpp"
#include "pg/live_read/plan_walk.hpp"
#include "pg/live_read/reader.hpp"
#include "pg/live_read/target_rows.hpp"
#include "pg/server/settings.hpp"
#include "pg/server/settle.hpp"
#include "pg/server/shmem.hpp"
#include "pg/server/workers.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/write_back/committed_rows.hpp"
#include "pg/write_back/departures.hpp"
#include "pg/write_back/flush.hpp"
#include "pg/write_back/queue_status.hpp"
#include "pg/write_back/passes.hpp"
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

// The scans by which the plan reads what is pending beside the tables.
List* pending_scans(const PlannedStmt* statement) {
  List* found = NIL;
  const auto visit = [&](const Plan* plan) {
    if (!OidIsValid(pending_scan::source_of(plan))) return true;
    found = lappend(found, const_cast<Plan*>(plan));
    return false;
  };
  walk_plan(statement->planTree, visit);
  walk_plans(statement->subplans, visit);
  return found;
}

// Each entry's parent, of those that stand for partitions and heirs; else 0.
const Index* parents_of_entries(const PlannedStmt* statement) {
  auto* parents = static_cast<Index*>(
      palloc0(sizeof(Index) * (static_cast<std::size_t>(list_length(statement->rtable)) + 1)));
  ListCell* cell;
  foreach (cell, statement->appendRelations) {
    const auto* info = lfirst_node(AppendRelInfo, cell);
    if (OidIsValid(info->parent_reloid)) parents[info->child_relid] = info->parent_relid;
  }
  return parents;
}

bool descends(Index entry, Index from, const Index* parents) {
  while (entry != 0 && entry != from) entry = parents[entry];
  return entry != 0;
}

// A table that is mentioned twice may be read with what is pending in one place and without in the
// other.
bool is_merged(Index entry, Oid source, const List* scans, const Index* parents) {
  const ListCell* cell;
  foreach (cell, scans) {
    const auto* scan = static_cast<const Scan*>(lfirst(cell));
    if (pending_scan::source_of(&scan->plan) == source &&
        (descends(entry, scan->scanrelid, parents) || descends(scan->scanrelid, entry, parents)))
      return true;
  }
  return false;
}

// Who changes or locks rows needs all that are buffered; a mere reader may have switched them off.
bool reads_only(const PlannedStmt* statement) {
  return statement->resultRelations == NIL && statement->rowMarks == NIL;
}

bool is_read(const PlannedStmt* statement, const RangeTblEntry* entry, Index index) {
  return entry->rtekind == RTE_RELATION && entry->relkind != RELKIND_VIEW &&
         entry->relid != storing_into() && !own_rows::is_insert_target_only(statement, index);
}

// Whether the snapshot sees nothing in the buffer for any table of the statement, as is so most of
// the time: then it does not matter what the plan reads.
bool has_nothing_pending(const PlannedStmt* statement, Snapshot snapshot) {
  if (!buffer().settled()) return false;
  const bool reading = reads_only(statement);
  if (reading && !settings::reads_pending()) return true;
  Index index = 0;
  const ListCell* cell;
  foreach (cell, statement->rtable) {
    const auto* entry = lfirst_node(RangeTblEntry, cell);
    ++index;
    if (!is_read(statement, entry, index)) continue;
    const ListCell* source;
    foreach (source, live_read::sources_of(entry->relid, reading)) {
      const Oid relation = lfirst_oid(source);
      Attachment* attachment = attachments::find_write_back(relation);
      if (attachment == nullptr) continue;
      const QueueNo queue = attachments::find_queue(attachment);
      if (queue != kNoQueueNo &&
          !live_read::is_empty(queue, attachment->queue_id(), relation, snapshot))
        return false;
    }
  }
  return true;
}

// An attached table whose buffered rows the statement's plan does not read.
struct Missed {
  Oid source;
  target_rows::Conditions conditions;  // of the rows that it wants, if it mentions the table once
};

List* add_missed(List* missed, const PlannedStmt* statement, Index index, Oid source) {
  const ListCell* cell;
  foreach (cell, missed) {
    auto* known = static_cast<Missed*>(lfirst(cell));
    if (known->source != source) continue;
    known->conditions.quals = NIL;
    return missed;
  }
  auto* added = static_cast<Missed*>(palloc0(sizeof(Missed)));
  added->source = source;
  if (rt_fetch(index, statement->rtable)->relid == source)
    added->conditions = target_rows::conditions_of(statement, index);
  return lappend(missed, added);
}

// All of those; a List of Missed.
List* missed_sources(const PlannedStmt* statement) {
  if (reads_only(statement) && !settings::reads_pending()) return NIL;
  const Index* parents = nullptr;
  const List* scans = NIL;
  List* missed = NIL;
  Index index = 0;
  ListCell* cell;
  foreach (cell, statement->rtable) {
    const auto* entry = lfirst_node(RangeTblEntry, cell);
    ++index;
    if (!is_read(statement, entry, index)) continue;
    const List* sources = live_read::sources_of(entry->relid, reads_only(statement));
    if (sources == NIL) continue;
    if (parents == nullptr) {
      parents = parents_of_entries(statement);
      scans = pending_scans(statement);
    }
    const ListCell* source;
    foreach (source, sources)
      if (!is_merged(index, lfirst_oid(source), scans, parents))
        missed = add_missed(missed, statement, index, lfirst_oid(source));
  }
  return missed;
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

// A statement's wait until the tables hold what its snapshot sees.
struct Wait {
  TimestampTz since = 0;  // 0 if nothing has been waited for
  TimestampTz deadline = 0;
  bool again = false;  // an earlier snapshot has been there before
};

// Stores what the snapshot sees in the buffer. True if the table may hold more now than it sees.
bool store_what_is_seen(const Missed& missed, const QueryDesc* query, Wait* wait) {
  const Oid relation = missed.source;
  Snapshot snapshot = query->snapshot;
  Attachment* attachment = attachments::find_write_back(relation);
  if (attachment == nullptr) return false;
  ensure_settled();
  const std::uint64_t id = attachment->queue_id();
  const QueueNo queue = attachments::find_queue(attachment);
  if (queue == kNoQueueNo || live_read::is_empty(queue, id, relation, snapshot)) return false;
  flush::drop_what_is_stored(queue, attachment->number);
  if (!live_read::sees_any(queue, id, relation, snapshot, false) ||
      !target_rows::may_meet(missed.conditions, relation, queue, id, snapshot, query->params))
    return false;
  if (IsolationUsesXactSnapshot()) raise_unserializable(relation);
  if (wait->again && passes::drained_here(queue)) return false;
  if (wait->since == 0) {
    wait->since = GetCurrentTimestamp();
    wait->deadline = settings::wait_timeout_ms > 0
                         ? TimestampTzPlusMilliseconds(wait->since, settings::wait_timeout_ms)
                         : PG_INT64_MAX;
  }
  if (wait->again) queue_status::hold_commits(queue, GetCurrentTimestamp() - wait->since);
  while (!passes::drained_here(queue) && live_read::sees_any(queue, id, relation, snapshot, true)) {
    if (committed_rows::await_table(relation)) continue;
    if (OidIsValid(storing_into())) return false;  // a batch is in hand
    if (GetCurrentTimestamp() >= wait->deadline) raise_timeout(relation);
    // A transaction is seen a moment before it has a place in the queue that could be waited for.
    pg_usleep(1000);
    CHECK_FOR_INTERRUPTS();
  }
  return true;
}

bool store_missed(const List* missed, const QueryDesc* query, Wait* wait) {
  bool stored = false;
  const ListCell* cell;
  foreach (cell, missed)
    if (store_what_is_seen(*static_cast<const Missed*>(lfirst(cell)), query, wait)) stored = true;
  return stored;
}

void release_commits(const List* missed) {
  const ListCell* cell;
  foreach (cell, missed) {
    const Oid source = static_cast<const Missed*>(lfirst(cell))->source;
    Attachment* attachment = attachments::find_write_back(source);
    const QueueNo queue = attachment != nullptr ? attachments::find_queue(attachment) : kNoQueueNo;
    if (queue != kNoQueueNo && queue_status::held_until(queue) != 0)
      queue_status::release_commits(queue);
  }
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

// Stores what the statement misses, and moves its snapshot on as long as it has had to wait.
void catch_up(QueryDesc* query, const List* missed, bool stored, Wait* wait) {
  const CommandId command = query->snapshot->curcid;
  const bool newest = command == GetCurrentCommandId(false);
  while (store_missed(missed, query, wait) || stored) {
    stored = false;
    if (IsolationUsesXactSnapshot()) return;
    // A later moment of the same statement's beginning. Commands of this transaction that the
    // statement must not see stay unseen. What was committed while we waited is seen now, and may
    // be pending.
    Snapshot earlier = query->snapshot;
    query->snapshot = RegisterSnapshot(GetLatestSnapshot());
    if (!newest) query->snapshot->curcid = command;
    UnregisterSnapshot(earlier);
    wait->again = true;
    CHECK_FOR_INTERRUPTS();
  }
}

// In a function of its own because of what longjmp() does to local variables.
[[gnu::noinline]] void store_with_commits_held(QueryDesc* query, const List* missed, bool stored) {
  Wait wait;
  PG_TRY();
  { catch_up(query, missed, stored, &wait); }
  PG_FINALLY();
  {
    if (wait.again) release_commits(missed);
  }
  PG_END_TRY();
}

void freshen(QueryDesc* query) {
  Snapshot snapshot = query->snapshot;
  if (snapshot == nullptr || !IsMVCCSnapshot(snapshot)) return;
  const bool stored = await_referencing(query->plannedstmt);
  if (!stored && has_nothing_pending(query->plannedstmt, snapshot)) return;
  List* missed = missed_sources(query->plannedstmt);
  if (missed == NIL && !stored) return;
  store_with_commits_held(query, missed, stored);
}

void start(QueryDesc* query, int flags) {
  if ((flags & EXEC_FLAG_EXPLAIN_ONLY) == 0) departures::check(query->plannedstmt, query->snapshot);
  if (buffer_ready()) attachments::catch_up();
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
