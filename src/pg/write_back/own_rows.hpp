// A transaction sees its own rows: before a statement reads or changes a table for which this
// transaction has staged rows, they are spilled into the table, with the command ids they were
// staged under.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::own_rows {

void install_hook();

}  // namespace pgwc::own_rows
