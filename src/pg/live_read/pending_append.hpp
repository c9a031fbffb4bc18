// An Append of a partition's own scan and what is pending for it. Core's Append would do, but as
// part of a partitioned table's plan it would look for partitions to prune where there are none.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "nodes/pathnodes.h"
#include "nodes/plannodes.h"
}

namespace pgwc::pending_append {

void init();

// `parts` are paths of `rel` with the same parameters, in no order.
Path* make_path(RelOptInfo* rel, List* parts);

}  // namespace pgwc::pending_append
