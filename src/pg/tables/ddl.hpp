// DDL on attached tables. Rows that are pending were made for the table as it was; a command that
// changes the table stores them first, in its own transaction and under its own lock, so that they
// are converted, moved, truncated or checked with the rest. If the command rolls back, they are
// pending again.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "nodes/nodes.h"
}

namespace pgwc::ddl {

// Drains what the command is going to change. Takes the locks that the command would take. May
// ERROR.
void before(Node* statement);

// After a command that was let through: attached tables learn of new triggers of their partitions.
void after(Node* statement);

// Notices dropped tables: their attachment and queue go with them.
void install_hook();

}  // namespace pgwc::ddl
