#include "pg/row_cache/row_query.hpp"

#include "pg/boundary/compat.hpp"

extern "C" {
#include "catalog/pg_inherits.h"
#include "catalog/pg_operator.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/plancache.h"
#include "utils/syscache.h"
}

namespace pgwc::row_cache {

namespace {

struct KeptPlan {
  Oid relation;  // hash key
  SPIPlanPtr plan;
  bool remote;
  int count;
  AttrNumber attributes[INDEX_MAX_KEYS];
  Oid types[INDEX_MAX_KEYS];
};

HTAB* kept = nullptr;

bool reads_foreign(Node* node, void* context) {
  if (node == nullptr) return false;
  if (!IsA(node, Query)) return compat::walk_expression(node, reads_foreign, context);
  const ListCell* cell;
  foreach (cell, castNode(Query, node)->rtable) {
    const auto* entry = lfirst_node(RangeTblEntry, cell);
    if (entry->rtekind != RTE_RELATION) continue;
    if (entry->relkind == RELKIND_FOREIGN_TABLE) return true;
    if (!entry->inh || !has_subclass(entry->relid)) continue;
    const ListCell* child;
    foreach (child, find_all_inheritors(entry->relid, AccessShareLock, nullptr))
      if (get_rel_relkind(lfirst_oid(child)) == RELKIND_FOREIGN_TABLE) return true;
  }
  return compat::walk_query(castNode(Query, node), reads_foreign, context);
}

bool is_remote(SPIPlanPtr plan) {
  const ListCell* cell;
  foreach (cell, SPI_plan_get_plan_sources(plan))
    if (reads_foreign(reinterpret_cast<Node*>(
                          linitial(static_cast<CachedPlanSource*>(lfirst(cell))->query_list)),
                      nullptr))
      return true;
  return false;
}

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
  entry->remote = is_remote(plan);
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

bool query_is_remote(Oid relation) {
  const auto* entry =
      static_cast<const KeptPlan*>(hash_search(kept, &relation, HASH_FIND, nullptr));
  return entry != nullptr && entry->remote;
}

}  // namespace pgwc::row_cache
