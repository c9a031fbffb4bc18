#include <algorithm>
#include <cstring>

#include "pg/boundary/compat.hpp"
#include "pg/server/settings.hpp"
#include "pg/server/settle.hpp"
#include "pg/server/shmem.hpp"
#include "pg/server/sync.hpp"
#include "pg/server/workers.hpp"

extern "C" {
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/pmsignal.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/wait_event.h"
}

namespace pgwc::workers {

namespace {

constexpr std::int64_t kRetryUs = 1'000'000;
// A worker that was not told to stop by then goes on: it is not the server that stops, somebody has
// terminated us.
constexpr std::int64_t kToldToStopUs = 1'000'000;

// How long a flush that is not through after writecache.shutdown_timeout may take to end by itself,
// and its worker, cancelled, to leave.
constexpr std::int64_t kFlushEndsUs = 200'000;
constexpr std::int64_t kLeaveUs = 5'000'000;

// Handles of the workers that were asked for and do not run yet; process-local.
BackgroundWorkerHandle* pending_start[kMaxDatabases];

void leave(int, Datum) { server->launcher_proc.store(-1); }

// Rows that survived a restart wait for nobody to write again.
void want_workers_for_pending_rows() {
  for (QueueNo q = 0; q < buffer().queue_count(); ++q) {
    const QueueView view = buffer().view(q);
    if (view.id == 0 || (view.pending_rows == 0 && view.retired_count == 0)) continue;
    if (DatabaseSlot* slot = database_slot(queue_database(view.id))) slot->wanted.store(1);
  }
}

bool start_worker(DatabaseSlot* slot, std::size_t index) {
  BackgroundWorker worker{};
  worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
  worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
  worker.bgw_restart_time = BGW_NEVER_RESTART;
  worker.bgw_main_arg = ObjectIdGetDatum(slot->database);
  worker.bgw_notify_pid = MyProcPid;
  strlcpy(worker.bgw_library_name, "pg_writecache", sizeof(worker.bgw_library_name));
  strlcpy(worker.bgw_function_name, "pgwc_worker_main", sizeof(worker.bgw_function_name));
  snprintf(worker.bgw_name, sizeof(worker.bgw_name), "pg_writecache flush worker %u",
           slot->database);
  strlcpy(worker.bgw_type, "pg_writecache flush worker", sizeof(worker.bgw_type));
  return RegisterDynamicBackgroundWorker(&worker, &pending_start[index]);
}

// A worker that was asked for and ended before it could say that it runs.
void notice_failed_start(DatabaseSlot* slot, std::size_t index, TimestampTz now) {
  if (slot->starting == 0 || pending_start[index] == nullptr) return;
  pid_t pid;
  const BgwHandleStatus status = GetBackgroundWorkerPid(pending_start[index], &pid);
  if (status != BGWH_STOPPED && slot->running.load() == 0) return;
  if (slot->running.load() == 0) slot->retry_at = now + kRetryUs;
  slot->starting = 0;
  pfree(pending_start[index]);
  pending_start[index] = nullptr;
}

// A database whose rows were not due when its worker left.
void want_what_is_due(DatabaseSlot* slot, TimestampTz now, TimestampTz* next) {
  TimestampTz due = slot->due_at.load();
  if (due == 0 || slot->running.load() != 0) return;
  if (due > now)
    *next = std::min(*next, due);
  else
    slot->wanted.store(1);
}

// So many ids are used before records of old ones are looked for.
#ifdef PGWC_INJECTION
constexpr TransactionId kFreezeEvery = 1000;
#else
constexpr TransactionId kFreezeEvery = 1 << 24;
#endif
// Half of all ids cannot be used in this time, and looking costs nothing.
constexpr std::int64_t kFreezeUs = 600'000'000;

// Records of a table that cannot be flushed may last until transaction ids come round. Those that
// every snapshot saw at the last look do without, once what was logged then is on disk.
void freeze_old_records() {
  static TransactionId looked_at = InvalidTransactionId;
  static TransactionId horizon;
  static XLogRecPtr logged;
  const TransactionId next = ReadNextTransactionId();
  const bool first = looked_at == InvalidTransactionId;
  if (!first && (next - looked_at < kFreezeEvery || GetFlushRecPtr(nullptr) < logged)) return;
  for (QueueNo q = 0; !first && q < buffer().queue_count(); ++q) buffer().freeze(q, horizon);
  looked_at = next;
  horizon = GetOldestTransactionIdConsideredRunning();
  logged = GetXLogInsertRecPtr();
}

// Starts what is wanted and allowed. Returns when to look again.
TimestampTz start_wanted(TimestampTz now) {
  static std::size_t last_started = 0;
  TimestampTz next = PG_INT64_MAX;
  int active = 0;
  bool crowded = false;
  LWLockAcquire(server_lock(), LW_EXCLUSIVE);
  for (std::size_t i = 0; i < kMaxDatabases; ++i) {
    DatabaseSlot& slot = server->databases[i];
    notice_failed_start(&slot, i, now);
    if (slot.running.load() != 0 || slot.starting != 0) ++active;
  }
  // In turns: whoever has just left comes last.
  for (std::size_t n = 1; n <= kMaxDatabases; ++n) {
    const std::size_t i = (last_started + n) % kMaxDatabases;
    DatabaseSlot& slot = server->databases[i];
    want_what_is_due(&slot, now, &next);
    if (slot.database == InvalidOid || slot.wanted.load() == 0 || slot.running.load() != 0 ||
        slot.starting != 0 || slot.keep_away != 0)
      continue;
    if (slot.retry_at > now) {
      next = std::min(next, slot.retry_at);
      continue;
    }
    if (active >= settings::flush_workers) {
      crowded = true;  // a worker that leaves wakes us
      continue;
    }
    if (start_worker(&slot, i)) {
      slot.starting = 1;
      last_started = i;
      ++active;
    } else {
      ereport(LOG, errmsg("could not start a write buffer flush worker"),
              errhint("Raise \"max_worker_processes\"."));
      slot.retry_at = now + kRetryUs;
      next = std::min(next, slot.retry_at);
    }
  }
  LWLockRelease(server_lock());
  if (server->crowded.exchange(crowded ? 1 : 0) == 0 && crowded)
    for (DatabaseSlot& slot : server->databases)
      if (slot.running.load() != 0) wake_worker(&slot);
  return next;
}

// What the disk does not take is safe in the tables.
void store_all() {
  for (QueueNo q = 0; q < buffer().queue_count(); ++q) {
    const QueueView view = buffer().view(q);
    if (view.id == 0 || !buffer().request(q, buffer().last_seq())) continue;
    if (DatabaseSlot* slot = database_slot(queue_database(view.id))) wake_worker(slot);
  }
}

void sync_file(std::uint64_t seq) {
  if (sync_buffer() != 0) {
    store_all();
    return;
  }
  server->synced_seq.store(seq);
  server->last_sync.store(GetCurrentTimestamp());
}

bool any_pending() {
  for (QueueNo q = 0; q < buffer().queue_count(); ++q)
    if (const QueueView view = buffer().view(q); view.id != 0 && view.pending_rows > 0) return true;
  return false;
}

// Forces new records to disk when it is time. Returns when to look again.
TimestampTz sync_if_due(TimestampTz now) {
  if (settings::sync_interval_ms == 0) {
    // Then what is missing after a power loss says nothing about what was lost.
    if (buffer_file().synced() != UINT64_MAX) buffer_file().note_synced(UINT64_MAX);
    return PG_INT64_MAX;
  }
  const std::uint64_t seq = buffer().last_seq();
  const std::int64_t interval = std::int64_t{1000} * settings::sync_interval_ms;
  // The first rows of a table wake its worker, and that wakes us; those that join pending ones wake
  // nobody.
  if (seq == server->synced_seq.load()) return any_pending() ? now + interval : PG_INT64_MAX;
  const TimestampTz due = server->last_sync.load() + interval;
  if (due > now) return due;
  // Who had taken the last number may not have published yet: it counts as synced once it has not
  // changed since the sync before.
  static std::uint64_t last_tried = 0;
  sync_file(seq == last_tried ? seq : seq - 1);
  last_tried = seq;
  return GetCurrentTimestamp() + interval;
}

struct Workers {
  bool any;
  bool all_stop;
};

Workers look_at_workers() {
  Workers workers{false, true};
  for (DatabaseSlot& slot : server->databases) {
    if (slot.running.load() == 0) continue;
    workers.any = true;
    if (slot.stopping.load() == 0) workers.all_stop = false;
  }
  return workers;
}

// A flush may be waiting for what never comes.
void cancel_flushes() {
  LWLockAcquire(server_lock(), LW_SHARED);
  for (const DatabaseSlot& slot : server->databases)
    if (slot.running.load() != 0 && slot.stopping.load() != 0 && slot.worker_pid > 0)
      (void)kill(slot.worker_pid, SIGINT);
  LWLockRelease(server_lock());
}

// Workers go on flushing while the server stops; the file is in order once they are through.
void stop_in_order() {
  const TimestampTz now = GetCurrentTimestamp();
  const TimestampTz enough = now + USECS_PER_SEC * settings::shutdown_timeout_s;
  const TimestampTz deadline = enough + kLeaveUs;
  Workers workers = look_at_workers();
  while (workers.any &&
         GetCurrentTimestamp() < (workers.all_stop ? deadline : now + kToldToStopUs) &&
         PostmasterIsAlive()) {
    ResetLatch(MyLatch);
    (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 100,
                    PG_WAIT_EXTENSION);
    workers = look_at_workers();
    // They leave by themselves, unless a flush keeps them.
    if (GetCurrentTimestamp() >= enough + kFlushEndsUs) cancel_flushes();
  }
  if (!workers.any) buffer_file().set_clean(true);
  sync_file(buffer().last_seq());
}

}  // namespace

void register_launcher() {
  BackgroundWorker launcher{};
  launcher.bgw_flags = BGWORKER_SHMEM_ACCESS;
  launcher.bgw_start_time = BgWorkerStart_RecoveryFinished;
  launcher.bgw_restart_time = 1;
  strlcpy(launcher.bgw_library_name, "pg_writecache", sizeof(launcher.bgw_library_name));
  strlcpy(launcher.bgw_function_name, "pgwc_launcher_main", sizeof(launcher.bgw_function_name));
  strlcpy(launcher.bgw_name, "pg_writecache launcher", sizeof(launcher.bgw_name));
  strlcpy(launcher.bgw_type, "pg_writecache launcher", sizeof(launcher.bgw_type));
  RegisterBackgroundWorker(&launcher);
}

}  // namespace pgwc::workers

