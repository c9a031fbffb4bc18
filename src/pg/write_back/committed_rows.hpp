// A statement that changes or locks rows of a table sees every row committed before it began: it
// waits until those that are pending are stored, and looks at the table as it is then. UPDATE,
// DELETE, MERGE, SELECT FOR UPDATE and SHARE, which foreign keys use to look for their referenced
// row, and INSERT ... ON CONFLICT.
//
// In repeatable read and serializable transactions the snapshot is older than the flush: there the
// rows that were pending when it was taken are not seen.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "executor/execdesc.h"
}

namespace pgwc::committed_rows {

// Called before an executor starts. Waits, interruptibly; may ERROR. Gives the query a new snapshot
// if it had to wait.
void await(QueryDesc* query);

}  // namespace pgwc::committed_rows
