// SQL functions get, get_many, evict, invalidate.
#include <algorithm>

#include "pg/boundary/compat.hpp"
#include "pg/row_cache/computed.hpp"
#include "pg/row_cache/fetcher.hpp"
#include "pg/row_cache/key_arguments.hpp"
#include "pg/row_cache/row_query.hpp"
#include "pg/row_cache/store.hpp"
#include "pg/tables/catalog.hpp"
#include "pg/tables/row_type.hpp"

extern "C" {
#include "access/tableam.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/rls.h"
#include "utils/typcache.h"
}

using namespace pgwc;
using namespace pgwc::row_cache;

namespace {

// What a call needs, kept from one call to the next of a query.
struct Call {
  Oid relation;
  CachedKey key;
  bool complete;  // the table itself has all columns
  bool direct;    // by the index, without a query
  KeyArguments arguments;
};

bool same_key(const CachedKey& a, const CachedKey& b) {
  return a.index == b.index && a.count == b.count &&
         memcmp(a.columns, b.columns, static_cast<std::size_t>(a.count) * sizeof(KeyColumn)) == 0;
}

Call* begin_call(FunctionCallInfo fcinfo, bool arrays) {
  row_cache::require();
  const Oid relid = relation_of_type(fcinfo);
  require_select(relid);
  // The options may have changed since the call before; the look is cheap.
  const CachedKey& key = cache_key::require(relid);
  const TransactionId index_xmin = key.index_xmin;
  auto* call = static_cast<Call*>(fcinfo->flinfo->fn_extra);
  if (call == nullptr || call->relation != relid || !same_key(call->key, key)) {
    MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
    call = static_cast<Call*>(palloc0(sizeof(Call)));
    call->relation = relid;
    call->key = key;
    Relation relation = relation_open(relid, NoLock);
    read_key_arguments(&call->arguments, fcinfo, 1, arrays, call->key, relation);
    call->complete = !compat::has_virtual_columns(RelationGetDescr(relation));
    relation_close(relation, NoLock);
    fcinfo->flinfo->fn_extra = call;
    MemoryContextSwitchTo(old);
  }
  // An index that is younger than the snapshot may lack rows of it, or have them under other keys.
  call->key.index_xmin = index_xmin;
  call->direct = OidIsValid(call->key.index) && call->complete &&
                 TransactionIdPrecedes(index_xmin, GetActiveSnapshot()->xmin) &&
                 check_enable_rls(relid, InvalidOid, false) != RLS_ENABLED;
  return call;
}

void open_fetcher(Fetcher* fetcher, Relation relation, const Call& call) {
  *fetcher = {};
  fetcher->relation = relation;
  fetcher->snapshot = GetActiveSnapshot();
  fetcher->index_id = call.key.index;
  fetcher->space = space_of(call.relation);
  fetcher->use_cache = may_use_cache(fetcher->snapshot, call.key.index_xmin);
  fetcher->count = call.key.count;
  fetcher->parts = call.arguments.parts;
  fetcher->memory = CurrentMemoryContext;
}

// Whether rows may have values of columns only in the catalog, from where nobody takes them once a
// row has left its table.
bool may_lack_columns(TupleDesc desc) {
  return desc->constr != nullptr && desc->constr->missing != nullptr;
}

Datum row_datum(TupleTableSlot* slot) {
  TupleDesc desc = slot->tts_tupleDescriptor;
  if (!may_lack_columns(desc)) return ExecFetchSlotHeapTupleDatum(slot);
  slot_getallattrs(slot);
  return HeapTupleGetDatum(heap_form_tuple(desc, slot->tts_values, slot->tts_isnull));
}

void put_row(Tuplestorestate* rows, TupleTableSlot* slot) {
  TupleDesc desc = slot->tts_tupleDescriptor;
  if (!may_lack_columns(desc)) return tuplestore_puttupleslot(rows, slot);
  slot_getallattrs(slot);
  tuplestore_putvalues(rows, desc, slot->tts_values, slot->tts_isnull);
}

bool is_computed(const CachedKey& key) {
  return key.relkind == RELKIND_VIEW || key.relkind == RELKIND_FOREIGN_TABLE;
}

// Not by an index of its own.
bool fetch_otherwise(const Call& call, const Datum* values, Datum* row) {
  return is_computed(call.key) ? get_computed(call.key, call.arguments, values, row)
                               : query_row(call.key, call.arguments, values, row);
}

// In FROM, the executor compares the columns with those that the query was planned with, but cannot
// speak of one that was dropped since.
void require_columns(const Node* result, Relation relation) {
  if (result == nullptr || !IsA(result, ReturnSetInfo)) return;
  const TupleDesc now = RelationGetDescr(relation);
  const TupleDesc expected = castNode(ReturnSetInfo, result)->expectedDesc;
  if (expected == nullptr) return;
  for (int i = 0; i < std::min(expected->natts, now->natts); ++i)
    if (TupleDescAttr(now, i)->attisdropped && !TupleDescAttr(expected, i)->attisdropped)
      ereport(ERROR, errcode(ERRCODE_DATATYPE_MISMATCH),
              errmsg("columns of \"%s\" were dropped after the query was planned",
                     RelationGetRelationName(relation)),
              errhint("Repeat the query."));
}

}  // namespace

