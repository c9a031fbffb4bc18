#include <algorithm>
#include <cstring>

#include "core/flush_plan.hpp"
#include "pg/boundary/compat.hpp"
#include "pg/boundary/injection.hpp"
#include "pg/server/settings.hpp"
#include "pg/server/settle.hpp"
#include "pg/server/shmem.hpp"
#include "pg/server/workers.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/tables/catalog.hpp"
#include "pg/write_back/flush.hpp"
#include "pg/write_back/retired.hpp"
#include "pg/write_back/queue_status.hpp"

extern "C" {
#include "utils/syscache.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/wait_event.h"
}

namespace pgwc::workers {

namespace {

// How long a worker with nothing to do stays, and how often one whose blocks wait for a snapshot
// looks again.
constexpr std::int64_t kIdleUs = 10'000'000;
constexpr std::int64_t kSnapshotLookUs = 200'000;
constexpr std::int64_t kTurnUs = 500'000;
constexpr std::int64_t kRetryAfterFailureUs = 1'000'000;

DatabaseSlot* my_slot = nullptr;

// When the next queue of the database wants attention; kNever if nothing is left in the buffer.
TimestampTz next_due(TimestampTz now) {
  const bool hurry = running_full();
  TimestampTz next = kNever;
  for (QueueNo q = 0; q < buffer().queue_count(); ++q) {
    const QueueView view = buffer().view(q);
    if (view.id == 0 || queue_database(view.id) != my_slot->database) continue;
    const TimestampTz due = flush_at(view, view.policy, FlushPressure{hurry, now});
    next = std::min(next, std::max(due, queue_status::not_before(q, view.id)));
    if (view.retired_count > 0) next = std::min(next, now + kSnapshotLookUs);
  }
  return next;
}

void leave(int code, Datum) {
  LWLockAcquire(server_lock(), LW_EXCLUSIVE);
  my_slot->running.store(0);
  my_slot->sleeping.store(0);
  my_slot->worker_pid = 0;
  if (code != 0) my_slot->retry_at = GetCurrentTimestamp() + kRetryAfterFailureUs;
  LWLockRelease(server_lock());
  // Rows may have come between the last look and now.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const TimestampTz now = GetCurrentTimestamp();
  const TimestampTz due = next_due(now);
  if (due <= now)
    my_slot->wanted.store(1);
  else if (due != kNever)
    my_slot->due_at.store(due);
  wake_launcher();
  ConditionVariableBroadcast(&server->progress);
}

volatile TimestampTz told_to_stop_at = 0;

void note_shutdown(int signal) {
  if (told_to_stop_at == 0) told_to_stop_at = GetCurrentTimestamp();
  if (my_slot != nullptr) my_slot->stopping.store(1);
  SignalHandlerForShutdownRequest(signal);
}

// Says that this worker serves the database; false if another does.
bool enter(Oid database) {
  my_slot = database_slot(database);
  if (my_slot == nullptr) return false;
  LWLockAcquire(server_lock(), LW_EXCLUSIVE);
  const bool free = my_slot->running.load() == 0 && my_slot->keep_away == 0;
  if (free) {
    my_slot->worker_proc = compat::my_proc_number();
    my_slot->worker_pid = MyProcPid;
    my_slot->wanted.store(0);
    my_slot->due_at.store(0);
    my_slot->stopping.store(ShutdownRequestPending ? 1 : 0);
    my_slot->running.store(1);
  }
  LWLockRelease(server_lock());
  return free;
}

// The database's or role's settings are meant for sessions, not for storing what sessions were
// promised.
void set_session() {
  const char* const settings[][2] = {
      {"synchronous_commit", "local"},
      {"default_transaction_isolation", "read committed"},
      {"default_transaction_read_only", "off"},
      {"statement_timeout", "0"},
      {"lock_timeout", "1s"},         // who waits for the flush may be whom it waits for
      {"deadlock_timeout", "200ms"},  // ... and then it is for the worker to find out
      {"idle_in_transaction_session_timeout", "0"},
      {"session_replication_role", "origin"},
      {"row_security", "on"},
  };
  for (const auto& setting : settings)
    SetConfigOption(setting[0], setting[1], PGC_SUSET, PGC_S_OVERRIDE);
}

int client_backends() {
  // Includes none of ours: background workers are not counted by CountUserBackends, which wants a
  // role.
  return CountDBConnections(InvalidOid);
}

// Options and settings that change while rows are pending are in force for those rows too.
void refresh_policies() {
  StartTransactionCommand();
  attachments::forget();  // who has changed them wakes us before that is announced
  for (QueueNo q = 0; q < buffer().queue_count(); ++q) {
    const QueueView view = buffer().view(q);
    if (view.id == 0 || queue_database(view.id) != my_slot->database) continue;
    const Oid relation = catalog::relation_of(static_cast<std::int32_t>(view.id & 0xFFFFFFFF));
    if (const Attachment* attachment = attachments::find_write_back(relation))
      buffer().set_policy(q, attachments::effective_policy(*attachment));
  }
  CommitTransactionCommand();
}

struct Round {
  bool stored;       // something was stored: look again at once
  bool pending;      // rows are pending somewhere
  bool retired;      // blocks wait for snapshots
  TimestampTz next;  // when the next queue is due
};

Round flush_due(bool stopping) {
  Round round{false, false, false, PG_INT64_MAX};
  const bool hurry = stopping || running_full();
  for (QueueNo q = 0; q < buffer().queue_count(); ++q) {
    const QueueView view = buffer().view(q);
    if (view.id == 0 || queue_database(view.id) != my_slot->database) continue;
    if (view.retired_count > 0 && retired::release(q)) round.retired = true;
    const TimestampTz now = GetCurrentTimestamp();
    const TimestampTz due = flush_at(view, view.policy, FlushPressure{hurry, now});
    if (due == kNever) continue;
    // Its rows stay in the file; waiting for somebody to mend the table would hold up the shutdown.
    if (stopping && queue_status::is_paused(q, view.id)) continue;
    round.pending = true;
    if (due > now) {
      round.next = std::min(round.next, due);
      continue;
    }
    switch (flush::store_batch(q)) {
      case flush::Outcome::kStored:
        round.stored = true;
        if (retired::release(q)) round.retired = true;
        break;
      case flush::Outcome::kBusy:
      case flush::Outcome::kFailed:
        round.next = std::min(round.next, now + back_off_us(1));
        break;
      case flush::Outcome::kNothing:
      case flush::Outcome::kGone:
        break;
    }
  }
  return round;
}

// A crash can come between the commit of DROP DATABASE and the moment when its rows are forgotten.
// Any database's worker can tell.
void forget_dropped_databases() {
  StartTransactionCommand();
  for (QueueNo q = 0; q < buffer().queue_count(); ++q) {
    const QueueView view = buffer().view(q);
    if (view.id == 0 || queue_database(view.id) == MyDatabaseId ||
        SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(queue_database(view.id))))
      continue;
    ereport(LOG, errmsg("write buffer: forgets %llu rows of a database that was dropped",
                        static_cast<unsigned long long>(view.pending_rows)));
    buffer().drop_queue(q, view.id);
  }
  CommitTransactionCommand();
}

}  // namespace

}  // namespace pgwc::workers

