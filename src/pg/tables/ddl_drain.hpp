// Pending rows that a command must find in their tables: stored by the command's own transaction,
// under its own locks.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "nodes/primnodes.h"
#include "storage/lockdefs.h"
}

namespace pgwc::ddl {

// Whether the user may have rows of the table stored, and locks taken, before a command that is
// checked later.
bool may_change(Oid relation);

// Drains a table that is locked already. All of these may ERROR.
void drain_locked(Oid relation);

// What attached parents took for a partition belongs to it already: locks and drains them.
void drain_ancestors(Oid partition);

// Drains a table named by a command, and the attached tables above and below it. What does not
// exist or is not allowed is left to the command to say.
void drain_named(const RangeVar* name, LOCKMODE lock);

// A partition goes, or becomes a table of its own: for older snapshots its rows in the queues of
// the tables above are nowhere to be read from, or would seem to be the default partition's.
void leave_queues(Oid partition);

}  // namespace pgwc::ddl
