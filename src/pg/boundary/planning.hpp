// What every hook into planning asks of the planner's structures.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "nodes/pathnodes.h"
}

namespace pgwc {

// Whether the query reads columns that a row has from its place in the table (ctid, xmin, ...; the
// OID of the table only where it is not known beforehand).
bool uses_place(RelOptInfo* rel, Index rti, const RangeTblEntry* entry);

}  // namespace pgwc
