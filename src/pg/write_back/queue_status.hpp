// How the flushes of a queue fare, as all sessions see it: failures and the time to try again, who
// waits for the table's lock, and commits that are held back. Beside the frames, which are the
// core's; lost at a restart. Any process; none of it may ERROR unless it is said.
#pragma once

#include "pg/server/shmem.hpp"

namespace pgwc::queue_status {

// A slot may have changed hands since; then its status starts afresh. Returns whether the queue may
// be tried now.
bool prepare(QueueNo queue, std::uint64_t queue_id, bool* watermark_applied);

void note_success(QueueNo queue, std::uint64_t queue_id, std::uint64_t rejected) noexcept;
void note_failure(QueueNo queue, std::uint64_t queue_id, const ErrorData* error);

// The last error since the queue's last success, or an empty text.
void last_error(QueueNo queue, std::uint64_t queue_id, char (&text)[kErrorTextSize]);

// Whether the queue's table waits for somebody to mend it.
bool is_paused(QueueNo queue, std::uint64_t queue_id);

// When the queue may be tried again after a failure; long ago if it has not failed, PG_INT64_MAX if
// it is paused.
TimestampTz not_before(QueueNo queue, std::uint64_t queue_id);

// Whether new rows should not join what is pending, because flushes of the table keep failing
// (writecache.pass_through_failures). Cheap while they do not.
bool passes_through(QueueNo queue, std::uint64_t queue_id);

// Lets a table that failed or is paused be tried again, with its new options, once this transaction
// has committed.
void resume(std::int32_t attachment);

// Keeps rows that are about to be committed out of the queue for a while: a statement that needs
// all rows in the table at once would not come to its turn. `waited_us`: how long it has waited so
// far. Whoever has nothing pending in the queue any more lets them in again.
void hold_commits(QueueNo queue, std::int64_t waited_us);
void release_commits(QueueNo queue);
// Until when rows are kept out; 0 if they are not.
TimestampTz held_until(QueueNo queue);

// Notes that the table is locked against the worker. Whether somebody insists; then it is said who
// waits for the lock from here on.
bool note_lock_miss(QueueNo queue, std::uint64_t queue_id);
// How often the worker has found the table locked; for comparison.
std::uint32_t lock_misses(QueueNo queue);

// Asks the worker to wait for the table's lock for once, where it only tries otherwise.
void insist(QueueNo queue);

// Waits, as for a lock, for a worker that does so. Its wait and ours are PostgreSQL's to see: if it
// stands behind a command that waits for us, the deadlock detector lets it pass. May ERROR.
void await_insisting(QueueNo queue);

// The callback of resume(); from _PG_init.
void init();

}  // namespace pgwc::queue_status
