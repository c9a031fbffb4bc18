// Waiting until what was acknowledged for a table is stored, for a session that is about to change
// or lock its rows and may itself be what the flush worker waits for.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "nodes/plannodes.h"
}

namespace pgwc::committed_rows {

// Waits, interruptibly, until everything published for the table is stored; stores it here where
// the worker cannot get at the table. Returns whether anything was pending. May ERROR.
bool await_table(Oid table);

// The same for the tables whose rows refer to those which the statement deletes or gives another
// key. They must be in their table before: the worker would wait for this transaction to store
// them.
bool await_referencing(const PlannedStmt* statement, RangeTblEntry* entry);

}  // namespace pgwc::committed_rows