PGWC_FUNCTION(pgwc_get) {
  Call* call = begin_call(fcinfo, false);
  Datum values[INDEX_MAX_KEYS];
  for (int i = 0; i < call->arguments.count; ++i) {
    KeyArgument* argument = &call->arguments.arguments[i];
    if (PG_ARGISNULL(argument->number)) PG_RETURN_NULL();
    values[i] = convert_key_value(argument, PG_GETARG_DATUM(argument->number));
  }
  Relation relation = relation_open(call->relation, NoLock);
  require_populated(relation);
  require_columns(fcinfo->resultinfo, relation);
  if (!call->direct) {
    relation_close(relation, NoLock);
    Datum row;
    if (!fetch_otherwise(*call, values, &row)) PG_RETURN_NULL();
    PG_RETURN_DATUM(row);
  }
  Fetcher fetcher;
  open_fetcher(&fetcher, relation, *call);
  TupleTableSlot* slot = fetch(&fetcher, values);
  const bool found = slot != nullptr;
  const Datum row = found ? row_datum(slot) : Datum{0};
  close(&fetcher);
  relation_close(relation, NoLock);
  if (!found) PG_RETURN_NULL();
  PG_RETURN_DATUM(row);
}

namespace {

// One key after the other, out of one array per column.
struct Keys {
  int columns;
  int count;
  Datum* values[INDEX_MAX_KEYS];
  bool* nulls[INDEX_MAX_KEYS];
};

void read_arrays(FunctionCallInfo fcinfo, const KeyArguments& arguments, Keys* keys) {
  keys->columns = arguments.count;
  keys->count = 0;
  for (int i = 0; i < arguments.count; ++i) {
    const int number = arguments.arguments[i].number;
    int count = 0;
    if (!PG_ARGISNULL(number)) {
      ArrayType* array = PG_GETARG_ARRAYTYPE_P(number);
      std::int16_t length;
      bool by_value;
      char alignment;
      get_typlenbyvalalign(ARR_ELEMTYPE(array), &length, &by_value, &alignment);
      deconstruct_array(array, ARR_ELEMTYPE(array), length, by_value, alignment, &keys->values[i],
                        &keys->nulls[i], &count);
    }
    if (i > 0 && count != keys->count)
      ereport(ERROR, errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
              errmsg("the arrays of keys must have the same number of elements"));
    keys->count = count;
  }
}

// False if a value of the key is null: no row has it.
bool take_key(const Keys& keys, const KeyArguments& arguments, int number, Datum* values) {
  for (int i = 0; i < keys.columns; ++i) {
    if (keys.nulls[i][number]) return false;
    values[i] = convert_key_value(&arguments.arguments[i], keys.values[i][number]);
  }
  return true;
}

}  // namespace

