// Emptying a table's queue for somebody who is about to change the table: DDL, detach, a session
// that holds its lock.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::drain {

// Whether this transaction holds a lock on the table that conflicts with the flush worker's.
bool holds_lock_against_worker(Oid relation);

// Stores the transaction's own staged rows and everything published for the table, in this
// transaction. The caller holds a lock that conflicts with writers'. Returns the rows stored. May
// ERROR.
std::uint64_t drain_table(Oid relation);

// At this transaction's commit: forgets the queue of an attachment; at its rollback: nothing.
// `left_behind`: the table, if it can be read afterwards.
void drop_queue_at_commit(std::int32_t attachment, Oid left_behind = InvalidOid);
// At its commit: rows of the relation are not looked for in the attachment's queue any more, which
// stays.
void leave_queue_at_commit(std::int32_t attachment, Oid relation);
// At its rollback, or that of the subtransaction: forgets the queue of an attachment that it made.
void drop_queue_at_abort(std::int32_t attachment);

void init();

}  // namespace pgwc::drain
