// What an INSERT checks and computes for a row before it stores it; done when the row is staged,
// with PostgreSQL's own messages. Unique, foreign-key and exclusion constraints need the table and
// are left for the flush.
//
// A row of a partitioned table is routed as an INSERT routes it, and checked against its partition.
// The flush routes it again: partitions may have come and gone.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "commands/trigger.h"
#include "executor/execPartition.h"
#include "executor/nodeModifyTable.h"
#include "replication/origin.h"
}

namespace pgwc {

// Lives as long as the statement's executor state.
struct RowCheck {
  EState* estate;
  ResultRelInfo* target;
  ModifyTableState* routing_state;  // for a partitioned table, else null
  PartitionTupleRouting* routing;
  bool triggers_met;  // a row went to a partition with triggers on INSERT
};

// Whether the session replays what happened elsewhere: its triggers and its origin are not the
// flush worker's.
inline bool stores_for_replication() {
  return SessionReplicationRole != SESSION_REPLICATION_ROLE_ORIGIN ||
         replorigin_session_origin != InvalidRepOriginId;
}

void begin_check(RowCheck* check, EState* estate, ResultRelInfo* target);

inline bool has_generated_columns(const ResultRelInfo* target) {
  const TupleConstr* constraints = RelationGetDescr(target->ri_RelationDesc)->constr;
  return constraints != nullptr && constraints->has_generated_stored;
}

// Computes stored generated columns (into the slot, which must then be the caller's own) and checks
// NOT NULL, CHECK and the partition's bounds. May ERROR.
void check_row(RowCheck* check, TupleTableSlot* row);

void end_check(RowCheck* check);

}  // namespace pgwc
