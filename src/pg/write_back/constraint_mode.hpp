// Deferred constraints of a table whose buffered rows are stored.
//
// A flush is restricted to what the table's owner may do, and PostgreSQL refuses to queue a
// deferred trigger there. Its batch is one statement, so that checking at the statement's end is
// what a deferred constraint is for: rows of a batch may refer to each other in any order.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::constraint_mode {

// As SET CONSTRAINTS ALL IMMEDIATE, for a transaction of the flush worker's own.
void all_immediate();

// As SET CONSTRAINTS IMMEDIATE (DEFERRED) for the deferrable (initially deferred) constraints of
// the table and its partitions, in a transaction that has other things to do.
void immediate(Relation relation);
void restore(Relation relation);

}  // namespace pgwc::constraint_mode
