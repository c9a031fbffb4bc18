// A transaction sees its own rows: before a statement reads or changes a table for which this
// transaction has staged rows, they are spilled into the table, with the command ids they were
// staged under.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "nodes/plannodes.h"
}

namespace pgwc::own_rows {

void install_hook();

// Stores the transaction's rows that a reader of the relation must see: its own, and for a
// partition those staged for what it is a partition of. May ERROR.
// True if there were any.
bool spill_seen_in(Oid relation);

// Whether this entry of the range table is the target of an INSERT that looks for no conflict:
// such a mention of a table does not read it.
bool is_insert_target_only(const PlannedStmt* statement, Index index);

}  // namespace pgwc::own_rows
