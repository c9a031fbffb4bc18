// Capture of COPY table FROM: PostgreSQL's own reader, its rows staged instead of stored.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "tcop/cmdtag.h"
}

namespace pgwc::capture_copy {

// Does the COPY if it fills a write-back table in a way that can be captured; false: PostgreSQL is
// to do it. May ERROR.
bool try_copy(CopyStmt* statement, const char* query, QueryCompletion* completion);

}  // namespace pgwc::capture_copy
