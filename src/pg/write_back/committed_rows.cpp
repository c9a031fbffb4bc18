#include "pg/write_back/committed_rows.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/server/shmem.hpp"
#include "pg/server/workers.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/write_back/barrier.hpp"
#include "pg/write_back/drain.hpp"
#include "pg/write_back/flush.hpp"
#include "pg/write_back/store.hpp"

extern "C" {
#include "catalog/partition.h"
#include "commands/trigger.h"
#include "nodes/plannodes.h"
#include "storage/lmgr.h"
}

namespace pgwc::committed_rows {

namespace {

// How long to wait before looking whether the worker gets the table's lock.
constexpr std::int64_t kLookUs = 100'000;
// It tries every 50 ms. So often in vain, and somebody who waits for a lock, for us perhaps, is
// before it in the queue.
constexpr std::uint32_t kLockedOut = 2;
constexpr std::uint32_t kLockedOutForLong = 100;

// Returns whether rows may have been stored since the statement's snapshot was taken.
bool await_table(Oid table) {
  Attachment* attachment = attachments::find_write_back(table);
  if (attachment == nullptr || !attachments::open_queue(attachment)) return false;
  const QueueNo queue = attachment->queue;
  ensure_settled();
  const std::uint64_t seq = buffer().last_seq();
  // Nothing is pending: but it may have been when the statement's snapshot was taken.
  if (flush::drained_here(queue) || !buffer().request(queue, seq)) return true;
  const std::uint32_t before = flush::lock_misses(queue);
  while (!drain::holds_lock_against_worker(table)) {
    if (barrier::wait_stored(queue, seq, GetCurrentTimestamp() + kLookUs)) return true;
    const std::uint32_t misses = flush::lock_misses(queue) - before;
    if (misses < kLockedOut) continue;
    if (!OidIsValid(storing_into())) {
      // We come before who waits for a lock that we hold already.
      LockRelationOid(table, ShareRowExclusiveLock);
    } else if (misses >= kLockedOutForLong) {
      ereport(ERROR, errcode(ERRCODE_LOCK_NOT_AVAILABLE),
              errmsg("could not store the buffered rows of table \"%s\"", get_rel_name(table)),
              errdetail("Another session keeps the table locked, or waits for it."));
    }
  }
  // Not while a batch is in hand.
  if (OidIsValid(storing_into())) return false;
  (void)drain::drain_table(table);
  return true;
}

// What a partition holds may wait in its parents' queues.
bool await_ancestors(Relation relation) {
  if (!relation->rd_rel->relispartition) return false;
  bool waited = false;
  ListCell* cell;
  foreach (cell, get_partition_ancestors(RelationGetRelid(relation)))
    if (await_table(lfirst_oid(cell))) waited = true;
  return waited;
}

bool may_change_keys(const PlannedStmt* statement, RangeTblEntry* entry, Relation relation) {
  const Bitmapset* updated = compat::updated_columns(statement, entry);
  if (statement->commandType == CMD_UPDATE && !statement->hasModifyingCTE)
    return bms_overlap(updated, RelationGetIndexAttrBitmap(relation, INDEX_ATTR_BITMAP_KEY));
  return true;
}

// Rows that refer to those which the statement deletes or gives another key. They must be in their
// table before: the worker would wait for this transaction to store them.
bool await_referencing(const PlannedStmt* statement, RangeTblEntry* entry, Relation relation) {
  const TriggerDesc* triggers = relation->trigdesc;
  if (triggers == nullptr || statement->commandType == CMD_INSERT ||
      entry->rellockmode < RowExclusiveLock || !may_change_keys(statement, entry, relation))
    return false;
  bool waited = false;
  for (int i = 0; i < triggers->numtriggers; ++i) {
    const Trigger& trigger = triggers->triggers[i];
    if (RI_FKey_trigger_type(trigger.tgfoid) == RI_TRIGGER_PK &&
        trigger.tgconstrrelid != entry->relid && await_table(trigger.tgconstrrelid))
      waited = true;
  }
  return waited;
}

// An INSERT that looks for nothing in its table.
bool is_mere_insert(const PlannedStmt* statement) {
  if (statement->commandType != CMD_INSERT || statement->hasModifyingCTE ||
      statement->rowMarks != NIL)
    return false;
  return !IsA(statement->planTree, ModifyTable) ||
         castNode(ModifyTable, statement->planTree)->onConflictAction == ONCONFLICT_NONE;
}

}  // namespace

void await(QueryDesc* query) {
  const PlannedStmt* statement = query->plannedstmt;
  if ((statement->resultRelations == NIL && statement->rowMarks == NIL) ||
      is_mere_insert(statement) || !buffer_ready() || workers::is_worker())
    return;
  bool waited = false;
  ListCell* cell;
  foreach (cell, statement->rtable) {
    auto* entry = lfirst_node(RangeTblEntry, cell);
    if (entry->rtekind != RTE_RELATION || entry->rellockmode <= AccessShareLock) continue;
    if (await_table(entry->relid)) waited = true;
    if (!compat::is_named(entry) || !attachments::has_relatives(entry->relid)) continue;
    Relation relation = table_open(entry->relid, NoLock);
    if (await_ancestors(relation)) waited = true;
    if (await_referencing(statement, entry, relation)) waited = true;
    table_close(relation, NoLock);
  }
  if (!waited || query->snapshot == InvalidSnapshot) return;
  UnregisterSnapshot(query->snapshot);
  query->snapshot = RegisterSnapshot(GetTransactionSnapshot());
}

}  // namespace pgwc::committed_rows
