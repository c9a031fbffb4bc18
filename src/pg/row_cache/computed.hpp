// Rows of views and foreign tables by key. No place in a table stands behind them, so nothing can
// be proved; a row is as old as the user allows with max_staleness, and no older. Rows are cached
// for each role by itself: what a view or a foreign server shows may depend on who asks.
#pragma once

#include "pg/row_cache/key_arguments.hpp"

extern "C" {
#include "nodes/plannodes.h"
}

namespace pgwc::row_cache {

// The row with this key, a composite value in the current memory context, or false if there is
// none; that, too, is remembered for max_staleness. Computes it at most once at a time; sessions
// that miss it meanwhile wait (at most writecache.compute_wait), or take a row that is about to be
// too old but is not yet. Transactions that have written, and those above READ COMMITTED, compute
// it themselves.
bool get_computed(const CachedKey& key, const KeyArguments& arguments, const Datum* values,
                  Datum* row);

// Notes that this transaction may have written where it needs no transaction id: to foreign tables.
void note_writes();
// The same if the statement writes to a foreign table, or to a table that may have such partitions.
void note_writes(const PlannedStmt* statement);

// Whether rows that this transaction computes are kept: it reads what others would read as well.
bool may_keep_computed();

// Forgets the row with this key, as this role sees it, and one that is being computed.
bool evict_computed(const CachedKey& key, const KeyArguments& arguments, const Datum* values);

}  // namespace pgwc::row_cache
