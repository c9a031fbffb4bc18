// What can be attached to a mode that caches rows.
#pragma once

#include "pg/tables/attachment.hpp"

namespace pgwc::row_cache {

// ERROR if the relation's rows cannot be cached in this mode. `key` is a text[] or 0 for the
// primary key; `has_staleness`: max_staleness is given.
void check_attachable(Relation relation, Mode mode, Datum key, bool has_staleness);

}  // namespace pgwc::row_cache
