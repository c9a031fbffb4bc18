#include "pg/write_back/barrier.hpp"

#include <algorithm>

#include "pg/server/shmem.hpp"

extern "C" {
#include "utils/wait_event.h"
}

namespace pgwc::barrier {

namespace {

// A wake-up may be missed by a session that was not asleep yet; then this is the delay.
constexpr long kLookEveryMs = 100;
// So many failures in a row while somebody waits, and the waiter is told.
constexpr std::uint32_t kGiveUpAfter = 3;

bool is_mine(QueueNo queue) {
  const QueueView view = buffer().view(queue);
  return view.id != 0 && queue_database(view.id) == MyDatabaseId;
}

// Asks for what is old enough, and says whether any of it is still pending.
bool request(QueueNo only, std::uint64_t seq) {
  if (only != kNoQueueNo) return buffer().request(only, seq);
  bool pending = false;
  for (QueueNo q = 0; q < buffer().queue_count(); ++q)
    if (is_mine(q) && buffer().request(q, seq)) pending = true;
  return pending;
}

struct Failure {
  std::uint32_t failures = 0;
  Oid relation = InvalidOid;
  char text[kErrorTextSize] = "";
};

Failure worst_failure(QueueNo only, TimestampTz since) {
  Failure worst;
  LWLockAcquire(server_lock(), LW_SHARED);
  for (QueueNo q = 0; q < buffer().queue_count(); ++q) {
    if (only != kNoQueueNo && q != only) continue;
    const QueueStatus& status = server->queues[q];
    if (status.failures <= worst.failures || status.last_error_at < since ||
        queue_database(status.queue_id) != MyDatabaseId)
      continue;
    worst.failures = status.failures;
    strlcpy(worst.text, status.last_error, sizeof(worst.text));
    worst.relation = q;
  }
  LWLockRelease(server_lock());
  if (worst.failures > 0) worst.relation = buffer().view(worst.relation).relation;
  return worst;
}

}  // namespace

bool wait_stored(QueueNo queue, std::uint64_t seq, TimestampTz deadline) {
  const TimestampTz start = GetCurrentTimestamp();
  DatabaseSlot* database = nullptr;
  while (request(queue, seq)) {
    if (database == nullptr) database = database_slot(MyDatabaseId);
    const Failure failure = worst_failure(queue, start);
    if (failure.failures >= kGiveUpAfter) {
      char* name = get_rel_name(failure.relation);
      ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
              errmsg("could not store the buffered rows of table \"%s\"", name ? name : "?"),
              errdetail("The last error was: %s", failure.text),
              errhint("The rows are kept and tried again; see writecache.stat_write_back."));
    }
    const TimestampTz now = GetCurrentTimestamp();
    if (now >= deadline) return false;
    ConditionVariablePrepareToSleep(&server->progress);
    if (database != nullptr) wake_worker(database);
    const std::int64_t left_ms =
        deadline == PG_INT64_MAX ? kLookEveryMs : (deadline - now) / 1000 + 1;
    ConditionVariableTimedSleep(&server->progress,
                                std::min<long>(kLookEveryMs, static_cast<long>(left_ms)),
                                PG_WAIT_EXTENSION);
    ConditionVariableCancelSleep();
    CHECK_FOR_INTERRUPTS();
  }
  return true;
}

}  // namespace pgwc::barrier
