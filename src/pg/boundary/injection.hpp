// Test-only injection points: places where a test stops or kills the process that gets there.
// Compiled out of releases.
//
// writecache.injection_point names the place, writecache.injection_action says what happens: 'kill'
// (SIGKILL to this process), 'kill_server' (to the postmaster and this process), 'stop' (SIGSTOP to
// this process), 'error' (an ERROR; not in commit callbacks).
#pragma once

#ifdef PGWC_INJECTION

#include <sys/types.h>

#include <cstddef>
#include <span>

namespace pgwc::injection {

void define_settings();
void reach(const char* point);
// Does half of what comes next, then reaches "half-copied".
void copy_half(std::span<const std::byte> place, const void* from);
// Whether a sync is to fail: while there is a file at the place that PGWC_TEST_SYNC_FAILS names.
bool fails_to_sync();
// What a power loss would leave of the file at least: a copy of it, brought up to date at each
// sync, at the place that the environment variable PGWC_TEST_SYNCED names.
void keep_synced(const std::byte* data, std::size_t from, std::size_t bytes);
// pread(), but the pages at the places that PGWC_TEST_UNREADABLE lists cannot be read.
ssize_t read_at(int fd, void* to, std::size_t bytes, off_t at);

}  // namespace pgwc::injection

#define PGWC_INJECT(point) ::pgwc::injection::reach(point)
#define PGWC_KEEP_SYNCED(data, from, bytes) ::pgwc::injection::keep_synced(data, from, bytes)
#define PGWC_HALF_COPIED(place, from) ::pgwc::injection::copy_half(place, from)
#define PGWC_FAILS_TO_SYNC() ::pgwc::injection::fails_to_sync()
#define PGWC_READ_AT ::pgwc::injection::read_at
#else
#define PGWC_HALF_COPIED(place, from) static_cast<void>(0)
#define PGWC_FAILS_TO_SYNC() false
#define PGWC_READ_AT ::pread
#define PGWC_KEEP_SYNCED(data, from, bytes) static_cast<void>(0)
#define PGWC_INJECT(point) static_cast<void>(0)
#endif
