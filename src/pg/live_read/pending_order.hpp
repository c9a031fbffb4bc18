// Pending rows in the order of an index, for a query that wants only the first of them.
//
// Sorting all that is pending would cost as much as reading it. The summaries say between which
// values the rows of each block are, in the first column of the order: blocks are taken in the
// order of these bounds, each only when it may have the next row, and their rows are merged in a
// heap. A block about which not enough is known is read at once, and its summary made for the next
// query. When the rows in the heap outgrow work_mem, all that is left is sorted by PostgreSQL.
#pragma once

#include "pg/boundary/pg.hpp"
#include "pg/live_read/source_rows.hpp"

extern "C" {
#include "nodes/execnodes.h"
#include "nodes/pathnodes.h"
}

namespace pgwc::pending_order {

// The order of `pathkeys` for a plan, NIL if rows cannot be taken in it, or if that is no gain.
List* plan(PlannerInfo* root, RelOptInfo* rel, List* pathkeys);

struct Order;

// For a scan whose rows are open, with a reader that makes summaries. In the current memory
// context.
Order* begin(const List* planned, live_read::SourceRows* rows, EState* estate);
// The next row, in `slot`; false after the last one.
bool next(Order* order, TupleTableSlot* slot);
// The reader was restarted.
void restart(Order* order);
void end(Order* order);

// "column", "column DESC" … for EXPLAIN.
const char* describe(const List* planned, Oid relation);

}  // namespace pgwc::pending_order
