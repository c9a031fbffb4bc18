// Planning: every path of a write-back table becomes an Append, or a MergeAppend where it has an
// order, of itself and a scan of what is pending.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::live_read {

void install_planner_hooks();

// The attached relations whose buffer may hold rows of this one: itself, and what it is a partition
// of. A List of Oid, NIL for nearly all. `readable`: without those whose option read_pending is
// off.
List* sources_of(Oid relation, bool readable);

}  // namespace pgwc::live_read
