// Tables that have left the write buffer while there are snapshots that see rows in it and not yet
// in the table. Nothing can show them these rows any more: they get an ERROR, never a wrong answer.
//
// What is known of a table is the newest transaction that stored rows of it, with its epoch, under
// a hash of the table: two tables may be taken for each other, for as long as a snapshot is there
// that is older than the departure of one of them.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::departures {

// The newest transaction that has stored rows of the queue and that a snapshot may not see, this
// one among them; 0 if there is none.
std::uint64_t newest_flush(QueueNo queue, std::uint64_t queue_id);

// Makes it known that rows of the relation that this transaction stored cannot be read elsewhere
// any more. In the commit callback: before the queue is forgotten, and before locks are released.
void announce(Oid relation, std::uint64_t flush) noexcept;

// ERROR if the snapshot needs rows of the relation, or of one that it is a partition of, that have
// left the buffer.
void check(Oid relation, Snapshot snapshot);
// The same for all relations that a statement reads.
void check(const PlannedStmt* statement, Snapshot snapshot);

}  // namespace pgwc::departures
