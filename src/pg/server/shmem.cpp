#include "core/salvage.hpp"

#include "pg/server/shmem.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <string>

#include "core/recovery.hpp"
#include "pg/boundary/compat.hpp"
#include "pg/boundary/guard.hpp"
#include "pg/boundary/injection.hpp"
#include "pg/server/settings.hpp"

extern "C" {
#include "access/xlog.h"
#include "common/controldata_utils.h"
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
constinit bool strangers = false;     // a server without the library has run after a crash of ours

LwLocks& locks() { return *std::launder(reinterpret_cast<LwLocks*>(locks_storage)); }

int lock_count() { return static_cast<int>(1 + geometry.queue_count + 3); }
LockId server_lock_id() { return 1 + geometry.queue_count; }
LockId recovery_lock_id() { return 2 + geometry.queue_count; }
LockId sync_lock_id() { return 3 + geometry.queue_count; }

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

// A test cannot restart the operating system.
const char* boot_id_override() {
#ifdef PGWC_INJECTION
  return getenv("PGWC_TEST_BOOT_ID");
#else
  return nullptr;
#endif
}

// What the control file says at the start.
struct Cluster {
  FileIdentity id;
  std::uint64_t checkpoint;  // where the last one began
  bool shut_down;            // ... and nothing was logged after it
};

Cluster read_cluster() {
  Cluster cluster{};
  FileIdentity& id = cluster.id;
  bool crc_ok;
  ControlFileData* control = get_controlfile(DataDir, &crc_ok);
  cluster.checkpoint = control->checkPointCopy.redo;
  cluster.shut_down = control->state == DB_SHUTDOWNED;
  id.system_identifier = control->system_identifier;
  // After a promotion the checkpoint on the new timeline comes later; a crash before it leaves only
  // the other field.
  id.timeline = std::max(control->checkPointCopy.ThisTimeLineID, control->minRecoveryPointTLI);
  pfree(control);
  char text[64] = {};
  const char* pretended = boot_id_override();
  int fd = open(pretended ? pretended : "/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    if (read(fd, text, sizeof(text) - 1) > 0) {
      int digits = 0;
      for (const char* c = text; *c != '\0' && digits < 32; ++c) {
        const int value = *c >= '0' && *c <= '9'   ? *c - '0'
                          : *c >= 'a' && *c <= 'f' ? *c - 'a' + 10
                                                   : -1;
        if (value < 0) continue;
        id.boot_id[digits / 2] = static_cast<std::uint8_t>(id.boot_id[digits / 2] << 4 | value);
        ++digits;
      }
    }
    close(fd);
  }
  return cluster;
}

std::uint64_t random_incarnation() {
  std::uint64_t value;
  if (!pg_strong_random(&value, sizeof(value)))
    ereport(FATAL, errmsg("could not generate a random number for the write buffer"));
  return value >> 1 | 1;  // positive as a bigint
}

void set_aside(const char* reason) {
  bool moved = false;
  static char target[MAXPGPATH + 32];
  no_throw([&] {
    std::string to;
    moved = quarantine_file(path, &to);
    if (moved) strlcpy(target, to.c_str(), sizeof(target));
  });
  if (!moved)
    ereport(FATAL, errcode_for_file_access(),
            errmsg("could not rename write buffer file \"%s\": %m", path));
  ereport(
      WARNING, errmsg("write buffer file \"%s\" cannot be used: %s", path, reason),
      errdetail("It was renamed to \"%s\".", target),
      errhint(
          "Its rows are not in this database cluster. Remove the file when nobody needs them."));
}

// Why the tables may be older or newer than the buffer file beside them; null if they are not.
const char* starts_from_elsewhere(const Cluster& cluster) {
  struct stat st;
  if (stat("standby.signal", &st) == 0 || stat("recovery.signal", &st) == 0)
    return "the server starts as a standby or for point-in-time recovery";
  if (stat("backup_label", &st) == 0) return "the server starts from a base backup";
  std::uint64_t noted = 0;
  no_throw([&] { noted = BufferFile::peek_checkpoint(path); });
  if (cluster.shut_down && cluster.checkpoint < noted)
    return "the tables beside it are those of an earlier time";
  return nullptr;
}