using namespace pgwc;
using namespace pgwc::workers;

void pgwc_worker_main(Datum argument) {
  // SIGTERM is a request: what was acknowledged is still to be stored.
  pqsignal(SIGTERM, note_shutdown);
  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  ConfigReloadPending = true;  // a reload since the fork may have met the time when it is ignored
  BackgroundWorkerUnblockSignals();
  const Oid database = DatumGetObjectId(argument);
  if (!buffer_ready() || !enter(database)) proc_exit(0);
  before_shmem_exit(leave, 0);
  PGWC_INJECT("worker-start");
  BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
  set_session();
  ensure_settled();
  forget_dropped_databases();
  MemoryContext context =
      AllocSetContextCreate(TopMemoryContext, "pg_writecache flush worker", ALLOCSET_DEFAULT_SIZES);
  MemoryContextSwitchTo(context);

  TimestampTz idle_since = GetCurrentTimestamp();
  const TimestampTz started_at = idle_since;
  for (;;) {
    ResetLatch(MyLatch);
    CHECK_FOR_INTERRUPTS();
    bool refresh = my_slot->altered.exchange(0) != 0;
    if (ConfigReloadPending) {
      ConfigReloadPending = false;
      ProcessConfigFile(PGC_SIGHUP);
      refresh = true;
    }
    if (refresh) refresh_policies();
    my_slot->sleeping.store(0);
    const bool stopping = ShutdownRequestPending;

    pgstat_report_activity(STATE_RUNNING, "flushing");
    // Asked before the look at the queues: the last client may publish rows and leave in between.
    const bool alone = stopping && client_backends() == 0;
    Round round = flush_due(stopping);
    pgstat_report_activity(STATE_IDLE, nullptr);
    // Or autovacuum and autoanalyze would never come to the table.
    (void)pgstat_report_stat(!round.stored);
    MemoryContextReset(context);
    if (round.pending || round.stored) wake_launcher();  // to sync the file

    const TimestampTz now = GetCurrentTimestamp();
    const TimestampTz stop_by = told_to_stop_at + USECS_PER_SEC * settings::shutdown_timeout_s;
    if (stopping && (now >= stop_by || (!round.pending && alone))) break;
    if (my_slot->keep_away != 0 && !stopping) break;
    // There are more databases than workers.
    const bool crowded = server->crowded.load() != 0 && !stopping;
    if (crowded && now - started_at >= kTurnUs) break;
    if (round.stored) continue;
    if (round.pending || round.retired) idle_since = now;
    if (!stopping && now - idle_since >= kIdleUs) break;

    // Whoever publishes from here on sees that we sleep; what came before shows in the second look.
    my_slot->sleeping.store(1);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    TimestampTz next = round.next;
    for (QueueNo q = 0; q < buffer().queue_count(); ++q) {
      const QueueView view = buffer().view(q);
      if (view.id == 0 || queue_database(view.id) != database) continue;
      // What failed or is locked is due all the time, and waits for its next try.
      const TimestampTz due = flush_at(view, view.policy, FlushPressure{false, now});
      if (due > now || round.next == PG_INT64_MAX) next = std::min(next, due);
    }
    if (round.retired) next = std::min(next, now + kSnapshotLookUs);
    if (stopping) next = std::min(next, now + 10'000);
    if (crowded) next = std::min(next, started_at + kTurnUs);
    if (next == PG_INT64_MAX) next = idle_since + kIdleUs;
    const std::int64_t wait_us = next - GetCurrentTimestamp();
    if (wait_us > 0)
      (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
                      static_cast<long>((wait_us + 999) / 1000), PG_WAIT_EXTENSION);
  }
  proc_exit(0);
}

namespace pgwc::workers {

namespace {

Oid kept_away = InvalidOid;
bool dropping = false;  // ... because the database goes

// The database is gone, and so are its tables: nobody is left who could store their rows.
void forget_database() noexcept {
  for (QueueNo q = 0; q < buffer().queue_count(); ++q) {
    const QueueView view = buffer().view(q);
    if (view.id != 0 && queue_database(view.id) == kept_away) buffer().drop_queue(q, view.id);
  }
}

void end_keep_away(bool dropped) noexcept {
  if (kept_away == InvalidOid) return;
  if (dropped) forget_database();
  if (DatabaseSlot* slot = database_slot(kept_away)) {
    LWLockAcquire(server_lock(), LW_EXCLUSIVE);
    if (slot->keep_away > 0) --slot->keep_away;
    if (dropped && slot->keep_away == 0) slot->database = InvalidOid;
    LWLockRelease(server_lock());
    wake_launcher();
  }
  kept_away = InvalidOid;
}

void xact_callback(XactEvent event, void*) {
  if (kept_away == InvalidOid) return;
  if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
    end_keep_away(dropping && event == XACT_EVENT_COMMIT);
}

}  // namespace

void keep_away(Oid database, bool to_drop) {
  DatabaseSlot* slot = database_slot(database);
  if (slot == nullptr || kept_away != InvalidOid) return;
  LWLockAcquire(server_lock(), LW_EXCLUSIVE);
  ++slot->keep_away;
  LWLockRelease(server_lock());
  kept_away = database;
  dropping = to_drop;
  while (slot->running.load() != 0 || slot->starting != 0) {
    ConditionVariablePrepareToSleep(&server->progress);
    wake_worker(slot);
    if (slot->running.load() != 0 || slot->starting != 0)
      ConditionVariableTimedSleep(&server->progress, 100, PG_WAIT_EXTENSION);
    ConditionVariableCancelSleep();
    CHECK_FOR_INTERRUPTS();
  }
}

bool is_worker() { return my_slot != nullptr; }

void init() { RegisterXactCallback(xact_callback, nullptr); }

}  // namespace pgwc::workers
