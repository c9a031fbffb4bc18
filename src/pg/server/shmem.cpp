#include "pg/server/shmem.hpp"

#include <algorithm>
#include <cstring>
#include <new>

#include "core/recovery.hpp"
#include "pg/boundary/compat.hpp"
#include "pg/boundary/guard.hpp"
#include "pg/server/file_at_start.hpp"
#include "pg/server/settings.hpp"

extern "C" {
#include "access/xlog.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
}

namespace pgwc {

ServerState* server = nullptr;

namespace {

constexpr char kFileName[] = "pg_writecache.buffer";
constexpr char kTranche[] = "pg_writecache";
// Sessions that wait for room look again twice as often.
constexpr std::int64_t kNoRoomUs = 200'000;

class LwLocks final : public Locks {
 public:
  void acquire(LockId id) noexcept override { LWLockAcquire(&base_[id].lock, LW_EXCLUSIVE); }
  void release(LockId id) noexcept override { LWLockRelease(&base_[id].lock); }
  void set(LWLockPadded* base) { base_ = base; }
  LWLockPadded* base() const { return base_; }

 private:
  LWLockPadded* base_ = nullptr;
};

// Process-local, filled by the postmaster and inherited. Storage only: nothing runs at load or
// exit.
constinit shmem_request_hook_type previous_request = nullptr;
constinit shmem_startup_hook_type previous_startup = nullptr;
alignas(BufferFile) std::byte file_storage[sizeof(BufferFile)];
alignas(WriteBuffer) std::byte buffer_storage[sizeof(WriteBuffer)];
alignas(LwLocks) std::byte locks_storage[sizeof(LwLocks)];
constinit bool file_made = false;
constinit bool ready = false;
char path[MAXPGPATH];
constinit Geometry geometry{};
constinit std::uint32_t wanted_blocks = 0;
constinit bool file_disused = false;  // there is none, or nothing is in it

LwLocks& locks() { return *std::launder(reinterpret_cast<LwLocks*>(locks_storage)); }

int lock_count() { return static_cast<int>(1 + geometry.queue_count + 3); }

std::size_t server_size() {
  return add_size(offsetof(ServerState, queues),
                  mul_size(sizeof(QueueStatus), geometry.queue_count));
}

void set_path() {
  if (settings::directory[0] != '\0')
    snprintf(path, sizeof(path), "%s/%s.%llu", settings::directory, kFileName,
             static_cast<unsigned long long>(GetSystemIdentifier()));
  else
    snprintf(path, sizeof(path), "pg_dynshmem/%s", kFileName);
}

void request() {
  if (previous_request) previous_request();
  set_path();
  std::uint32_t existing = 0;
  no_throw([&] {
    file_disused = BufferFile::holds_nothing(path);
    if (!file_disused) existing = BufferFile::peek_block_count(path);
  });
  const auto wanted = static_cast<std::uint32_t>(
      std::uint64_t{static_cast<unsigned>(settings::buffer_size_kb)} * 1024 / kBlockSize);
  wanted_blocks = std::max(wanted, kMinBlocks);
  geometry.block_count = std::max(existing, wanted_blocks);
  geometry.queue_count = static_cast<std::uint32_t>(settings::max_tables);
  RequestAddinShmemSpace(shared_index_size(geometry));
  RequestAddinShmemSpace(server_size());
  RequestNamedLWLockTranche(kTranche, lock_count());
}

void scan_file() {
  ScanReport report{};
  no_throw([&] { report = Recovery(buffer()).scan(); });
  if (report.damaged_blocks > 0)
    ereport(
        WARNING,
        errmsg("write buffer file \"%s\" is damaged in %u blocks", path, report.damaged_blocks),
        errdetail("%llu bytes could not be read; every record that passes its checksum is kept.",
                  static_cast<unsigned long long>(report.damaged_bytes)),
        errhint("Check the disk, and compare the tables with what their writers were told."));
  if (report.parked_blocks > 0)
    ereport(WARNING,
            errmsg("write buffer holds rows of more tables than \"writecache.max_tables\""),
            errhint("Raise the setting and restart; the rows stay in the file until then."));
  if (report.blocks_in_use > 0)
    ereport(LOG, errmsg("write buffer: found %llu records in %u blocks",
                        static_cast<unsigned long long>(report.frames), report.blocks_in_use));
}

void startup() {
  if (previous_startup) previous_startup();
  if (IsBinaryUpgrade) return;
  LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
  bool found;
  server =
      static_cast<ServerState*>(ShmemInitStruct("pg_writecache server", server_size(), &found));
  void* index = ShmemInitStruct("pg_writecache index", shared_index_size(geometry), &found);
  LWLockRelease(AddinShmemInitLock);

  std::memset(static_cast<void*>(server), 0, server_size());
  server->launcher_proc = -1;
  ConditionVariableInit(&server->progress);
  (new (locks_storage) LwLocks)->set(GetNamedLWLockTranche(kTranche));
  if (!file_made) {
    new (file_storage) BufferFile;
    file_made = true;
  }
  server->ids_reused = open_file(wanted_blocks, geometry.block_count, file_disused);
  const FileHeader& header = buffer_file().header();
  new (buffer_storage) WriteBuffer(
      WriteBuffer::Create{}, index, buffer_file().data(),
      Geometry{std::min(header.block_count, geometry.block_count), geometry.queue_count},
      header.incarnation, header.run, locks());
  ready = true;
  scan_file();
}

}  // namespace

void install_shmem_hooks() {
  previous_request = shmem_request_hook;
  shmem_request_hook = request;
  previous_startup = shmem_startup_hook;
  shmem_startup_hook = startup;
}

bool buffer_ready() { return ready; }

void require_buffer() {
  if (ready) return;
  ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
          errmsg("pg_writecache is not loaded"),
          errhint("Add pg_writecache to \"shared_preload_libraries\" and restart the server."));
}

