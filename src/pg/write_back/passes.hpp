// Batches in the hands of the current transaction: finished by its commit, taken back by its
// rollback or that of the savepoint they were taken in. The backend that has them; no lock.
#pragma once

#include "pg/server/shmem.hpp"

namespace pgwc::passes {

// The transaction holds its lock on the table as long as it has the batch, so that nobody else can
// take the frames in between.
struct Pass {
  Pass* next;
  QueueNo queue;
  SubTransactionId owner;
  TransactionId xid;
  CommandId command;  // later commands of the transaction see the rows in the table
  std::uint64_t queue_id;
  std::uint64_t through;
  std::uint64_t rejected;
  std::size_t count;
  FrameRef* frames;
};

// Takes a batch for the current transaction, whose end decides about it from here on. Null if
// nothing is pending. May ERROR.
Pass* take(QueueNo queue, std::uint64_t queue_id, const FlushLimits& limits, Batch* batch);

// Wakes this worker once the transaction has committed, to free what it has stored.
void announce_to(DatabaseSlot* database);

// Whether this transaction has drained the queue: its rows are stored as far as we are concerned,
// and pending for all others until we commit.
bool drained_here(QueueNo queue);

// Whether this transaction stored rows under `xid`, and by which command.
bool own(TransactionId xid, CommandId* command);

// Callbacks at the end of transactions; from _PG_init.
void init();

}  // namespace pgwc::passes
