// SQL functions for waiting: flush, position, wait.
#include "pg/server/settle.hpp"
#include "pg/server/shmem.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/tables/catalog.hpp"
#include "pg/write_back/barrier.hpp"
#include "pg/write_back/drain.hpp"

extern "C" {
#include "utils/acl.h"
}

namespace pgwc {

namespace {

std::uint64_t rows_flushed(QueueNo only) {
  std::uint64_t rows = 0;
  for (QueueNo q = 0; q < buffer().queue_count(); ++q) {
    const QueueView view = buffer().view(q);
    if (view.id != 0 && queue_database(view.id) == MyDatabaseId &&
        (only == kNoQueueNo || q == only))
      rows += view.counters.rows_flushed;
  }
  return rows;
}

// Under a lock that keeps the worker away, waiting for it would be waiting for ourselves.
std::uint64_t drain_locked() {
  std::uint64_t rows = 0;
  ListCell* cell;
  foreach (cell, catalog::all_attached())
    if (drain::holds_lock_against_worker(lfirst_oid(cell)))
      rows += drain::drain_table(lfirst_oid(cell));
  return rows;
}

QueueNo queue_of(Oid relation) {
  Attachment* attachment = attachments::find_write_back(relation);
  if (attachment == nullptr)
    ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
            errmsg("table \"%s\" is not attached as write_back", get_rel_name(relation)),
            errhint("Attach it with writecache.attach()."));
  if (!attachments::open_queue(attachment)) return kNoQueueNo;
  return attachment->queue;
}

// Rows of a table that has no place in the buffer, since a start with fewer of them, are nobody's
// to store.
void warn_of_parked_rows() {
  const std::uint32_t blocks = buffer().parked_blocks();
  if (blocks > 0)
    ereport(WARNING,
            errmsg("%u blocks of the write buffer hold rows of tables that found no place in it",
                   blocks),
            errdetail("They are kept, and not stored."),
            errhint("Raise \"writecache.max_tables\" and restart the server, or detach tables."));
}

}  // namespace
}  // namespace pgwc

using namespace pgwc;

PGWC_FUNCTION(pgwc_flush) {
  require_buffer();
  PreventCommandDuringRecovery("writecache.flush()");
  ensure_settled();
  QueueNo queue = kNoQueueNo;
  if (!PG_ARGISNULL(0)) {
    const Oid relation = PG_GETARG_OID(0);
    if (get_rel_name(relation) == nullptr)
      ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE),
              errmsg("relation with OID %u does not exist", relation));
    queue = queue_of(relation);
    if (queue == kNoQueueNo) {
      warn_of_parked_rows();
      PG_RETURN_INT64(0);
    }
    if (drain::holds_lock_against_worker(relation))
      PG_RETURN_INT64(static_cast<std::int64_t>(drain::drain_table(relation)));
  }
  if (queue == kNoQueueNo) warn_of_parked_rows();
  const std::uint64_t drained = queue == kNoQueueNo ? drain_locked() : 0;
  const std::uint64_t before = rows_flushed(queue);
  (void)barrier::wait_stored(queue, buffer().last_seq(), PG_INT64_MAX);
  PG_RETURN_INT64(static_cast<std::int64_t>(rows_flushed(queue) - before + drained));
}

PGWC_FUNCTION(pgwc_position) {
  require_buffer();
  PG_RETURN_INT64(static_cast<std::int64_t>(buffer().last_seq()));
}

PGWC_FUNCTION(pgwc_wait) {
  require_buffer();
  if (PG_ARGISNULL(0))
    ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("token must not be null"),
            errhint("Take it from writecache.position()."));
  const std::int64_t token = PG_GETARG_INT64(0);
  if (token < 0 || static_cast<std::uint64_t>(token) > buffer().last_seq())
    ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("invalid position token: %lld", static_cast<long long>(token)),
            errhint("Take it from writecache.position() of this server."));
  TimestampTz deadline = PG_INT64_MAX;
  if (!PG_ARGISNULL(1)) {
    const std::int64_t us = attachments::interval_us(PG_GETARG_INTERVAL_P(1));
    if (us < 0)
      ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
              errmsg("timeout must not be negative"));
    if (__builtin_add_overflow(GetCurrentTimestamp(), us, &deadline)) deadline = PG_INT64_MAX;
  }
  ensure_settled();
  (void)drain_locked();
  PG_RETURN_BOOL(barrier::wait_stored(kNoQueueNo, static_cast<std::uint64_t>(token), deadline));
}
