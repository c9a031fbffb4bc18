// Test-only injection points: places where a test stops or kills the process that gets there.
// Compiled out of releases.
//
// writecache.injection_point names the place, writecache.injection_action says what happens: 'kill'
// (SIGKILL to this process), 'kill_server' (to the postmaster and this process), 'stop' (SIGSTOP to
// this process), 'error' (an ERROR; not in commit callbacks).
#pragma once

#ifdef PGWC_INJECTION

namespace pgwc::injection {

void define_settings();
void reach(const char* point);

}  // namespace pgwc::injection

#define PGWC_INJECT(point) ::pgwc::injection::reach(point)
#else
#define PGWC_INJECT(point) static_cast<void>(0)
#endif
