// Planning: queries that name all key columns of a cached table get a path through the row cache.
#pragma once

namespace pgwc::row_cache {

// Chains set_rel_pathlist_hook; from _PG_init, after the hooks that wrap paths (they are called in
// reverse).
void install_planner_hook();

}  // namespace pgwc::row_cache
