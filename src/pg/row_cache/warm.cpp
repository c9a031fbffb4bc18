// SQL function warm: fills the cache with rows of a relation before anybody asks for them, by the
// keys that a query returns, in its order, or from the key's index, the largest keys first.
//
// The rows go in as if they had been used before, so that others make room for them first. Once
// they would begin to make room for each other, the rest has no place and the call ends.
#include "pg/boundary/compat.hpp"
#include "pg/row_cache/computed.hpp"
#include "pg/row_cache/fetcher.hpp"
#include "pg/row_cache/fill.hpp"
#include "pg/row_cache/key_arguments.hpp"
#include "pg/row_cache/progress.hpp"
#include "pg/row_cache/row_query.hpp"
#include "pg/row_cache/store.hpp"
#include "pg/tables/catalog.hpp"
#include "pg/tables/row_type.hpp"

extern "C" {
#include "executor/spi.h"
#include "utils/rls.h"
}

using namespace pgwc;
using namespace pgwc::row_cache;

namespace {

constexpr long kKeysAtOnce = 100;
// Looking how full the cache is takes longer if there are many partitions.
constexpr int kFewSpaces = 4;
constexpr std::int64_t kRowsBetweenLooks = 64;

struct Usage {
  std::uint64_t entries;
  std::uint64_t bytes;
  std::uint64_t evictions;
};

// One call.
struct Warm {
  CachedKey key;
  Relation relation;
  const char* query;  // or null
  std::int64_t max_rows;
  std::uint64_t max_bytes;
  List* members;  // relations under whose numbers the rows are cached
  Usage at_start;
  std::uint64_t refreshed;  // rows that were in the cache already
  progress::Warming done;
  MemoryContext row_memory;
};

Usage usage_of(const Warm& warm) {
  Usage sum{};
  const ListCell* cell;
  foreach (cell, warm.members) {
    SpaceUsage usage;
    if (!cache().usage(space_of(lfirst_oid(cell)), &usage)) continue;
    sum.entries += usage.entries;
    sum.bytes += usage.bytes;
    sum.evictions += usage.evictions;
  }
  return sum;
}

// Whether there is no place for another row.
bool is_full(Warm* warm) {
  if (warm->done.rows_cached >= warm->max_rows) return true;
  const bool look =
      list_length(warm->members) <= kFewSpaces || warm->done.rows_read % kRowsBetweenLooks == 0;
  if (!look) return false;
  const Usage now = usage_of(*warm);
  if (now.bytes >= warm->max_bytes) return true;
  // Somebody set the counters to zero.
  if (now.evictions < warm->at_start.evictions) warm->at_start.evictions = now.evictions;
  // Those that were there before and are not wanted now may go.
  const std::uint64_t old = warm->at_start.entries;
  const std::uint64_t unwanted = old > warm->refreshed ? old - warm->refreshed : 0;
  return now.evictions - warm->at_start.evictions > unwanted;
}

void tell(Warm* warm) {
  if (warm->done.rows_read % kRowsBetweenLooks == 0) progress::update(warm->done);
}

// Whether there is an entry. A use, as every look is.
bool is_cached(std::uint64_t space, std::uint64_t hash) {
  Stamp stamp;
  std::size_t size;
  return cache().find({space, hash}, &stamp, {}, &size) != RowCache::Found::kNo;
}

// ------------------------------------------------------------------------------------------------
// By keys
// ------------------------------------------------------------------------------------------------

// True if the row with this key is in the cache now.
bool warm_key(Warm* warm, Fetcher* fetcher, KeyArguments* arguments, const Datum* values) {
  Datum row;
  if (warm->members == NIL) return get_computed(warm->key, *arguments, values, &row);
  const std::uint64_t hash = hash_key(arguments->parts, arguments->count, values);
  if (OidIsValid(warm->key.index)) {
    if (fetch(fetcher, hash, values) == nullptr) return false;
  } else if (!query_row(warm->key, *arguments, values, &row)) {
    // The query goes through the cache; this one finds the partition.
    return false;
  }
  const ListCell* cell;
  foreach (cell, warm->members)
    if (is_cached(space_of(lfirst_oid(cell)), hash)) return true;
  return false;
}

bool take_key(const KeyArguments& arguments, HeapTuple tuple, TupleDesc desc, Datum* values) {
  for (int i = 0; i < arguments.count; ++i) {
    bool is_null;
    values[i] = SPI_getbinval(tuple, desc, arguments.arguments[i].number, &is_null);
    if (is_null) return false;
    values[i] = convert_key_value(&arguments.arguments[i], values[i]);
  }
  return true;
}

void warm_keys(Warm* warm, Portal keys) {
  KeyArguments arguments{};
  read_key_columns(&arguments, keys->tupDesc, warm->key, warm->relation);
  Fetcher fetcher{};
  fetcher.relation = warm->relation;
  fetcher.snapshot = GetActiveSnapshot();
  fetcher.index_id = warm->key.index;
  fetcher.space = space_of(warm->key.relation);
  fetcher.use_cache = true;
  fetcher.count = warm->key.count;
  fetcher.parts = arguments.parts;
  fetcher.memory = CurrentMemoryContext;
  bool full = is_full(warm);
  while (!full) {
    progress::update(warm->done);
    SPI_cursor_fetch(keys, true, kKeysAtOnce);
    SPITupleTable* batch = SPI_tuptable;
    const std::uint64_t count = SPI_processed;
    if (count == 0) break;
    for (std::uint64_t i = 0; i < count && !full; ++i) {
      CHECK_FOR_INTERRUPTS();
      MemoryContextReset(warm->row_memory);
      MemoryContext old = MemoryContextSwitchTo(warm->row_memory);
      Datum values[INDEX_MAX_KEYS];
      ++warm->done.rows_read;
      if (take_key(arguments, batch->vals[i], batch->tupdesc, values) &&
          warm_key(warm, &fetcher, &arguments, values))
        ++warm->done.rows_cached;
      MemoryContextSwitchTo(old);
      warm->refreshed = fetcher.counters.hits_by_page + fetcher.counters.hits_by_tid;
      tell(warm);
      full = is_full(warm);
    }
    SPI_freetuptable(batch);
  }
  // These were no reads of anybody.
  fetcher.counters = {};
  close(&fetcher);
}

void warm_by_query(Warm* warm) {
  if (SPI_connect() != SPI_OK_CONNECT) elog(ERROR, "SPI_connect failed");
  SPIPlanPtr plan = SPI_prepare(warm->query, 0, nullptr);
  if (plan == nullptr) elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
  if (!SPI_is_cursor_plan(plan))
    ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("the query must be one that returns keys"),
            errhint("Write one SELECT with the columns of the key."));
  Portal keys = SPI_cursor_open(nullptr, plan, nullptr, nullptr, true);
  warm_keys(warm, keys);
  SPI_cursor_close(keys);
  SPI_finish();
}

