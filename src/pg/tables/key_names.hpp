// writecache.attached names the columns of a key, as the user did. They go on meaning the same
// columns when those get other names.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::key_names {

// After a column was changed in any way, before the change is visible to catalog look-ups: the
// place where PostgreSQL calls hooks. May ERROR.
void follow(Oid relation, AttrNumber column);

}  // namespace pgwc::key_names
