#include "pg/server/sync.hpp"

#include "pg/boundary/injection.hpp"
#include "pg/server/settings.hpp"
#include "pg/server/shmem.hpp"

extern "C" {
#include "access/xlog.h"
}

namespace pgwc {

void note_checkpoint() {
  const XLogRecPtr redo = GetRedoRecPtr();
  // One that is under way may lie in WAL that a crash still loses.
  if (redo > buffer_file().checkpoint() && redo <= GetFlushRecPtr(nullptr))
    buffer_file().note_checkpoint(redo);
}

int sync_buffer() {
  BufferFile& file = buffer_file();
  const auto await_publishers = [] { buffer().await_publishers([] { pg_usleep(1000); }); };
  LWLockAcquire(sync_lock(), LW_EXCLUSIVE);
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
  LWLockRelease(sync_lock());
  if (error == 0) {
    if (failed_before)
      ereport(LOG, errmsg("write buffer file \"%s\" is in sync again", buffer_path()));
    return 0;
  }
  errno = error;
  ereport(WARNING, errcode_for_file_access(),
          errmsg("could not sync write buffer file \"%s\": %m", buffer_path()),
          errdetail("Pending rows are being stored, and new ones go to their tables at once, until "
                    "it succeeds."),
          errhint("Check the disk. A power loss can cost rows that are pending now."));
  return error;
}

}  // namespace pgwc
