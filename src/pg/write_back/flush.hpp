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

// The same, but no row goes to the table: all are rejected.
std::uint64_t reject_here(Relation relation, std::int32_t attachment, QueueNo queue);

// After a start that could not tell which records had been stored: drops those of this queue that
// were, before somebody reads them beside the table. Cheap after any other start. May ERROR.
void drop_what_is_stored(QueueNo queue, std::int32_t attachment);

}  // namespace pgwc::flush
