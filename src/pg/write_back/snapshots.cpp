#include "pg/write_back/snapshots.hpp"

#include "pg/boundary/compat.hpp"

extern "C" {
#include "storage/procarray.h"
#include "utils/backend_status.h"
}

namespace pgwc::snapshots {

namespace {

// What begins a statement before the batch is stored has this long to end.
constexpr std::int64_t kShortUs = 10'000'000;

// Whether something that began then can have a snapshot from before the batch was stored, and is
// still short.
bool may_need(TimestampTz began, TimestampTz finished, TimestampTz now) {
  return began <= finished && now - began < kShortUs;
}

bool holds(const PgBackendStatus& status, TimestampTz finished, TimestampTz now) {
  // Nothing is known with track_activities off.
  if (status.st_xact_start_timestamp == 0) return true;
  return may_need(status.st_xact_start_timestamp, finished, now) ||
         may_need(status.st_activity_start_timestamp, finished, now);
}

bool any_short(const VirtualTransactionId* holders, int count, TimestampTz finished) {
  const TimestampTz now = GetCurrentTimestamp();
  if (now - finished >= kShortUs) return false;
  bool found = false;
  for (int h = 0; h < count && !found; ++h) {
    const PGPROC* proc = compat::process_of(holders[h]);
    const int pid = proc == nullptr ? 0 : proc->pid;
    if (pid == 0) continue;
    found = true;
    for (int i = 1; i <= pgstat_fetch_stat_numbackends(); ++i) {
      const PgBackendStatus& status = compat::local_status(i)->backendStatus;
      if (status.st_procpid != pid) continue;
      found = holds(status, finished, now);
      break;
    }
  }
  pgstat_clear_backend_activity_snapshot();
  return found;
}

}  // namespace

VirtualTransactionId* holders_of(TransactionId flush_xid, int* count) {
  return GetCurrentVirtualXIDs(flush_xid, true, false, PROC_IS_AUTOVACUUM | PROC_IN_VACUUM, count);
}

bool need(TransactionId flush_xid, TimestampTz finished, bool short_only) {
  int count;
  VirtualTransactionId* holders = holders_of(flush_xid, &count);
  const bool needed = count > 0 && (!short_only || any_short(holders, count, finished));
  pfree(holders);
  return needed;
}

}  // namespace pgwc::snapshots
