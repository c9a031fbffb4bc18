// What an INSERT checks and computes for a row before it stores it; done when the row is staged,
// with PostgreSQL's own messages. Unique, foreign-key and exclusion constraints need the table and
// are left for the flush.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "executor/nodeModifyTable.h"
}

namespace pgwc {

inline bool has_generated_columns(const ResultRelInfo* target) {
  const TupleConstr* constraints = RelationGetDescr(target->ri_RelationDesc)->constr;
  return constraints != nullptr && constraints->has_generated_stored;
}

// Computes stored generated columns (into the slot, which must then be the caller's own) and checks
// NOT NULL, CHECK and the partition's bounds. May ERROR.
inline void check_row(ResultRelInfo* target, TupleTableSlot* row, EState* estate) {
  Relation relation = target->ri_RelationDesc;
  row->tts_tableOid = RelationGetRelid(relation);
  if (has_generated_columns(target)) ExecComputeStoredGenerated(target, estate, row, CMD_INSERT);
  if (RelationGetDescr(relation)->constr != nullptr) ExecConstraints(target, row, estate);
  if (relation->rd_rel->relispartition) ExecPartitionCheck(target, row, estate, true);
}

}  // namespace pgwc
