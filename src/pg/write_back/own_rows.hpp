// A transaction sees its own rows: before a statement reads or changes a table for which this
// transaction has staged rows, they are spilled into the table, with the command ids they were
// staged under.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::own_rows {

void install_hook();

// Stores the transaction's rows that a reader of the relation must see: its own, and for a
// partition those staged for what it is a partition of. May ERROR.
void spill_seen_in(Oid relation);

}  // namespace pgwc::own_rows
