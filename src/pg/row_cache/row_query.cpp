#include "pg/row_cache/row_query.hpp"

#include "pg/boundary/compat.hpp"

extern "C" {
#include "catalog/pg_operator.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/syscache.h"
}

namespace pgwc::row_cache {

namespace {

struct KeptPlan {
  Oid relation;  // hash key
  SPIPlanPtr plan;
  int count;
  AttrNumber attributes[INDEX_MAX_KEYS];
  Oid types[INDEX_MAX_KEYS];
};

HTAB* kept = nullptr;

void append_operator(StringInfo query, Oid op) {
  HeapTuple tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(op));
  if (!HeapTupleIsValid(tuple)) elog(ERROR, "cache lookup failed for operator %u", op);
  const auto* form = reinterpret_cast<Form_pg_operator>(GETSTRUCT(tuple));
  appendStringInfo(query, " OPERATOR(%s.%s) ",
                   quote_identifier(get_namespace_name(form->oprnamespace)),
                   NameStr(form->oprname));
  ReleaseSysCache(tuple);
}

SPIPlanPtr prepare(const CachedKey& key, Oid* types) {
  StringInfoData query;
  initStringInfo(&query);
  appendStringInfo(&query, "SELECT t FROM %s t WHERE ",
                   quote_qualified_identifier(get_namespace_name(get_rel_namespace(key.relation)),
                                              get_rel_name(key.relation)));
  for (int i = 0; i < key.count; ++i) {
    appendStringInfo(&query, "%st.%s", i > 0 ? " AND " : "",
                     quote_identifier(get_attname(key.relation, key.columns[i].attribute, false)));
    append_operator(&query, key.columns[i].equal_op);
    appendStringInfo(&query, "$%d", i + 1);
  }
  SPIPlanPtr plan = SPI_prepare(query.data, key.count, types);
  if (plan == nullptr) elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
  SPI_keepplan(plan);
  return plan;
}

bool fits(const KeptPlan& entry, const CachedKey& key, const Oid* types) {
  if (entry.count != key.count || !SPI_plan_is_valid(entry.plan)) return false;
  for (int i = 0; i < key.count; ++i)
    if (entry.attributes[i] != key.columns[i].attribute || entry.types[i] != types[i]) return false;
  return true;
}

SPIPlanPtr plan_for(const CachedKey& key, Oid* types) {
  if (kept == nullptr) {
    HASHCTL control{};
    control.keysize = sizeof(Oid);
    control.entrysize = sizeof(KeptPlan);
    kept = hash_create("pg_writecache row queries", 16, &control, HASH_ELEM | HASH_BLOBS);
  }
  auto* entry = static_cast<KeptPlan*>(hash_search(kept, &key.relation, HASH_FIND, nullptr));
  if (entry != nullptr && fits(*entry, key, types)) return entry->plan;
  SPIPlanPtr plan = prepare(key, types);
  bool found;
  entry = static_cast<KeptPlan*>(hash_search(kept, &key.relation, HASH_ENTER, &found));
  if (found) SPI_freeplan(entry->plan);
  entry->plan = plan;
  entry->count = key.count;
  for (int i = 0; i < key.count; ++i) {
    entry->attributes[i] = key.columns[i].attribute;
    entry->types[i] = types[i];
  }
  return plan;
}

}  // namespace

bool query_row(const CachedKey& key, const KeyArguments& arguments, const Datum* values,
               Datum* row) {
  Oid types[INDEX_MAX_KEYS];
  Datum copies[INDEX_MAX_KEYS];
  for (int i = 0; i < key.count; ++i) {
    types[i] = arguments.arguments[i].type;
    copies[i] = values[i];
  }
  MemoryContext outer = CurrentMemoryContext;
  if (SPI_connect() != SPI_OK_CONNECT) elog(ERROR, "SPI_connect failed");
  const int result = SPI_execute_plan(plan_for(key, types), copies, nullptr, true, 2);
  if (result != SPI_OK_SELECT) elog(ERROR, "SPI_execute_plan: %s", SPI_result_code_string(result));
  if (SPI_processed > 1)
    ereport(ERROR, errcode(ERRCODE_CARDINALITY_VIOLATION),
            errmsg("\"%s\" has more than one row with this key", get_rel_name(key.relation)),
            errhint("Attach it with a key that at most one row has."));
  bool is_null = true;
  Datum found = 0;
  if (SPI_processed == 1)
    found = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
  if (!is_null) {
    MemoryContext inner = MemoryContextSwitchTo(outer);
    *row = datumCopy(found, false, -1);
    MemoryContextSwitchTo(inner);
  }
  SPI_finish();
  return !is_null;
}

}  // namespace pgwc::row_cache
