// The plan node that adds a table's buffered rows to what its own scan returns.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "nodes/pathnodes.h"
#include "nodes/plannodes.h"
}

namespace pgwc::pending_scan {

void init();

// A path over the rows that are pending for `source`, which is the relation itself or one that it
// is a partition of. Rows come in the order of the pathkeys if the path has any, which is for it to
// say; the relation's restrictions are checked.
Path* make_path(PlannerInfo* root, RelOptInfo* rel, Oid source, Relids required_outer,
                List* wanted_order);

// How many rows are pending for a table, of any transaction: for estimates.
double pending_rows(Oid source);
// Which part of a relation's rows so many are, by its estimates; at most 1.
double share_of(const RelOptInfo* rel, double rows);

// The source of a plan node made of such a path; InvalidOid for any other node.
Oid source_of(const Plan* plan);

}  // namespace pgwc::pending_scan