// ------------------------------------------------------------------------------------------------
// By the index
// ------------------------------------------------------------------------------------------------

struct Source {
  Relation relation;
  std::uint64_t space;
  int count;
  KeyPart* parts;
  Fetcher memory;  // for fill()
};

// The row in `slot`, to which the index points at `root`.
void warm_row(Warm* warm, Source* source, TupleTableSlot* slot, OffsetNumber root,
              std::uint64_t epoch) {
  Datum values[INDEX_MAX_KEYS];
  for (int i = 0; i < source->count; ++i) {
    bool is_null;
    values[i] = slot_getattr(slot, source->parts[i].attribute, &is_null);
    if (is_null) return;
  }
  Claim claim;
  if (!make_claim(source->relation, slot, root, &claim)) return;
  const std::uint64_t hash = hash_key(source->parts, source->count, values);
  if (is_cached(source->space, hash)) ++warm->refreshed;
  fill(&source->memory, {source->space, hash}, slot, claim, epoch);
  if (is_cached(source->space, hash)) ++warm->done.rows_cached;
}

// True if the cache is full.
bool warm_index(Warm* warm, const CachedKey& key) {
  Source source{};
  source.relation = relation_open(key.relation, AccessShareLock);
  source.space = space_of(key.relation);
  source.count = key.count;
  source.parts =
      static_cast<KeyPart*>(palloc0(sizeof(KeyPart) * static_cast<std::size_t>(key.count)));
  for (int i = 0; i < key.count; ++i) make_key_part(&source.parts[i], key.columns[i]);
  source.memory.memory = CurrentMemoryContext;
  Relation index = index_open(key.index, AccessShareLock);
  IndexScanDesc scan = compat::begin_index_scan(source.relation, index, GetActiveSnapshot(), 0);
  index_rescan(scan, nullptr, 0, nullptr, 0);
  TupleTableSlot* slot =
      MakeSingleTupleTableSlot(RelationGetDescr(source.relation), &TTSOpsBufferHeapTuple);
  bool full = is_full(warm);
  while (!full) {
    CHECK_FOR_INTERRUPTS();
    const std::uint64_t epoch = cache().epoch(source.space);
    const ItemPointer tid = index_getnext_tid(scan, BackwardScanDirection);
    if (tid == nullptr) break;
    const OffsetNumber root = ItemPointerGetOffsetNumber(tid);
    if (!index_fetch_heap(scan, slot)) continue;
    MemoryContextReset(warm->row_memory);
    MemoryContext old = MemoryContextSwitchTo(warm->row_memory);
    ++warm->done.rows_read;
    warm_row(warm, &source, slot, root, epoch);
    MemoryContextSwitchTo(old);
    tell(warm);
    full = is_full(warm);
  }
  ExecDropSingleTupleTableSlot(slot);
  index_endscan(scan);
  index_close(index, NoLock);
  relation_close(source.relation, NoLock);
  return full;
}

