#include "pg/write_back/retired.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/boundary/injection.hpp"
#include "pg/server/shmem.hpp"
#include "pg/write_back/snapshots.hpp"

extern "C" {
#include "access/xlog.h"
}

namespace pgwc::retired {

int held_back_by(QueueNo queue) {
  RetiredBatch batches[kRetiredSlots];
  if (buffer().retired(queue, batches) == 0) return 0;
  int count;
  VirtualTransactionId* holders = snapshots::holders_of(batches[0].flush_xid, &count);
  int pid = 0;
  TransactionId oldest = InvalidTransactionId;
  for (int i = 0; i < count; ++i) {
    // Read without a lock: it may be a snapshot later by now, or another session's.
    const PGPROC* process = compat::process_of(holders[i]);
    if (process == nullptr) continue;
    const TransactionId xmin = process->xmin;
    if (!TransactionIdIsValid(xmin) ||
        (TransactionIdIsValid(oldest) && !TransactionIdPrecedes(xmin, oldest)))
      continue;
    oldest = xmin;
    pid = process->pid;
  }
  pfree(holders);
  return pid;
}

bool release(QueueNo queue) {
  RetiredBatch batches[kRetiredSlots];
  const std::size_t count = buffer().retired(queue, batches);
  std::uint64_t free_through = 0;
  std::size_t i = 0;
  const bool full = running_full();
  for (; i < count; ++i) {
    if (batches[i].lsn > static_cast<std::uint64_t>(GetFlushRecPtr(nullptr))) break;
    if (snapshots::need(batches[i].flush_xid, batches[i].finished_us, full)) break;
    free_through = batches[i].batch;
  }
  if (free_through > 0) PGWC_INJECT("before-free");
  if (free_through > 0 && buffer().reclaim(queue, free_through) > 0)
    ConditionVariableBroadcast(&server->progress);
  if (free_through > 0) PGWC_INJECT("after-free");
  return i < count;
}

}  // namespace pgwc::retired
