#include "pg/write_back/queue_status.hpp"

#include <algorithm>
#include <cstring>

#include "core/flush_plan.hpp"
#include "pg/boundary/injection.hpp"
#include "pg/server/settings.hpp"
#include "pg/write_back/reject.hpp"

extern "C" {
#include "mb/pg_wchar.h"
#include "storage/proc.h"
}

namespace pgwc::queue_status {

namespace {

// How long commits are held at least, if nobody releases them, and at most.
constexpr std::int64_t kHoldUs = 1'000'000;
constexpr std::int64_t kLongestHoldUs = 30 * kHoldUs;

DatabaseSlot* altered_in = nullptr;  // set if this transaction has changed options

void forget_failures(QueueStatus* status) noexcept {
  status->failures = status->faults = 0;
  status->not_before = 0;
  status->state = QueueState::kActive;
  std::atomic_ref(status->failing_id).store(0, std::memory_order_relaxed);
}

// Whether a failure says something about the table. Who waits for a lock finds the table itself all
// right, and a writer can wait for it as well as we.
bool is_fault(int sqlerrcode) {
  const int category = ERRCODE_TO_CATEGORY(sqlerrcode);
  return sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE && category != ERRCODE_TRANSACTION_ROLLBACK &&
         category != ERRCODE_OPERATOR_INTERVENTION;
}

void xact_callback(XactEvent event, void*) {
  if (altered_in == nullptr) return;
  if (event == XACT_EVENT_COMMIT) {
    altered_in->altered.store(1);
    wake_worker(altered_in);
    PGWC_INJECT("options-altered");
  }
  if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
    altered_in = nullptr;
}

}  // namespace

bool prepare(QueueNo queue, std::uint64_t queue_id, bool* watermark_applied) {
  LWLockAcquire(server_lock(), LW_EXCLUSIVE);
  QueueStatus& status = server->queues[queue];
  if (status.queue_id != queue_id) {
    std::memset(static_cast<void*>(&status), 0, sizeof(status));
    status.queue_id = queue_id;
  }
  *watermark_applied = status.watermark_applied;
  const bool ready = status.not_before <= GetCurrentTimestamp();
  LWLockRelease(server_lock());
  return ready;
}

void note_success(QueueNo queue, std::uint64_t queue_id, std::uint64_t rejected) noexcept {
  LWLockAcquire(server_lock(), LW_EXCLUSIVE);
  QueueStatus& status = server->queues[queue];
  if (status.queue_id == queue_id) {
    status.last_flush = GetCurrentTimestamp();
    forget_failures(&status);
    status.rows_rejected += rejected;
  }
  LWLockRelease(server_lock());
  ConditionVariableBroadcast(&server->progress);
}

void note_failure(QueueNo queue, std::uint64_t queue_id, const ErrorData* error) {
  char* text =
      psprintf("%s: %s", unpack_sql_state(error->sqlerrcode), error->message ? error->message : "");
  // Half a character is none.
  text[pg_mbcliplen(text, static_cast<int>(strlen(text)), kErrorTextSize - 1)] = '\0';
  LWLockAcquire(server_lock(), LW_EXCLUSIVE);
  QueueStatus& status = server->queues[queue];
  if (status.queue_id == queue_id) {
    status.last_error_at = GetCurrentTimestamp();
    ++status.failures;
    if (is_fault(error->sqlerrcode)) {
      ++status.faults;
      std::atomic_ref(status.failing_id).store(queue_id, std::memory_order_relaxed);
    }
    const bool broken = reject::kind_of(error->sqlerrcode) == reject::ErrorKind::kBroken;
    status.state = broken ? QueueState::kPaused : QueueState::kRetrying;
    status.not_before = broken ? PG_INT64_MAX : status.last_error_at + back_off_us(status.failures);
    strlcpy(status.last_error, text, sizeof(status.last_error));
  }
  LWLockRelease(server_lock());
  ConditionVariableBroadcast(&server->progress);
}

void last_error(QueueNo queue, std::uint64_t queue_id, char (&text)[kErrorTextSize]) {
  text[0] = '\0';
  LWLockAcquire(server_lock(), LW_SHARED);
  const QueueStatus& status = server->queues[queue];
  if (status.queue_id == queue_id && status.failures > 0)
    strlcpy(text, status.last_error, sizeof(text));
  LWLockRelease(server_lock());
}

bool is_paused(QueueNo queue, std::uint64_t queue_id) {
  LWLockAcquire(server_lock(), LW_SHARED);
  const QueueStatus& status = server->queues[queue];
  const bool paused = status.queue_id == queue_id && status.state == QueueState::kPaused;
  LWLockRelease(server_lock());
  return paused;
}

TimestampTz not_before(QueueNo queue, std::uint64_t queue_id) {
  LWLockAcquire(server_lock(), LW_SHARED);
  const QueueStatus& status = server->queues[queue];
  const TimestampTz time = status.queue_id == queue_id ? status.not_before : 0;
  LWLockRelease(server_lock());
  return time;
}

bool passes_through(QueueNo queue, std::uint64_t queue_id) {
  QueueStatus& status = server->queues[queue];
  if (settings::pass_through_failures == 0 ||
      std::atomic_ref(status.failing_id).load(std::memory_order_relaxed) != queue_id)
    return false;
  LWLockAcquire(server_lock(), LW_SHARED);
  const bool passes =
      status.queue_id == queue_id &&
      (status.state == QueueState::kPaused ||
       status.faults >= static_cast<std::uint32_t>(settings::pass_through_failures));
  LWLockRelease(server_lock());
  return passes;
}

void resume(std::int32_t attachment) {
  const std::uint64_t queue_id =
      make_queue_id(MyDatabaseId, static_cast<std::uint32_t>(attachment));
  LWLockAcquire(server_lock(), LW_EXCLUSIVE);
  for (QueueNo q = 0; q < buffer().queue_count(); ++q) {
    QueueStatus& status = server->queues[q];
    if (status.queue_id != queue_id) continue;
    forget_failures(&status);
  }
  LWLockRelease(server_lock());
  altered_in = database_slot(MyDatabaseId);
}

void hold_commits(QueueNo queue, std::int64_t waited_us) {
  // Twice what a flush took is enough for those who are let in between to be stored.
  const std::int64_t us = std::clamp(2 * waited_us, kHoldUs, kLongestHoldUs);
  std::atomic_ref(server->queues[queue].held_until)
      .store(GetCurrentTimestamp() + us, std::memory_order_relaxed);
}

void release_commits(QueueNo queue) {
  std::atomic_ref(server->queues[queue].held_until).store(0, std::memory_order_relaxed);
  ConditionVariableBroadcast(&server->progress);
}

TimestampTz held_until(QueueNo queue) {
  const TimestampTz until =
      std::atomic_ref(server->queues[queue].held_until).load(std::memory_order_relaxed);
  return until != 0 && GetCurrentTimestamp() < until ? until : 0;
}

bool note_lock_miss(QueueNo queue, std::uint64_t queue_id) {
  LWLockAcquire(server_lock(), LW_EXCLUSIVE);
  QueueStatus& status = server->queues[queue];
  ++status.lock_misses;
  const bool insisted = status.queue_id == queue_id && status.insist;
  status.insist = false;
  if (insisted) GET_VXID_FROM_PGPROC(status.insisting, *MyProc);
  LWLockRelease(server_lock());
  if (DatabaseSlot* database = database_slot(MyDatabaseId))
    database->locked_out.store(GetCurrentTimestamp());
  if (insisted) ConditionVariableBroadcast(&server->progress);
  return insisted;
}

std::uint32_t lock_misses(QueueNo queue) {
  LWLockAcquire(server_lock(), LW_SHARED);
  const std::uint32_t misses = server->queues[queue].lock_misses;
  LWLockRelease(server_lock());
  return misses;
}

void insist(QueueNo queue) {
  LWLockAcquire(server_lock(), LW_EXCLUSIVE);
  server->queues[queue].insist = true;
  LWLockRelease(server_lock());
}

void await_insisting(QueueNo queue) {
  LWLockAcquire(server_lock(), LW_SHARED);
  const VirtualTransactionId waiting = server->queues[queue].insisting;
  LWLockRelease(server_lock());
  // At once if that transaction is over.
  if (VirtualTransactionIdIsValid(waiting)) (void)VirtualXactLock(waiting, true);
}

void init() { RegisterXactCallback(xact_callback, nullptr); }

}  // namespace pgwc::queue_status