// What can be read through an index of its own, and is attached by way of this relation.
bool is_source(const Warm& warm, const CachedKey* key) {
  return key != nullptr && key->attached == warm.key.attached &&
         may_use_cache(GetActiveSnapshot(), key->index_xmin);
}

void warm_by_index(Warm* warm) {
  ListCell* cell;
  foreach (cell, warm->members) {
    const CachedKey* found = cache_key::find_indexed(lfirst_oid(cell));
    if (!is_source(*warm, found)) continue;
    const CachedKey key = *found;
    if (warm_index(warm, key)) return;
  }
}

// ------------------------------------------------------------------------------------------------

std::int64_t rows_of(const Warm& warm) {
  double rows = 0;
  const ListCell* cell;
  foreach (cell, warm.members) {
    Relation member = relation_open(lfirst_oid(cell), AccessShareLock);
    if (member->rd_rel->relkind != RELKIND_PARTITIONED_TABLE) {
      if (member->rd_rel->reltuples < 0) {
        relation_close(member, NoLock);
        return -1;
      }
      rows += member->rd_rel->reltuples;
    }
    relation_close(member, NoLock);
  }
  return static_cast<std::int64_t>(rows);
}

void begin(Warm* warm, Oid relid) {
  warm->relation = catalog::open_named(relid, AccessShareLock);
  require_select(relid);
  warm->key = cache_key::require(relid);
  require_populated(warm->relation);
  const bool is_computed =
      warm->key.relkind == RELKIND_VIEW || warm->key.relkind == RELKIND_FOREIGN_TABLE;
  if (is_computed && warm->query == nullptr)
    ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("rows of \"%s\" have no index to read", RelationGetRelationName(warm->relation)),
            errhint("Give a query that returns keys."));
  if (!is_computed && check_enable_rls(relid, InvalidOid, false) == RLS_ENABLED)
    ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
            errmsg("cannot warm \"%s\": row security applies to this role",
                   RelationGetRelationName(warm->relation)));
  if (is_computed ? !may_keep_computed()
                  : !may_use_cache(GetActiveSnapshot(), warm->key.index_xmin))
    ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
            errmsg("this transaction cannot cache rows of \"%s\"",
                   RelationGetRelationName(warm->relation)),
            is_computed
                ? errdetail("It has written something, is not READ COMMITTED, or "
                            "writecache.read_cache is off.")
                : errdetail("It is SERIALIZABLE, writecache.read_cache is off, or the index is "
                            "younger than the oldest running transaction."));
  if (!is_computed) warm->members = cache_key::spaces_of(warm->key);
  warm->at_start = usage_of(*warm);
  warm->row_memory =
      AllocSetContextCreate(CurrentMemoryContext, "pg_writecache warm row", ALLOCSET_DEFAULT_SIZES);
  warm->done.rows_expected = warm->query == nullptr ? rows_of(*warm) : -1;
}

std::int64_t limit_of(FunctionCallInfo fcinfo, int argument, const char* name) {
  if (PG_ARGISNULL(argument)) return PG_INT64_MAX;
  const std::int64_t limit = PG_GETARG_INT64(argument);
  if (limit < 0)
    ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("\"%s\" must not be negative", name));
  return limit;
}

}  // namespace

PGWC_FUNCTION(pgwc_warm) {
  row_cache::require();
  if (PG_ARGISNULL(0))
    ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("relation must not be null"));
  auto* warm = static_cast<Warm*>(palloc0(sizeof(Warm)));
  warm->query = PG_ARGISNULL(1) ? nullptr : text_to_cstring(PG_GETARG_TEXT_PP(1));
  warm->max_rows = limit_of(fcinfo, 2, "max_rows");
  warm->max_bytes = static_cast<std::uint64_t>(limit_of(fcinfo, 3, "max_bytes"));
  begin(warm, PG_GETARG_OID(0));
  progress::start(warm->key.relation, warm->done);
  const RowCache::Use outer = use_of_fills;
  use_of_fills = RowCache::Use::kExpected;
  PG_TRY();
  {
    if (warm->query != nullptr)
      warm_by_query(warm);
    else
      warm_by_index(warm);
  }
  PG_FINALLY();
  { use_of_fills = outer; }
  PG_END_TRY();
  progress::end();
  relation_close(warm->relation, NoLock);
  PG_RETURN_INT64(warm->done.rows_cached);
}
