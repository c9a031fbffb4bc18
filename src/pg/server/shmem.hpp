// Everything the extension keeps in PostgreSQL's shared memory beside the write buffer's own index,
// and the mapping of the buffer file. Created by the postmaster at every start and after every
// crash; children inherit it by fork.
//
// Locks (one LWLock tranche, "pg_writecache"):
//   0                 the core's directory lock
//   1 .. max_tables   the core's queue locks
//   then server       DatabaseSlot and QueueStatus, all fields not marked atomic
//   then recovery     held while the buffer is settled after a start
//   then sync         held while the file is forced to disk
// Order: recovery, sync, server, a queue's, directory.
#pragma once

#include <atomic>

#include "core/buffer_file.hpp"
#include "pg/boundary/pg.hpp"

extern "C" {
#include "storage/condition_variable.h"
}

namespace pgwc {

inline constexpr int kMaxDatabases = 128;
inline constexpr std::size_t kErrorTextSize = 256;
inline constexpr std::size_t kDepartures = 1024;

// One database that has or had rows in the buffer.
struct DatabaseSlot {
  Oid database;  // InvalidOid: free
  pid_t worker_pid;
  int worker_proc;
  std::uint32_t starting;   // the launcher has registered a worker that does not run yet
  std::uint32_t keep_away;  // sessions that want the database to themselves (DROP DATABASE)
  TimestampTz retry_at;     // no new worker before, after one has failed
  std::atomic<std::uint32_t> running;   // a worker is connected
  std::atomic<std::uint32_t> sleeping;  // ... and would like to be woken
  std::atomic<std::uint32_t> wanted;    // somebody has work for a worker
  std::atomic<TimestampTz> due_at;      // ... or will have it then, 0 if not; while none runs
  std::atomic<std::uint32_t> altered;   // options of a table have changed
  std::atomic<std::uint32_t> stopping;  // the worker was told to stop
  std::atomic<TimestampTz> locked_out;  // when the worker last found a table locked
};

enum class QueueState : std::uint32_t { kActive, kRetrying, kPaused };

// What the flush has to tell about a queue; same index as the core's.
struct QueueStatus {
  std::uint64_t queue_id;
  TimestampTz last_flush;
  TimestampTz last_error_at;
  TimestampTz not_before;  // back-off after a failure
  std::uint64_t rows_rejected;
  std::uint32_t failures;          // in a row
  std::uint32_t faults;            // those of them that no lock and no cancellation explain
  std::uint32_t lock_misses;       // times that the table was locked
  bool insist;                     // the next try is to wait for the lock
  VirtualTransactionId insisting;  // who does
  QueueState state;
  bool watermark_applied;
  std::uint64_t
      failing_id;  // queue_id if paused or faults > 0; written under the lock, read anywhere
  TimestampTz held_until;  // a statement waits for a moment without pending rows; no lock
  char last_error[kErrorTextSize];
};

struct ServerState {
  std::atomic<int> launcher_proc;       // -1: not running
  std::atomic<std::uint32_t> crowded;   // databases wait for another one's worker to leave
  std::atomic<TimestampTz> no_room_at;  // when rows last found no room
  std::atomic<TimestampTz> last_sync;
  std::atomic<std::uint64_t> synced_seq;
  // The last attempt to force the file to disk has failed: nothing new is put into it.
  std::atomic<std::uint32_t> sync_failed;
  // A transaction that has published a frame up to here is on disk as a whole, and so is a note in
  // the file that says so of all its frames.
  std::atomic<std::uint64_t> whole_through;
  // Set by a start that could not tell which records had been stored: each queue's watermark must
  // be applied before its rows are read.
  std::atomic<std::uint32_t> watermarks_decide;
  bool ids_reused;  // a server without the library has run after a crash of ours
  // Detached tables, by a hash: the newest transaction that stored rows of one (departures.hpp).
  std::atomic<std::uint64_t> departed[kDepartures];
  std::atomic<std::uint64_t> newest_departure;
  ConditionVariable progress;  // rows stored, blocks freed, workers gone
  DatabaseSlot databases[kMaxDatabases];
  QueueStatus queues[FLEXIBLE_ARRAY_MEMBER];
};

// Null until shared memory is there, or when the library was not preloaded.
extern ServerState* server;

// Hooks of _PG_init.
void install_shmem_hooks();

// Whether the buffer can be used in this process.
bool buffer_ready();
// The same, or an ERROR with a hint.
void require_buffer();
WriteBuffer& buffer();
BufferFile& buffer_file();
const char* buffer_path();

LWLock* server_lock();
LWLock* recovery_lock();
LWLock* sync_lock();

// The slot of a database, made if need be; null if all are taken. Takes the server lock.
DatabaseSlot* database_slot(Oid database);
// That of this session's database, looked up once.
DatabaseSlot* own_database();
// Asks for the attention of the database's worker, or for one to be started. Never fails; callable
// in commit callbacks.
void wake_worker(DatabaseSlot* slot) noexcept;
// Rows have found no room: asks every database that has some pending to store them.
void note_no_room() noexcept;
// Whether the buffer is full or nearly so, and nothing should wait in it for its interval.
bool running_full() noexcept;
void wake_launcher() noexcept;

}  // namespace pgwc
