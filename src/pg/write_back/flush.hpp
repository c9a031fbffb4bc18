// Moving a queue's rows into its table: one transaction holds the rows, the watermark and, by the
// flush xid stored in the records before it commits, the proof that they are there. Whatever is
// interrupted, each row lands once.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::flush {

enum class Outcome : std::uint8_t {
  kStored,   // a batch was stored; there may be more
  kNothing,  // nothing was pending
  kBusy,     // the table is locked against us, or its last failure is too recent
  kGone,     // no such attachment: what was pending is thrown away
  kFailed,   // the error is noted in the queue's status
};

// Stores one batch of a queue in a transaction of its own. For the database's worker, outside any
// transaction. Never ERRORs for reasons of the data; raises what ends the worker (cancellation,
// shutdown).
Outcome store_batch(QueueNo queue);

// Stores everything published for a table in the current transaction. The caller holds a lock that
// keeps writers and the worker away. If the transaction rolls back, the rows are pending again. May
// ERROR.
std::uint64_t drain_here(Relation relation, std::int32_t attachment, QueueNo queue);

// After a start that could not tell which records had been stored: drops those of this queue that
// were, before somebody reads them beside the table. Cheap after any other start. May ERROR.
void drop_what_is_stored(QueueNo queue, std::int32_t attachment);

// The same, but no row goes to the table: all are rejected.
std::uint64_t reject_here(Relation relation, std::int32_t attachment, QueueNo queue);

// The process id of the session with the oldest of the snapshots that keep stored rows of the queue
// in the buffer; 0 if there is none.
int held_back_by(QueueNo queue);

// Frees blocks whose stored rows no snapshot needs from the buffer any more. True if some wait for
// snapshots.
bool release_retired(QueueNo queue);

// Whether the queue's table waits for somebody to mend it.
bool is_paused(QueueNo queue, std::uint64_t queue_id);

// When the queue may be tried again after a failure; long ago if it has not failed, PG_INT64_MAX if
// it is paused.
TimestampTz not_before(QueueNo queue, std::uint64_t queue_id);

// Whether new rows should not join what is pending, because flushes of the table keep failing
// (writecache.pass_through_failures). Cheap while they do not.
bool passes_through(QueueNo queue, std::uint64_t queue_id);

// Keeps rows that are about to be committed out of the queue for a while: a statement that needs
// all rows in the table at once would not come to its turn. `waited_us`: how long it has waited so
// far. Whoever has nothing pending in the queue any more lets them in again.
void hold_commits(QueueNo queue, std::int64_t waited_us);
void release_commits(QueueNo queue);
// Until when rows are kept out; 0 if they are not.
TimestampTz held_until(QueueNo queue);

// Whether this transaction has drained the queue: its rows are stored as far as we are concerned,
// and pending for all others until we commit.
bool drained_here(QueueNo queue);

// How often the worker has found the table locked; for comparison.
std::uint32_t lock_misses(QueueNo queue);

// Asks the worker to wait for the table's lock for once, where it only tries otherwise.
void insist(QueueNo queue);

// Waits, as for a lock, for a worker that does so. Its wait and ours are PostgreSQL's to see: if it
// stands behind a command that waits for us, the deadlock detector lets it pass.
void await_insisting(QueueNo queue);

// Whether this transaction stored rows under `xid`, and by which command.
bool own_pass(TransactionId xid, CommandId* command);

// Lets a table that failed or is paused be tried again, with its new options, once this transaction
// has committed.
void resume(std::int32_t attachment);

// Callbacks that settle drain_here at the end of its transaction; from _PG_init.
void init();

}  // namespace pgwc::flush
