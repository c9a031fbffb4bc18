// The plan node that reads a table by key through the row cache: one row for equality of all key
// columns, rows of many keys for = ANY of one of them, also as the inner side of a join. It has no
// plan below it: what is not in the cache it reads by the index itself.
//
// In the plan: custom_private = (plan data), custom_exprs = (values of the key columns, the clauses
// that they come from).
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "nodes/extensible.h"
}

namespace pgwc::cached_scan {

inline constexpr char kName[] = "RowCache";

// Registers the node; from _PG_init.
void init();
const CustomScanMethods* methods();

}  // namespace pgwc::cached_scan
