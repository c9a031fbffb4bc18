// Statements that change, lock or look at the place of rows need what is buffered in the table;
// unless their conditions say that no buffered row is among those rows. `UPDATE … WHERE key = $1`
// then leaves the rest of the buffer alone.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::target_rows {

// What rows must meet to be read from a table that the statement mentions.
struct Conditions {
  Index entry;        // of the range table
  const List* quals;  // `column operator value`; NIL: nothing is known
};

// Those of a finished plan. NIL also where buffered rows count otherwise: in what is to stay
// unique.
Conditions conditions_of(const PlannedStmt* statement, Index entry);

// Whether a row that the snapshot sees in the buffer only may meet them. Needs the lock that the
// statement has on the table. May ERROR.
bool may_meet(const Conditions& conditions, Oid relation, QueueNo queue, std::uint64_t queue_id,
              Snapshot snapshot, ParamListInfo parameters);

}  // namespace pgwc::target_rows
