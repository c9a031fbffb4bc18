// Test-only injection points: places where a test stops or kills the process that gets there.
// Compiled out of releases.
//
// writecache.injection_point names the place, writecache.injection_action says what happens: 'kill'
// (SIGKILL to this process), 'kill_server' (to the postmaster and this process), 'stop' (SIGSTOP to
// this process), 'error' (an ERROR; not in commit callbacks).
#pragma once

#ifdef PGWC_INJECTION

#include <cstddef>

namespace pgwc::injection {

void define_settings();
void reach(const char* point);
// What a power loss would leave of the file at least: a copy of it, brought up to date at each
// sync, at the place that the environment variable PGWC_TEST_SYNCED names.
void keep_synced(const std::byte* data, std::size_t from, std::size_t bytes);

}  // namespace pgwc::injection

#define PGWC_INJECT(point) ::pgwc::injection::reach(point)
#define PGWC_KEEP_SYNCED(data, from, bytes) ::pgwc::injection::keep_synced(data, from, bytes)
#else
#define PGWC_KEEP_SYNCED(data, from, bytes) static_cast<void>(0)
#define PGWC_INJECT(point) static_cast<void>(0)
#endif
