// Functions that name a relation by its row type, NULL::table, and return rows of it.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc {

// The relation whose row type the first argument has, or an ERROR.
Oid relation_of_type(FunctionCallInfo fcinfo);

// ERROR unless the current user may read every column.
void require_select(Oid relation);

}  // namespace pgwc
