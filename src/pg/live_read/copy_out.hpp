// COPY table TO, and so pg_dump: it reads the table without a plan that buffered rows could be
// added to. Where there may be any, it becomes COPY (SELECT columns FROM ONLY table) TO, as
// PostgreSQL itself does under row security.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace pgwc::copy_out {

// The statement to run instead; the same one for all that need none. May ERROR as COPY would.
PlannedStmt* read_pending(PlannedStmt* planned);

}  // namespace pgwc::copy_out
