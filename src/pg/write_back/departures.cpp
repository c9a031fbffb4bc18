#include "pg/write_back/departures.hpp"

#include "pg/server/shmem.hpp"
#include "pg/write_back/own_rows.hpp"
#include "pg/write_back/passes.hpp"

extern "C" {
#include "catalog/partition.h"
}

namespace pgwc::departures {

namespace {

constexpr int kSnapshotTooOld = MAKE_SQLSTATE('7', '2', '0', '0', '0');

std::uint64_t with_epoch(TransactionId xid) {
  const std::uint64_t next = U64FromFullTransactionId(ReadNextFullTransactionId());
  return next - (static_cast<TransactionId>(next) - xid);
}

std::atomic<std::uint64_t>& place_of(Oid relation) {
  return server->departed[mix(std::uint64_t{MyDatabaseId} << 32 | relation) % kDepartures];
}

void raise_to(std::atomic<std::uint64_t>& value, std::uint64_t least) noexcept {
  std::uint64_t found = value.load();
  while (found < least && !value.compare_exchange_weak(found, least)) {
  }
}

bool is_unseen(std::uint64_t flush, Snapshot snapshot) {
  const auto xid = static_cast<TransactionId>(flush);
  if (flush == 0 || TransactionIdPrecedes(xid, snapshot->xmin)) return false;
  // The id has come round since.
  if (U64FromFullTransactionId(ReadNextFullTransactionId()) - flush > PG_INT32_MAX) return false;
  return XidInMVCCSnapshot(xid, snapshot);
}

// Whether any table has left that the snapshot may need. The way out of nearly all callers.
bool may_need_any(Snapshot snapshot) {
  if (server == nullptr || snapshot == nullptr || !IsMVCCSnapshot(snapshot)) return false;
  const std::uint64_t newest = server->newest_departure.load();
  return newest != 0 && !TransactionIdPrecedes(static_cast<TransactionId>(newest), snapshot->xmin);
}

void check_one(Oid relation, Snapshot snapshot) {
  if (!is_unseen(place_of(relation).load(), snapshot)) return;
  char* name = get_rel_name(relation);
  ereport(ERROR, errcode(kSnapshotTooOld),
          errmsg("snapshot too old for the buffered rows of table \"%s\"", name ? name : "?"),
          errdetail("They were stored after the snapshot was taken, and the table was detached."),
          errhint("Run the transaction again."));
}

}  // namespace

std::uint64_t newest_flush(QueueNo queue, std::uint64_t queue_id) {
  if (queue == kNoQueueNo || !buffer().is_queue(queue, queue_id)) return 0;
  if (passes::drained_here(queue)) return with_epoch(GetTopTransactionId());
  RetiredBatch retired[kRetiredSlots];
  const std::size_t count = buffer().retired(queue, retired);
  if (count > 0) return with_epoch(retired[count - 1].flush_xid);
  TransactionId freed_xid;
  (void)buffer().is_empty(queue, queue_id, &freed_xid);
  return TransactionIdIsNormal(freed_xid) ? with_epoch(freed_xid) : 0;
}

void announce(Oid relation, std::uint64_t flush) noexcept {
  raise_to(place_of(relation), flush);
  raise_to(server->newest_departure, flush);
}

void check(Oid relation, Snapshot snapshot) {
  if (!may_need_any(snapshot)) return;
  check_one(relation, snapshot);
  if (!get_rel_relispartition(relation)) return;
  ListCell* cell;
  foreach (cell, get_partition_ancestors(relation)) check_one(lfirst_oid(cell), snapshot);
}

void check(const PlannedStmt* statement, Snapshot snapshot) {
  if (!may_need_any(snapshot)) return;
  Index index = 0;
  ListCell* cell;
  foreach (cell, statement->rtable) {
    const auto* entry = lfirst_node(RangeTblEntry, cell);
    ++index;
    if (entry->rtekind == RTE_RELATION && !own_rows::is_insert_target_only(statement, index))
      check(entry->relid, snapshot);
  }
}

}  // namespace pgwc::departures