WriteBuffer& buffer() { return *std::launder(reinterpret_cast<WriteBuffer*>(buffer_storage)); }
BufferFile& buffer_file() { return *std::launder(reinterpret_cast<BufferFile*>(file_storage)); }
const char* buffer_path() { return path; }

LWLock* server_lock() { return &locks().base()[1 + geometry.queue_count].lock; }
LWLock* recovery_lock() { return &locks().base()[2 + geometry.queue_count].lock; }
LWLock* sync_lock() { return &locks().base()[3 + geometry.queue_count].lock; }

DatabaseSlot* database_slot(Oid database) {
  DatabaseSlot* free_slot = nullptr;
  LWLockAcquire(server_lock(), LW_EXCLUSIVE);
  DatabaseSlot* found = nullptr;
  for (DatabaseSlot& slot : server->databases) {
    if (slot.database == database) {
      found = &slot;
      break;
    }
    if (slot.database == InvalidOid && free_slot == nullptr) free_slot = &slot;
  }
  if (found == nullptr && free_slot != nullptr) {
    found = free_slot;
    std::memset(static_cast<void*>(found), 0, sizeof(*found));
    found->database = database;
  }
  LWLockRelease(server_lock());
  return found;
}

DatabaseSlot* own_database() {
  static DatabaseSlot* own = nullptr;
  if (own == nullptr) own = database_slot(MyDatabaseId);
  return own;
}

void wake_worker(DatabaseSlot* slot) noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (slot->running.load(std::memory_order_relaxed) != 0) {
    // The process may leave at this moment; its latch stays valid memory, and whoever has it next
    // looks up and sleeps on.
    if (slot->sleeping.exchange(0, std::memory_order_relaxed) != 0)
      SetLatch(compat::latch_of(slot->worker_proc));
    return;
  }
  slot->wanted.store(1, std::memory_order_relaxed);
  wake_launcher();
}

void note_no_room() noexcept {
  server->no_room_at.store(GetCurrentTimestamp(), std::memory_order_relaxed);
  for (DatabaseSlot& slot : server->databases)
    if (slot.running.load(std::memory_order_relaxed) != 0 ||
        slot.due_at.load(std::memory_order_relaxed) != 0)
      wake_worker(&slot);
}

bool running_full() noexcept {
  // Blocks can be free and none of them for the queue that wants one: others are owed a share.
  return is_running_full(buffer().free_blocks(), buffer().block_count()) ||
         GetCurrentTimestamp() - server->no_room_at.load(std::memory_order_relaxed) < kNoRoomUs;
}

void wake_launcher() noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const int proc = server->launcher_proc.load(std::memory_order_relaxed);
  if (proc >= 0) SetLatch(compat::latch_of(proc));
}

}  // namespace pgwc
