// Statements that cannot read the buffer beside the table: UPDATE, DELETE, MERGE, SELECT ... FOR
// UPDATE, foreign-key checks, ON CONFLICT, system columns, TABLESAMPLE. What was committed before
// such a statement began is stored before it runs.
#pragma once

namespace pgwc::freshness {

void install_hook();

}  // namespace pgwc::freshness