using namespace pgwc;
using namespace pgwc::workers;

void pgwc_launcher_main(Datum) {
  pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  ConfigReloadPending = true;  // a reload since the fork may have met the time when it is ignored
  BackgroundWorkerUnblockSignals();
  if (!buffer_ready()) return;
  ensure_settled();
  before_shmem_exit(leave, 0);
  // What a launcher that was terminated has left behind.
  buffer_file().set_clean(false);
  LWLockAcquire(server_lock(), LW_EXCLUSIVE);
  for (DatabaseSlot& slot : server->databases) slot.starting = 0;
  LWLockRelease(server_lock());
  server->launcher_proc.store(compat::my_proc_number());
  want_workers_for_pending_rows();

  while (!ShutdownRequestPending) {
    ResetLatch(MyLatch);
    CHECK_FOR_INTERRUPTS();
    if (ConfigReloadPending) {
      ConfigReloadPending = false;
      ProcessConfigFile(PGC_SIGHUP);
    }
    note_checkpoint();
    const TimestampTz now = GetCurrentTimestamp();
    freeze_old_records();
    const TimestampTz next = std::min({start_wanted(now), sync_if_due(now), now + kFreezeUs});
    (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | WL_TIMEOUT,
                    std::max<long>(1, static_cast<long>((next - now) / 1000)), PG_WAIT_EXTENSION);
  }
  stop_in_order();
  // With 0 the postmaster would never start us again, should it be going on.
  proc_exit(1);
}
