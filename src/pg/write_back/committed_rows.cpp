#include "pg/write_back/committed_rows.hpp"

#include <signal.h>

#include <algorithm>

#include "pg/boundary/compat.hpp"
#include "pg/server/settle.hpp"
#include "pg/server/shmem.hpp"
#include "pg/server/workers.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/write_back/barrier.hpp"
#include "pg/write_back/drain.hpp"
#include "pg/write_back/queue_status.hpp"
#include "pg/write_back/passes.hpp"
#include "pg/write_back/store.hpp"

extern "C" {
#include "commands/trigger.h"
#include "nodes/plannodes.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"
}

namespace pgwc::committed_rows {

namespace {

// How long to wait before looking whether the worker gets the table's lock.
constexpr std::int64_t kLookUs = 100'000;
// It tries every 50 ms. So often in vain, and somebody who waits for a lock, for us perhaps, is
// before it in the queue: then it is asked to wait there, at once and ever more seldom.
constexpr std::uint32_t kLockedOut = 2;
constexpr std::uint32_t kLockedOutForLong = 100;

bool may_change_keys(const PlannedStmt* statement, RangeTblEntry* entry, Relation relation) {
  const Bitmapset* updated = compat::updated_columns(statement, entry);
  if (statement->commandType == CMD_UPDATE && !statement->hasModifyingCTE)
    return bms_overlap(updated, RelationGetIndexAttrBitmap(relation, INDEX_ATTR_BITMAP_KEY));
  return true;
}

// How long a worker may take to give up what it was at.
constexpr int kGivesUpWithinMs = 200;

// The worker's process id if it waits for a lock of this session, maybe on a row; else 0.
pid_t worker_behind_us() {
  const DatabaseSlot* database = own_database();
  if (database == nullptr || !TransactionIdIsValid(GetTopTransactionIdIfAny())) return 0;
  LWLockAcquire(server_lock(), LW_SHARED);
  const pid_t worker = database->running.load() != 0 ? database->worker_pid : 0;
  LWLockRelease(server_lock());
  if (worker == 0) return 0;
  ArrayType* blockers =
      DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids, Int32GetDatum(worker)));
  const auto* pids = reinterpret_cast<const std::int32_t*>(ARR_DATA_PTR(blockers));
  const int count = ArrayGetNItems(ARR_NDIM(blockers), ARR_DIMS(blockers));
  const bool found = std::find(pids, pids + count, MyProcPid) != pids + count;
  pfree(blockers);
  return found ? worker : 0;
}

// What the worker cannot store before this transaction ends is for the transaction to store: takes
// the lock for that, if nobody else is in the way.
void take_over(Oid table, pid_t worker) {
  kill(worker, SIGINT);
  for (int i = 0; i < kGivesUpWithinMs; ++i) {
    if (ConditionalLockRelationOid(table, ShareRowExclusiveLock)) return;
    pg_usleep(1000);
    CHECK_FOR_INTERRUPTS();
  }
}

}  // namespace

bool await_table(Oid table) {
  Attachment* attachment = attachments::find_write_back(table);
  if (attachment == nullptr || !attachments::open_queue(attachment)) return false;
  const QueueNo queue = attachment->queue;
  const std::uint64_t seq = buffer().last_seq();
  if (passes::drained_here(queue) || !buffer().request(queue, seq)) return false;
  ensure_settled();
  const std::uint32_t before = queue_status::lock_misses(queue);
  std::uint32_t insist_at = kLockedOut;
  while (!drain::holds_lock_against_worker(table)) {
    if (barrier::wait_stored(queue, seq, GetCurrentTimestamp() + kLookUs)) return true;
    if (!OidIsValid(storing_into()))
      if (const pid_t worker = worker_behind_us()) {
        take_over(table, worker);
        continue;
      }
    const std::uint32_t misses = queue_status::lock_misses(queue) - before;
    if (misses < kLockedOut) continue;
    if (!OidIsValid(storing_into())) {
      // As a plain statement would wait for it. From here on nobody who waits for a stronger one
      // can get it before us, or before the worker that we wait for.
      LockRelationOid(table, RowExclusiveLock);
      if (misses >= insist_at) {
        queue_status::insist(queue);
        insist_at = 2 * misses;
      }
      queue_status::await_insisting(queue);
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

bool await_referencing(const PlannedStmt* statement, RangeTblEntry* entry) {
  if (!attachments::has_relatives(entry->relid)) return false;
  Relation relation = table_open(entry->relid, NoLock);
  const TriggerDesc* triggers = relation->trigdesc;
  bool waited = false;
  if (triggers != nullptr && may_change_keys(statement, entry, relation))
    for (int i = 0; i < triggers->numtriggers; ++i) {
      const Trigger& trigger = triggers->triggers[i];
      if (RI_FKey_trigger_type(trigger.tgfoid) == RI_TRIGGER_PK &&
          trigger.tgconstrrelid != entry->relid && await_table(trigger.tgconstrrelid))
        waited = true;
    }
  table_close(relation, NoLock);
  return waited;
}

}  // namespace pgwc::committed_rows
