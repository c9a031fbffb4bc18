#include "pg/write_back/barrier.hpp"

#include <algorithm>

#include "pg/server/shmem.hpp"
#include "pg/write_back/passes.hpp"

extern "C" {
#include "utils/wait_event.h"
}

namespace pgwc::barrier {

namespace {

// A wake-up may be missed by a session that was not asleep yet; then this is the delay.
constexpr long kLookEveryMs = 100;
// So many failures in a row while somebody waits, and the waiter is told.
constexpr std::uint32_t kGiveUpAfter = 3;

// What is waited for: one queue, or all of a database.
struct Scope {
  QueueNo only;  // kNoQueueNo: all
  Oid database;
};

bool is_in(const Scope& scope, QueueNo queue) {
  const QueueView view = buffer().view(queue);
  return (scope.only == kNoQueueNo || queue == scope.only) && view.id != 0 &&
         queue_database(view.id) == scope.database;
}

// Asks for what is old enough, and says whether any of it is still pending.
bool request(const Scope& scope, std::uint64_t seq) {
  if (scope.only != kNoQueueNo)
    return !passes::drained_here(scope.only) && buffer().request(scope.only, seq);
  bool pending = false;
  for (QueueNo q = 0; q < buffer().queue_count(); ++q)
    if (is_in(scope, q) && !passes::drained_here(q) && buffer().request(q, seq)) pending = true;
  return pending;
}

// How long a command waits that can do without.
constexpr std::int64_t kTryForUs = 10'000'000;

struct Failure {
  bool hopeless = false;  // waiting longer will not help
  QueueNo queue = kNoQueueNo;
  char text[kErrorTextSize] = "";
};

// Looks for a table that is waited for and cannot be stored: paused, or failing again and again
// since we wait.
Failure find_failure(const Scope& scope, std::uint64_t seq, TimestampTz since) {
  Failure failure;
  for (QueueNo q = 0; q < buffer().queue_count() && !failure.hopeless; ++q) {
    if (!is_in(scope, q) || !buffer().request(q, seq)) continue;
    const std::uint64_t id = buffer().view(q).id;
    LWLockAcquire(server_lock(), LW_SHARED);
    const QueueStatus& status = server->queues[q];
    // The status of a table that had the slot before says nothing about this one.
    failure.hopeless = status.queue_id == id &&
                       (status.state == QueueState::kPaused ||
                        (status.failures >= kGiveUpAfter && status.last_error_at >= since));
    failure.queue = q;
    strlcpy(failure.text, status.last_error, sizeof(failure.text));
    LWLockRelease(server_lock());
  }
  return failure;
}

[[noreturn]] void raise(const Failure& failure) {
  char* name = get_rel_name(buffer().view(failure.queue).relation);
  ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
          errmsg("could not store the buffered rows of table \"%s\"", name ? name : "?"),
          errdetail("The last error was: %s", failure.text),
          errhint("The rows are kept. Mend the cause and call writecache.alter() for the table to "
                  "try again at once."));
  pg_unreachable();
}

}  // namespace

namespace {

// Waits until nothing up to `seq` is pending, the deadline has passed, or `failure` turns hopeless.
bool wait_or_fail(const Scope& scope, std::uint64_t seq, TimestampTz deadline, Failure* failure) {
  const TimestampTz start = GetCurrentTimestamp();
  DatabaseSlot* database = nullptr;
  while (request(scope, seq)) {
    if (database == nullptr) database = database_slot(scope.database);
    *failure = find_failure(scope, seq, start);
    if (failure->hopeless) return false;
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

}  // namespace

bool wait_stored(QueueNo queue, std::uint64_t seq, TimestampTz deadline) {
  Failure failure;
  const bool stored = wait_or_fail({queue, MyDatabaseId}, seq, deadline, &failure);
  if (failure.hopeless) raise(failure);
  return stored;
}

void try_stored(QueueNo queue, std::uint64_t seq) {
  Failure failure;
  (void)wait_or_fail({queue, MyDatabaseId}, seq, GetCurrentTimestamp() + kTryForUs, &failure);
}

bool try_stored_in(Oid database) {
  Failure failure;
  return wait_or_fail({kNoQueueNo, database}, buffer().last_seq(),
                      GetCurrentTimestamp() + kTryForUs, &failure);
}

}  // namespace pgwc::barrier
