// A row by key through SQL, for what cannot be read by an index at once: partitioned tables, views,
// foreign tables, tables with row-level security.
#pragma once

#include "pg/row_cache/key_arguments.hpp"

namespace pgwc::row_cache {

// Runs `SELECT t FROM relation t WHERE <key> = <values>` as the current user with a plan that the
// session keeps. False if there is no row; ERROR 21000 if there are several. The row is a composite
// value in the current memory context.
bool query_row(const CachedKey& key, const KeyArguments& arguments, const Datum* values,
               Datum* row);
// Whether that query, which has been run, reads foreign tables.
bool query_is_remote(Oid relation);

}  // namespace pgwc::row_cache
