// What survives a crash: decided when the commit log can be asked, before any transaction commits.
#pragma once

namespace pgwc {

// Decides it, once per start; waits if another process is about to. May ERROR.
void ensure_settled();

}  // namespace pgwc
