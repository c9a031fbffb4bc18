// Waiting for the flush: everything acknowledged up to a position of the buffer is stored.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::barrier {

// Waits until nothing with a sequence number up to `seq` is pending, in one queue or (kNoQueueNo)
// all of this database. Interruptible. False when `deadline` passed. ERROR when the rows cannot be
// stored: a flush failed while we waited.
bool wait_stored(QueueNo queue, std::uint64_t seq, TimestampTz deadline);

// The same for one queue, giving up in silence when a flush fails or the table is locked by
// somebody else.
void try_stored(QueueNo queue, std::uint64_t seq);
// The same for all queues of a database, maybe another one. Whether all of it is stored.
bool try_stored_in(Oid database);

}  // namespace pgwc::barrier