// Whether a server without the library has run since ours crashed: it has made checkpoints that we
// know nothing of, and given the ids of lost transactions to its own. Ours makes one before it
// settles.
void look_for_strangers(const Cluster& cluster, bool clean) {
  BufferFile& file = buffer_file();
  strangers = !clean && cluster.checkpoint > file.checkpoint() &&
              (cluster.shut_down || !file.is_starting());
  if (!strangers) file.note_starting(true);
}

[[noreturn]] void raise_in_use() {
  ereport(FATAL, errcode(ERRCODE_LOCK_FILE_EXISTS),
          errmsg("write buffer file \"%s\" is in use by another server", path),
          errhint("Servers with the same system identifier, such as a primary and its standby on "
                  "one machine, need different directories in \"writecache.directory\"."));
  pg_unreachable();
}

// What runs on for a moment after a postmaster that was killed has the file, too.
void claim_file() {
  constexpr int kTries = 30;
  for (int i = 0; i < kTries; ++i) {
    Status status = Status::kOk;
    no_throw([&] { status = buffer_file().claim(path); });
    if (status == Status::kOk) return;
    pg_usleep(100000);
  }
  raise_in_use();
}

// What cannot be read would be a bus error at every start.
void salvage() {
  Status status = Status::kOk;
  int error = 0;
  std::uint64_t lost = 0;
  static char kept_as[MAXPGPATH + 32] = "";
  no_throw([&] {
    const SalvageResult result = salvage_file(path, PGWC_READ_AT);
    status = result.status;
    lost = result.lost_pages;
    strlcpy(kept_as, result.kept_as.c_str(), sizeof(kept_as));
    error = result.error;
  });
  errno = error;
  if (status != Status::kOk)
    ereport(
        FATAL, errcode_for_file_access(),
        errmsg("could not copy write buffer file \"%s\", of which parts cannot be read: %m", path),
        errhint("It may hold acknowledged rows. Check the disk, and make room for a copy beside "
                "the file."));
  if (kept_as[0] != '\0')
    ereport(WARNING,
            errmsg("write buffer file \"%s\" cannot be read in %llu pages of 4 kB", path,
                   static_cast<unsigned long long>(lost)),
            errdetail("It was renamed to \"%s\", and a copy without these pages took its place; "
                      "every record in there that passes its checksum is kept.",
                      kept_as),
            errhint("Check the disk, and compare the tables with what their writers were told."));
}

