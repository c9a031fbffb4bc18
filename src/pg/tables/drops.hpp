// What is dropped: tables with their attachments and queues, partitions whose attached parents
// stay, the extension.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace pgwc::ddl {

// Before the command: drains what outlives it, or what nobody will know of any more. May ERROR.
void before_drop(const DropStmt* drop);
void before_drop_owned(const DropOwnedStmt* drop);

// Before a table or a column goes, by whatever command. May ERROR.
void dropped(Oid relation, int column);

}  // namespace pgwc::ddl
