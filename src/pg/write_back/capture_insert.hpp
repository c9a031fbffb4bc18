// Capture of INSERT: a custom scan node over ModifyTable. At execution it either stages the rows of
// ModifyTable's input in its place, or steps aside and lets ModifyTable do it; which one is decided
// anew at every execution.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "nodes/plannodes.h"
}

namespace pgwc::capture_insert {

// Registers the node; from _PG_init.
void init();

// Puts the node on top of a plan that inserts into a write-back table in a way that can be
// captured. From the planner hook; may ERROR.
void wrap_plan(PlannedStmt* statement);

}  // namespace pgwc::capture_insert