void open_file() {
  const Cluster cluster = read_cluster();
  const FileIdentity& id = cluster.id;
  BufferFile& file = buffer_file();
  if (file.is_open()) {  // after a crash of a child: the postmaster still has it
    file.begin_run(id);
    look_for_strangers(cluster, false);
    return;
  }
  claim_file();
  const char* elsewhere = starts_from_elsewhere(cluster);
  if (file_disused) {
    std::uint32_t blocks = 0;
    no_throw([&] { blocks = BufferFile::peek_block_count(path); });
    if (blocks != wanted_blocks || elsewhere != nullptr) unlink(path);
  } else if (elsewhere != nullptr) {
    set_aside(elsewhere);
  }
  salvage();
  for (int attempt = 0;; ++attempt) {
    OpenResult result{};
    no_throw([&] { result = file.open(path, geometry.block_count, id, random_incarnation()); });
    if (result.status == Status::kOk) {
      look_for_strangers(cluster, result.clean);
      if (result.rebooted && !result.clean)
        ereport(
            LOG, errmsg("write buffer: the operating system has restarted since the last run"),
            errdetail("Rows of the last \"writecache.sync_interval\" before that may be missing."));
      if (result.truncated)
        ereport(WARNING, errmsg("write buffer file \"%s\" is truncated", path),
                errdetail("Rows in the part that is missing are lost; every record that is left "
                          "and passes its checksum is kept."),
                errhint("Has anything but the server changed the file? Compare the tables with "
                        "what their writers were told."));
      if (file.header().block_count != wanted_blocks)
        ereport(LOG,
                errmsg("write buffer file \"%s\" keeps its size of %u blocks of 64 kB", path,
                       file.header().block_count),
                errdetail("It takes the size of \"writecache.buffer_size\" at the first start that "
                          "finds no row in it."));
      return;
    }
    if (result.status == Status::kInUse) raise_in_use();
    if (result.status == Status::kIoError) {
      errno = result.error;
      ereport(FATAL, errcode_for_file_access(),
              errmsg("could not prepare write buffer file \"%s\": %m", path),
              errhint("Check \"writecache.directory\", its permissions and "
                      "\"writecache.buffer_size\" (%d kB). The file may hold acknowledged rows.",
                      settings::buffer_size_kb));
    }
    if (attempt > 0) ereport(FATAL, errmsg("could not prepare write buffer file \"%s\"", path));
    set_aside(result.reason);
  }
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
  open_file();
  const FileHeader& header = buffer_file().header();
  new (buffer_storage) WriteBuffer(
      WriteBuffer::Create{}, index, buffer_file().data(),
      Geometry{std::min(header.block_count, geometry.block_count), geometry.queue_count},
      header.incarnation, header.run, locks());
  ready = true;
  scan_file();
}

// Fates looked up beforehand, so that the core's walk never leaves for PostgreSQL.
class KnownFates final : public FateOf {
 public:
  KnownFates(const Xid* xids, const Fate* fates, std::size_t count)
      : xids_(xids), fates_(fates), count_(count) {}
  Fate operator()(Xid xid) const noexcept override {
    const Xid* found = std::lower_bound(xids_, xids_ + count_, xid);
    return found != xids_ + count_ && *found == xid ? fates_[found - xids_] : Fate::kNotCommitted;
  }

 private:
  const Xid* xids_;
  const Fate* fates_;
  std::size_t count_;
};

Fate fate_of(Xid xid) {
  if (!TransactionIdPrecedes(xid, ReadNextTransactionId())) return Fate::kNotCommitted;
  if (TransactionIdPrecedes(xid, compat::oldest_clog_xid())) return Fate::kForgotten;
  return TransactionIdDidCommit(xid) ? Fate::kCommitted : Fate::kNotCommitted;
}

