// What EXPLAIN ANALYZE says of a node that reads through the cache: what its leader has counted and
// what the parallel workers have. PostgreSQL gathers only its own counts from workers, and gives
// shared state only to nodes that divide their rows among them, which this node does not.
//
// A leader that explains takes one of a fixed number of places in shared memory until its query
// ends, and workers add to it. Where none is free EXPLAIN shows what the leader counted.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::row_cache::explained {

// Hooks of _PG_init.
void install_shmem_hooks();

// Before the node of this process's query is run. `query` is the query's memory, with which the
// place is given back. May ERROR.
void begin(int plan_node, MemoryContext query);
// At the end of the node in a parallel worker.
void add(int plan_node, const CacheCounters& counters) noexcept;
// What workers have added to the place that begin() took last for the node.
CacheCounters of_workers(int plan_node) noexcept;

}  // namespace pgwc::row_cache::explained