PGWC_FUNCTION(pgwc_get_many) {
  Call* call = begin_call(fcinfo, true);
  Keys keys;
  read_arrays(fcinfo, call->arguments, &keys);
  Relation relation = relation_open(call->relation, NoLock);
  // What the columns are is sure only now, and the executor compares them with what the query was
  // planned for.
  InitMaterializedSRF(fcinfo, MAT_SRF_BLESS);
  auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
  require_populated(relation);
  require_columns(fcinfo->resultinfo, relation);
  TupleTableSlot* absent = MakeSingleTupleTableSlot(result->setDesc, &TTSOpsVirtual);
  ExecStoreAllNullTuple(absent);
  MemoryContext memory =
      AllocSetContextCreate(CurrentMemoryContext, "pg_writecache key", ALLOCSET_DEFAULT_SIZES);
  Fetcher fetcher;
  if (call->direct) open_fetcher(&fetcher, relation, *call);
  for (int n = 0; n < keys.count; ++n) {
    CHECK_FOR_INTERRUPTS();
    MemoryContextReset(memory);
    MemoryContext old = MemoryContextSwitchTo(memory);
    Datum values[INDEX_MAX_KEYS];
    TupleTableSlot* slot = nullptr;
    if (take_key(keys, call->arguments, n, values)) {
      Datum row;
      if (call->direct) {
        slot = fetch(&fetcher, values);
      } else if (fetch_otherwise(*call, values, &row)) {
        HeapTupleHeader header = DatumGetHeapTupleHeader(row);
        HeapTupleData tuple{};
        tuple.t_len = HeapTupleHeaderGetDatumLength(header);
        ItemPointerSetInvalid(&tuple.t_self);
        tuple.t_data = header;
        tuplestore_puttuple(result->setResult, &tuple);
        MemoryContextSwitchTo(old);
        continue;
      }
    }
    put_row(result->setResult, slot != nullptr ? slot : absent);
    MemoryContextSwitchTo(old);
  }
  if (call->direct) close(&fetcher);
  ExecDropSingleTupleTableSlot(absent);
  relation_close(relation, NoLock);
  PG_RETURN_VOID();
}

PGWC_FUNCTION(pgwc_evict) {
  row_cache::require();
  if (PG_ARGISNULL(0))
    ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("relation must not be null"));
  const Oid relid = PG_GETARG_OID(0);
  require_select(relid);
  const CachedKey key = cache_key::require(relid);
  Relation relation = relation_open(relid, NoLock);
  KeyArguments arguments;
  read_key_arguments(&arguments, fcinfo, 1, false, key, relation);
  relation_close(relation, NoLock);
  Datum values[INDEX_MAX_KEYS];
  for (int i = 0; i < arguments.count; ++i) {
    KeyArgument* argument = &arguments.arguments[i];
    if (PG_ARGISNULL(argument->number)) PG_RETURN_BOOL(false);
    values[i] = convert_key_value(argument, PG_GETARG_DATUM(argument->number));
  }
  if (is_computed(key)) PG_RETURN_BOOL(evict_computed(key, arguments, values));
  const std::uint64_t hash = hash_key(arguments.parts, arguments.count, values);
  bool any = false;
  ListCell* cell;
  foreach (cell, cache_key::spaces_of(key))
    any = cache().erase({space_of(lfirst_oid(cell)), hash}) || any;
  PG_RETURN_BOOL(any);
}

PGWC_FUNCTION(pgwc_invalidate) {
  row_cache::require();
  const Oid relid = PG_GETARG_OID(0);
  require_select(relid);
  const CachedKey key = cache_key::require(relid);
  std::uint64_t erased = 0;
  ListCell* cell;
  foreach (cell, cache_key::spaces_of(key))
    erased += cache().erase_space(space_of(lfirst_oid(cell)));
  PG_RETURN_INT64(static_cast<std::int64_t>(erased));
}
