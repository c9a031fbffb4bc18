#include "pg/server/file_at_start.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "core/buffer_file.hpp"
#include "core/salvage.hpp"
#include "pg/boundary/guard.hpp"
#include "pg/boundary/injection.hpp"
#include "pg/server/settings.hpp"
#include "pg/server/shmem.hpp"

extern "C" {
#include "access/xlog.h"
#include "common/controldata_utils.h"
}

namespace pgwc {

namespace {

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
    moved = quarantine_file(buffer_path(), &to);
    if (moved) strlcpy(target, to.c_str(), sizeof(target));
  });
  if (!moved)
    ereport(FATAL, errcode_for_file_access(),
            errmsg("could not rename write buffer file \"%s\": %m", buffer_path()));
  ereport(
      WARNING, errmsg("write buffer file \"%s\" cannot be used: %s", buffer_path(), reason),
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
  no_throw([&] { noted = BufferFile::peek_checkpoint(buffer_path()); });
  if (cluster.shut_down && cluster.checkpoint < noted)
    return "the tables beside it are those of an earlier time";
  return nullptr;
}

// Whether a server without the library has run since ours crashed: it has made checkpoints that we
// know nothing of, and given the ids of lost transactions to its own. Ours makes one before it
// settles.
bool look_for_strangers(const Cluster& cluster, bool clean) {
  BufferFile& file = buffer_file();
  const bool strangers = !clean && cluster.checkpoint > file.checkpoint() &&
                         (cluster.shut_down || !file.is_starting());
  if (!strangers) file.note_starting(true);
  return strangers;
}

[[noreturn]] void raise_in_use() {
  ereport(FATAL, errcode(ERRCODE_LOCK_FILE_EXISTS),
          errmsg("write buffer file \"%s\" is in use by another server", buffer_path()),
          errhint("Servers with the same system identifier, such as a primary and its standby on "
                  "one machine, need different directories in \"writecache.directory\"."));
  pg_unreachable();
}

// What runs on for a moment after a postmaster that was killed has the file, too.
void claim_file() {
  constexpr int kTries = 30;
  for (int i = 0; i < kTries; ++i) {
    Status status = Status::kOk;
    no_throw([&] { status = buffer_file().claim(buffer_path()); });
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
    const SalvageResult result = salvage_file(buffer_path(), PGWC_READ_AT);
    status = result.status;
    lost = result.lost_pages;
    strlcpy(kept_as, result.kept_as.c_str(), sizeof(kept_as));
    error = result.error;
  });
  errno = error;
  if (status != Status::kOk)
    ereport(
        FATAL, errcode_for_file_access(),
        errmsg("could not copy write buffer file \"%s\", of which parts cannot be read: %m",
               buffer_path()),
        errhint("It may hold acknowledged rows. Check the disk, and make room for a copy beside "
                "the file."));
  if (kept_as[0] != '\0')
    ereport(WARNING,
            errmsg("write buffer file \"%s\" cannot be read in %llu pages of 4 kB", buffer_path(),
                   static_cast<unsigned long long>(lost)),
            errdetail("It was renamed to \"%s\", and a copy without these pages took its place; "
                      "every record in there that passes its checksum is kept.",
                      kept_as),
            errhint("Check the disk, and compare the tables with what their writers were told."));
}

}  // namespace

bool open_file(std::uint32_t wanted_blocks, std::uint32_t most_blocks, bool disused) {
  const Cluster cluster = read_cluster();
  const FileIdentity& id = cluster.id;
  BufferFile& file = buffer_file();
  if (file.is_open()) {  // after a crash of a child: the postmaster still has it
    file.begin_run(id);
    return look_for_strangers(cluster, false);
  }
  claim_file();
  const char* elsewhere = starts_from_elsewhere(cluster);
  if (disused) {
    std::uint32_t blocks = 0;
    no_throw([&] { blocks = BufferFile::peek_block_count(buffer_path()); });
    if (blocks != wanted_blocks || elsewhere != nullptr) unlink(buffer_path());
  } else if (elsewhere != nullptr) {
    set_aside(elsewhere);
  }
  salvage();
  for (int attempt = 0;; ++attempt) {
    OpenResult result{};
    no_throw([&] { result = file.open(buffer_path(), most_blocks, id, random_incarnation()); });
    if (result.status == Status::kOk) {
      const bool strangers = look_for_strangers(cluster, result.clean);
      if (result.rebooted && !result.clean)
        ereport(
            LOG, errmsg("write buffer: the operating system has restarted since the last run"),
            errdetail("Rows of the last \"writecache.sync_interval\" before that may be missing."));
      if (result.truncated)
        ereport(WARNING, errmsg("write buffer file \"%s\" is truncated", buffer_path()),
                errdetail("Rows in the part that is missing are lost; every record that is left "
                          "and passes its checksum is kept."),
                errhint("Has anything but the server changed the file? Compare the tables with "
                        "what their writers were told."));
      if (file.header().block_count != wanted_blocks)
        ereport(LOG,
                errmsg("write buffer file \"%s\" keeps its size of %u blocks of 64 kB",
                       buffer_path(), file.header().block_count),
                errdetail("It takes the size of \"writecache.buffer_size\" at the first start that "
                          "finds no row in it."));
      return strangers;
    }
    if (result.status == Status::kInUse) raise_in_use();
    if (result.status == Status::kIoError) {
      errno = result.error;
      ereport(FATAL, errcode_for_file_access(),
              errmsg("could not prepare write buffer file \"%s\": %m", buffer_path()),
              errhint("Check \"writecache.directory\", its permissions and "
                      "\"writecache.buffer_size\" (%d kB). The file may hold acknowledged rows.",
                      settings::buffer_size_kb));
    }
    if (attempt > 0)
      ereport(FATAL, errmsg("could not prepare write buffer file \"%s\"", buffer_path()));
    set_aside(result.reason);
  }
}

}  // namespace pgwc
