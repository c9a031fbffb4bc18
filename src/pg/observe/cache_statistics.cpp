// SQL functions behind the views of the row cache.
#include "pg/boundary/compat.hpp"
#include "pg/row_cache/cache_key.hpp"
#include "pg/row_cache/store.hpp"
#include "pg/server/shmem.hpp"
#include "pg/tables/catalog.hpp"

extern "C" {
#include "funcapi.h"
}

using namespace pgwc;

namespace {

constexpr std::size_t kFirstRoom = 64;

Datum int64_of(std::uint64_t value) { return Int64GetDatum(static_cast<std::int64_t>(value)); }

SpaceUsage* list_spaces(std::size_t* count) {
  std::size_t room = kFirstRoom;
  for (;;) {
    auto* usages = static_cast<SpaceUsage*>(palloc(room * sizeof(SpaceUsage)));
    *count = row_cache::cache().list_spaces(usages, room);
    if (*count <= room) return usages;
    pfree(usages);
    room = *count + kFirstRoom;
  }
}

void show(ReturnSetInfo* result, const SpaceUsage& usage) {
  const CacheCounters& counters = usage.counters;
  Datum values[] = {ObjectIdGetDatum(row_cache::relation_of(usage.space)),
                    int64_of(usage.entries),
                    int64_of(usage.bytes),
                    int64_of(counters.hits_by_page),
                    int64_of(counters.hits_by_tid),
                    int64_of(counters.hits_by_age),
                    int64_of(counters.misses),
                    int64_of(counters.failed_proofs),
                    int64_of(usage.fills),
                    int64_of(usage.evictions),
                    int64_of(counters.waits)};
  bool nulls[std::size(values)] = {};
  tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

void reset(const row_cache::CachedKey& key) {
  ListCell* cell;
  foreach (cell, row_cache::cache_key::spaces_of(key))
    row_cache::cache().reset_counters(row_cache::space_of(lfirst_oid(cell)));
}

void reset_all() {
  if (!compat::is_owner(DatabaseRelationId, MyDatabaseId, GetUserId()))
    ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
            errmsg("must be owner of the database to reset the statistics of all relations"),
            errhint("Name a relation that you own."));
  std::size_t count;
  const SpaceUsage* usages = list_spaces(&count);
  for (std::size_t i = 0; i < count; ++i)
    if (row_cache::database_of(usages[i].space) == MyDatabaseId)
      row_cache::cache().reset_counters(usages[i].space);
}

}  // namespace

PGWC_FUNCTION(pgwc_cache_relations) {
  require_buffer();
  InitMaterializedSRF(fcinfo, 0);
  if (!row_cache::enabled()) PG_RETURN_VOID();
  row_cache::publish_counts();
  std::size_t count;
  const SpaceUsage* usages = list_spaces(&count);
  for (std::size_t i = 0; i < count; ++i)
    if (row_cache::database_of(usages[i].space) == MyDatabaseId)
      show(reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo), usages[i]);
  PG_RETURN_VOID();
}

PGWC_FUNCTION(pgwc_cache_status) {
  require_buffer();
  TupleDesc desc;
  if (get_call_result_type(fcinfo, nullptr, &desc) != TYPEFUNC_COMPOSITE)
    elog(ERROR, "return type must be a row type");
  const bool enabled = row_cache::enabled();
  const CacheUsage usage = enabled ? row_cache::cache().usage() : CacheUsage{};
  Datum values[] = {int64_of(usage.capacity),
                    int64_of(usage.bytes),
                    int64_of(usage.entries),
                    Int32GetDatum(static_cast<std::int32_t>(usage.spaces)),
                    Int32GetDatum(static_cast<std::int32_t>(usage.shards)),
                    int64_of(enabled ? row_cache::cache().max_row() : 0)};
  bool nulls[std::size(values)] = {};
  PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

PGWC_FUNCTION(pgwc_reset_stat_cache) {
  row_cache::require();
  row_cache::publish_counts();
  if (PG_ARGISNULL(0)) {
    reset_all();
    PG_RETURN_VOID();
  }
  const Oid relid = PG_GETARG_OID(0);
  Relation relation = catalog::open_owned(relid, AccessShareLock);
  reset(row_cache::cache_key::require(relid));
  relation_close(relation, NoLock);
  PG_RETURN_VOID();
}
