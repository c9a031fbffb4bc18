// What the end of a transaction does with its staged rows: PRE_COMMIT reserves room in the write
// buffer and copies (may wait, may ERROR), COMMIT publishes (cannot fail), an abort gives the room
// back.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::publish {

// Registers the transaction callbacks; from _PG_init.
void init();

}  // namespace pgwc::publish
