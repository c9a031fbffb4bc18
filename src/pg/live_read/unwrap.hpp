// A plan that reads a table and its buffer, when the buffer is empty: then the table's own part of
// the plan is all that is started.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "executor/execdesc.h"
#include "nodes/plannodes.h"
}

namespace pgwc::unwrap {

// Gives the parts of a new plan the column names that its top node has, since one of them may
// become it.
void label(PlannedStmt* statement);

// Installs the hook that starts executors; after those that decide what is pending.
void install_hook();

}  // namespace pgwc::unwrap
