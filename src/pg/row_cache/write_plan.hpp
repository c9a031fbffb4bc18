// INSERT, UPDATE, DELETE (and MERGE where it can return rows, from 17 on) of tables of the modes
// write_through and cache_aside: a plan node on top of PostgreSQL's own, which has it return the
// place of each row that was written and notes it (written.hpp). Nothing else about the statement
// changes. Where the node would do nothing else, and no EXPLAIN shows it, it is left out when the
// statement is executed: its own preparations would cost more than its work. What is written in
// other ways (COPY, WITH, logical replication) is written around the cache.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "nodes/plannodes.h"
}

namespace pgwc::row_cache::write_plan {

inline constexpr char kName[] = "RowCacheWrite";

// Makes the node known; from _PG_init.
void init();
void install_hook();
// Puts the node on top of the plan if it writes to such a table. From the planner hook. May ERROR.
void wrap(PlannedStmt* statement);

}  // namespace pgwc::row_cache::write_plan
