// Utility commands that concern attached tables: COPY FROM is captured; DDL that rewrites, moves or
// drops a table first stores what is pending for it; commands that want a database to themselves
// send its flush worker away.
#pragma once

namespace pgwc::utility {

void install_hook();

}  // namespace pgwc::utility
