// Utility commands that concern attached tables: COPY FROM is captured; DDL that rewrites, moves or
// drops a table first stores what is pending for it; commands that want a database to themselves
// send its flush worker away.
#pragma once

namespace pgwc::utility {

// Whether a DDL command is under way. What was pending has been stored before it, so what its
// triggers insert must go to the table at once.
bool is_ddl_running();

void install_hook();

}  // namespace pgwc::utility
