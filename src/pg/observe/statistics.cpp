// SQL functions behind the views: the write buffer's queues of this database, and the buffer as a
// whole.
#include "pg/boundary/compat.hpp"
#include "pg/server/shmem.hpp"
#include "pg/write_back/retired.hpp"
#include "pg/write_back/queue_status.hpp"

extern "C" {
#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "utils/acl.h"
#include "utils/syscache.h"
}

using namespace pgwc;

namespace {

const char* state_name(QueueState state) {
  switch (state) {
    case QueueState::kRetrying:
      return "retrying";
    case QueueState::kPaused:
      return "paused";
    case QueueState::kActive:
      break;
  }
  return "active";
}

Datum interval_of(std::int64_t us) {
  auto* interval = static_cast<Interval*>(palloc0(sizeof(Interval)));
  interval->time = us;
  return IntervalPGetDatum(interval);
}

// Messages may hold values of rows.
bool may_see_errors(Oid relation) {
  return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) ||
         (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)) &&
          compat::is_owner(RelationRelationId, relation, GetUserId()));
}

Datum int64_of(std::uint64_t value) { return Int64GetDatum(static_cast<std::int64_t>(value)); }

}  // namespace

PGWC_FUNCTION(pgwc_buffer_queues) {
  require_buffer();
  InitMaterializedSRF(fcinfo, 0);
  auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
  const TimestampTz now = GetCurrentTimestamp();
  for (QueueNo q = 0; q < buffer().queue_count(); ++q) {
    const QueueView view = buffer().view(q);
    if (view.id == 0 || queue_database(view.id) != MyDatabaseId) continue;
    LWLockAcquire(server_lock(), LW_SHARED);
    QueueStatus status = server->queues[q];
    LWLockRelease(server_lock());
    if (status.queue_id != view.id) status = {};
    Datum values[17];
    bool nulls[17] = {};
    int n = 0;
    values[n++] = Int32GetDatum(static_cast<std::int32_t>(view.id & 0xFFFFFFFF));
    values[n++] = int64_of(view.pending_rows);
    values[n++] = int64_of(view.pending_bytes);
    nulls[n] = view.oldest_us == 0;
    values[n++] =
        interval_of(view.oldest_us == 0 || view.oldest_us > now ? 0 : now - view.oldest_us);
    values[n++] = int64_of(view.counters.rows_published);
    values[n++] = int64_of(view.counters.bytes_published);
    values[n++] = int64_of(view.counters.rows_flushed);
    values[n++] = int64_of(status.rows_rejected);
    values[n++] = int64_of(view.counters.batches);
    values[n++] = Int32GetDatum(static_cast<std::int32_t>(view.block_count));
    values[n++] = CStringGetTextDatum(state_name(status.state));
    nulls[n] = status.last_flush == 0;
    values[n++] = TimestampTzGetDatum(status.last_flush);
    nulls[n] = status.last_error_at == 0 || !may_see_errors(view.relation);
    values[n++] = CStringGetTextDatum(status.last_error);
    nulls[n] = status.last_error_at == 0;
    values[n++] = TimestampTzGetDatum(status.last_error_at);
    values[n++] = Int32GetDatum(static_cast<std::int32_t>(status.failures));
    values[n++] = BoolGetDatum(queue_status::passes_through(q, view.id));
    const int holder = retired::held_back_by(q);
    nulls[n] = holder == 0;
    values[n++] = Int32GetDatum(holder);
    tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
  }
  PG_RETURN_VOID();
}

PGWC_FUNCTION(pgwc_buffer_status) {
  require_buffer();
  TupleDesc desc;
  if (get_call_result_type(fcinfo, nullptr, &desc) != TYPEFUNC_COMPOSITE)
    elog(ERROR, "return type must be a row type");
  const TimestampTz last_sync = server->last_sync.load();
  Datum values[] = {int64_of(std::uint64_t{buffer().block_count()} * kBlockSize),
                    int64_of(std::uint64_t{buffer().free_blocks()} * kBlockSize),
                    Int32GetDatum(kBlockSize), CStringGetTextDatum(buffer_path()),
                    TimestampTzGetDatum(last_sync)};
  bool nulls[] = {false, false, false, false, last_sync == 0};
  PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