void settle() {
  Xid* xids = nullptr;
  std::size_t count = 0;
  no_throw([&] {
    std::vector<Xid> found = Recovery(buffer()).transactions();
    count = found.size();
    xids = static_cast<Xid*>(malloc((count + 1) * sizeof(Xid)));
    if (xids == nullptr) throw std::bad_alloc();
    std::sort(found.begin(), found.end());
    std::copy(found.begin(), found.end(), xids);
  });
  auto* sorted =
      static_cast<Xid*>(MemoryContextAllocHuge(CurrentMemoryContext, (count + 1) * sizeof(Xid)));
  std::copy(xids, xids + count, sorted);
  free(xids);
  auto* fates = static_cast<Fate*>(MemoryContextAllocHuge(CurrentMemoryContext, count + 1));
  for (std::size_t i = 0; i < count; ++i) fates[i] = fate_of(sorted[i]);
  PGWC_INJECT("settle-begin");
  SettleReport report{};
  const Doubts doubts{buffer_file().header().power_lost != 0, buffer_file().synced(), strangers};
  no_throw([&] {
    report =
        Recovery(buffer()).judge(KnownFates(sorted, fates, count), GetCurrentTimestamp(), doubts);
  });
  // Transactions to come get ids that records of lost ones still carry on disk: a power loss must
  // not bring those back.
  if (report.rows_kept + report.rows_uncommitted + report.rows_already_stored +
          report.rows_incomplete >
      0)
    (void)sync_buffer();
  PGWC_INJECT("settle-judged");
  if (doubts.power_lost || doubts.ids_reused) server->watermarks_decide.store(1);
  buffer_file().set_settled(GetWALInsertionTimeLine());
  note_checkpoint();
  buffer_file().note_starting(false);
  Recovery(buffer()).allow_use();
  if (doubts.ids_reused && report.rows_kept + report.rows_uncommitted > 0)
    ereport(LOG, errmsg("write buffer: the server has run without pg_writecache since it crashed"),
            errdetail("Rows of transactions that had not been acknowledged were given up."));
  pfree(sorted);
  pfree(fates);
  if (report.rows_incomplete > 0)
    ereport(LOG,
            errmsg("write buffer: %llu rows were given up",
                   static_cast<unsigned long long>(report.rows_incomplete)),
            errdetail("The power loss has taken other parts of their transactions."));
  if (report.rows_kept + report.rows_uncommitted + report.rows_already_stored > 0)
    ereport(
        LOG,
        errmsg("write buffer: %llu rows recovered",
               static_cast<unsigned long long>(report.rows_kept)),
        errdetail(
            "%llu belonged to transactions that did not commit, %llu were in their tables already.",
            static_cast<unsigned long long>(report.rows_uncommitted),
            static_cast<unsigned long long>(report.rows_already_stored)));
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

void note_checkpoint() {
  const XLogRecPtr redo = GetRedoRecPtr();
  // One that is under way may lie in WAL that a crash still loses.
  if (redo > buffer_file().checkpoint() && redo <= GetFlushRecPtr(nullptr))
    buffer_file().note_checkpoint(redo);
}

int sync_buffer() {
  BufferFile& file = buffer_file();
  const auto await_publishers = [] { buffer().await_publishers([] { pg_usleep(1000); }); };
  LWLock* lock = &locks().base()[sync_lock_id()].lock;
  LWLockAcquire(lock, LW_EXCLUSIVE);
  const std::uint64_t begun = buffer().last_seq();
  await_publishers();
  // All frames of whoever had begun are among these ...
  const std::uint64_t seq = buffer().last_seq();
  await_publishers();
  // ... and whoever has one among these has them all in the file.
  PGWC_KEEP_SYNCED(file.data(), 0, file_size(file.header().block_count));
  if (server->sync_failed.load() != 0) file.touch_all();
  int error = PGWC_FAILS_TO_SYNC() ? EIO : file.sync();
  if (error == 0) {
    file.note_synced(settings::sync_interval_ms == 0 ? UINT64_MAX : seq);
    PGWC_KEEP_SYNCED(file.data(), kFileNotesOffset, sizeof(FileNotes));
    error = file.sync_notes();
  }
  if (error == 0) server->whole_through.store(begun);
  const bool failed_before = server->sync_failed.exchange(error != 0 ? 1 : 0) != 0;
  LWLockRelease(lock);
  if (error == 0) {
    if (failed_before) ereport(LOG, errmsg("write buffer file \"%s\" is in sync again", path));
    return 0;
  }
  errno = error;
  ereport(WARNING, errcode_for_file_access(),
          errmsg("could not sync write buffer file \"%s\": %m", path),
          errdetail("Pending rows are being stored, and new ones go to their tables at once, until "
                    "it succeeds."),
          errhint("Check the disk. A power loss can cost rows that are pending now."));
  return error;
}

LWLock* server_lock() { return &locks().base()[server_lock_id()].lock; }

void ensure_settled() {
  if (!ready || buffer().settled() || RecoveryInProgress()) return;
  LWLock* lock = &locks().base()[recovery_lock_id()].lock;
  LWLockAcquire(lock, LW_EXCLUSIVE);
  if (!buffer().settled()) settle();
  LWLockRelease(lock);
}

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
