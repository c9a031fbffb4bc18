// SQL functions insert(anyelement) and insert(regclass, jsonb). Both run an INSERT of the caller,
// so that rights, checks, defaults and capture are an INSERT's; what they add is to find the table
// and the columns.
#include <cstring>

#include "pg/server/shmem.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/tables/catalog.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
}

namespace pgwc {

namespace {

// A prepared INSERT for one table and kind of argument.
struct PlanKey {
  Oid relation;
  Oid argument;
};
struct PreparedInsert {
  PlanKey key;  // first
  SPIPlanPtr plan;
  bool valid;
  int running;  // a CHECK or default function may insert rows itself
};
HTAB* prepared = nullptr;

void forget(Datum, Oid relation) {
  if (prepared == nullptr) return;
  HASH_SEQ_STATUS scan;
  hash_seq_init(&scan, prepared);
  while (auto* entry = static_cast<PreparedInsert*>(hash_seq_search(&scan)))
    if (relation == InvalidOid || entry->key.relation == relation) entry->valid = false;
}

// The statements name tables by their schemas.
void forget_all(Datum, int, std::uint32_t) { forget(0, InvalidOid); }

PreparedInsert* find_prepared(PlanKey key) {
  if (prepared == nullptr) {
    HASHCTL control{};
    control.keysize = sizeof(PlanKey);
    control.entrysize = sizeof(PreparedInsert);
    prepared = hash_create("pg_writecache inserts", 16, &control, HASH_ELEM | HASH_BLOBS);
    CacheRegisterRelcacheCallback(forget, 0);
    CacheRegisterSyscacheCallback(NAMESPACEOID, forget_all, 0);
  }
  bool found;
  auto* entry = static_cast<PreparedInsert*>(hash_search(prepared, &key, HASH_ENTER, &found));
  if (!found) {
    entry->plan = nullptr;
    entry->valid = false;
    entry->running = 0;
  }
  return entry;
}

[[noreturn]] void raise_null(const char* what) {
  ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", what));
  pg_unreachable();
}

// The attached table that a row type belongs to.
Oid table_of_type(Oid type) {
  const Oid relation = get_typ_typrelid(getBaseType(type));
  if (!OidIsValid(relation) || attachments::find_write_back(relation) == nullptr)
    ereport(
        ERROR, errcode(ERRCODE_DATATYPE_MISMATCH),
        errmsg("type %s is not the row type of an attached table", format_type_be(type)),
        errhint("Cast the row to its table, as in ROW(...)::my_table, and attach the table with "
                "writecache.attach()."));
  return relation;
}

char* qualified_name(Relation relation) {
  return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
                                    RelationGetRelationName(relation));
}

// Columns that a row value supplies: not those that the table computes itself.
bool is_supplied(const FormData_pg_attribute* attribute) {
  return !attribute->attisdropped && attribute->attgenerated == '\0' &&
         attribute->attidentity != ATTRIBUTE_IDENTITY_ALWAYS;
}

char* row_insert_statement(Relation relation, bool is_array) {
  StringInfoData columns;
  StringInfoData values;
  initStringInfo(&columns);
  initStringInfo(&values);
  TupleDesc desc = RelationGetDescr(relation);
  for (int i = 0; i < desc->natts; ++i) {
    const FormData_pg_attribute* attribute = TupleDescAttr(desc, i);
    if (!is_supplied(attribute)) continue;
    const char* name = quote_identifier(NameStr(attribute->attname));
    const char* comma = columns.len > 0 ? ", " : "";
    appendStringInfo(&columns, "%s%s", comma, name);
    appendStringInfo(&values, "%s%s%s", comma, is_array ? "r." : "($1).", name);
  }
  const char* source = is_array ? " FROM pg_catalog.unnest($1) AS r" : "";
  // SQL has no empty column list.
  if (columns.len == 0)
    return psprintf("INSERT INTO %s SELECT%s", qualified_name(relation), source);
  return psprintf("INSERT INTO %s (%s) SELECT %s%s", qualified_name(relation), columns.data,
                  values.data, source);
}

std::int64_t run(SPIPlanPtr plan, Datum argument) {
  Datum values[] = {argument};
  const int result = SPI_execute_plan(plan, values, nullptr, false, 0);
  if (result != SPI_OK_INSERT) elog(ERROR, "insert failed: %s", SPI_result_code_string(result));
  return static_cast<std::int64_t>(SPI_processed);
}

void connect() {
  if (SPI_connect() != SPI_OK_CONNECT) elog(ERROR, "SPI_connect failed");
}

SPIPlanPtr prepare(const char* sql, Oid argument) {
  SPIPlanPtr plan = SPI_prepare(sql, 1, &argument);
  if (plan == nullptr)
    elog(ERROR, "could not prepare insert: %s", SPI_result_code_string(SPI_result));
  return plan;
}

std::int64_t insert_rows(Oid relid, Oid argument_type, bool is_array, Datum argument) {
  connect();
  PreparedInsert* entry = find_prepared({relid, argument_type});
  if (!entry->valid) {
    // One that is running further up stays as long as the session.
    if (entry->plan != nullptr && entry->running == 0) {
      SPIPlanPtr old = entry->plan;
      entry->plan = nullptr;
      SPI_freeplan(old);
    }
    Relation relation = catalog::open_named(relid, AccessShareLock);
    char* sql = row_insert_statement(relation, is_array);
    table_close(relation, NoLock);
    SPIPlanPtr plan = prepare(sql, argument_type);
    SPI_keepplan(plan);
    entry = find_prepared({relid, argument_type});
    entry->plan = plan;
    entry->valid = true;
  }
  volatile std::int64_t rows = 0;
  ++entry->running;
  PG_TRY();
  { rows = run(entry->plan, argument); }
  PG_FINALLY();
  { --entry->running; }  // entries stay where they are
  PG_END_TRY();
  SPI_finish();
  return rows;
}

// --- jsonb
// ----------------------------------------------------------------------------------------------------------

// The table's columns that an object has keys for, as a list of attribute numbers in column order.
List* columns_of(Relation relation, JsonbContainer* object) {
  TupleDesc desc = RelationGetDescr(relation);
  Bitmapset* present = nullptr;
  JsonbIterator* it = JsonbIteratorInit(object);
  JsonbValue value;
  JsonbIteratorToken token = JsonbIteratorNext(&it, &value, true);
  while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE) {
    if (token != WJB_KEY) continue;
    int found = -1;
    for (int i = 0; i < desc->natts && found < 0; ++i) {
      const FormData_pg_attribute* attribute = TupleDescAttr(desc, i);
      const char* name = NameStr(attribute->attname);
      if (!attribute->attisdropped &&
          strlen(name) == static_cast<std::size_t>(value.val.string.len) &&
          memcmp(name, value.val.string.val, static_cast<std::size_t>(value.val.string.len)) == 0)
        found = i;
    }
    if (found < 0)
      ereport(ERROR, errcode(ERRCODE_UNDEFINED_COLUMN),
              errmsg("column \"%s\" of table \"%s\" does not exist",
                     pnstrdup(value.val.string.val, value.val.string.len),
                     RelationGetRelationName(relation)),
              errhint("Every key of the JSON object must name a column."));
    present = bms_add_member(present, found + 1);
  }
  List* columns = NIL;
  for (int column = -1; (column = bms_next_member(present, column)) >= 0;)
    columns = lappend_int(columns, column);
  return columns;
}

// One statement for objects that have the same keys.
std::int64_t insert_objects(Relation relation, const List* columns, Jsonb* array) {
  StringInfoData names;
  StringInfoData values;
  initStringInfo(&names);
  initStringInfo(&values);
  const ListCell* cell;
  foreach (cell, columns) {
    const char* name = quote_identifier(
        NameStr(TupleDescAttr(RelationGetDescr(relation), lfirst_int(cell) - 1)->attname));
    appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", name);
    appendStringInfo(&values, "%sr.%s", values.len > 0 ? ", " : "", name);
  }
  char* table = qualified_name(relation);
  // No keys at all: a row of defaults for each object.
  char* sql =
      columns == NIL
          ? psprintf("INSERT INTO %s SELECT FROM pg_catalog.jsonb_array_elements($1)", table)
          : psprintf(
                "INSERT INTO %s (%s) SELECT %s FROM pg_catalog.jsonb_populate_recordset(NULL::%s, "
                "$1) AS r",
                table, names.data, values.data, table);
  SPIPlanPtr plan = prepare(sql, JSONBOID);
  const std::int64_t rows = run(plan, JsonbPGetDatum(array));
  SPI_freeplan(plan);
  return rows;
}

Jsonb* array_of(Jsonb* document, std::uint32_t from, std::uint32_t to, bool is_array) {
  if (is_array && from == 0 && to == JB_ROOT_COUNT(document)) return document;
  JsonbParseState* state = nullptr;
  pushJsonbValue(&state, WJB_BEGIN_ARRAY, nullptr);
  if (!is_array) {
    JsonbValue object;
    object.type = jbvBinary;
    object.val.binary.data = &document->root;
    object.val.binary.len = static_cast<int>(VARSIZE(document) - VARHDRSZ);
    pushJsonbValue(&state, WJB_ELEM, &object);
  }
  for (std::uint32_t i = from; is_array && i < to; ++i)
    pushJsonbValue(&state, WJB_ELEM, getIthJsonbValueFromContainer(&document->root, i));
  return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, nullptr));
}

[[noreturn]] void raise_not_object() {
  ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
          errmsg("rows must be a JSON object or an array of JSON objects"));
  pg_unreachable();
}

std::int64_t insert_document(Relation relation, Jsonb* document) {
  if (JB_ROOT_IS_SCALAR(document)) raise_not_object();
  connect();
  std::int64_t rows = 0;
  if (JB_ROOT_IS_OBJECT(document)) {
    rows = insert_objects(relation, columns_of(relation, &document->root),
                          array_of(document, 0, 0, false));
  } else {
    // Every object is looked at before the first is stored; then runs of equal keys go together.
    const std::uint32_t count = JB_ROOT_COUNT(document);
    auto** columns = static_cast<List**>(
        MemoryContextAllocHuge(CurrentMemoryContext, sizeof(List*) * (count + 1)));
    for (std::uint32_t i = 0; i < count; ++i) {
      const JsonbValue* element = getIthJsonbValueFromContainer(&document->root, i);
      if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
        raise_not_object();
      columns[i] = columns_of(relation, element->val.binary.data);
    }
    for (std::uint32_t from = 0; from < count;) {
      std::uint32_t to = from + 1;
      while (to < count && equal(columns[from], columns[to])) ++to;
      rows += insert_objects(relation, columns[from], array_of(document, from, to, true));
      from = to;
    }
  }
  SPI_finish();
  return rows;
}

}  // namespace
}  // namespace pgwc

using namespace pgwc;

PGWC_FUNCTION(pgwc_insert_row) {
  require_buffer();
  const Oid type = get_fn_expr_argtype(fcinfo->flinfo, 0);
  const Oid element = get_element_type(getBaseType(type));
  const Oid relation = table_of_type(OidIsValid(element) ? element : type);
  if (PG_ARGISNULL(0)) raise_null("the row");
  if (OidIsValid(element) && array_contains_nulls(PG_GETARG_ARRAYTYPE_P(0)))
    raise_null("an element of the array");
  PG_RETURN_INT64(insert_rows(relation, type, OidIsValid(element), PG_GETARG_DATUM(0)));
}

PGWC_FUNCTION(pgwc_insert_jsonb) {
  require_buffer();
  if (PG_ARGISNULL(0)) raise_null("relation");
  if (PG_ARGISNULL(1)) raise_null("rows");
  const Oid relid = PG_GETARG_OID(0);
  Relation relation = catalog::open_named(relid, RowExclusiveLock);
  if (attachments::find_write_back(relid) == nullptr)
    ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
            errmsg("table \"%s\" is not attached as write_back", RelationGetRelationName(relation)),
            errhint("Attach it with writecache.attach()."));
  const std::int64_t rows = insert_document(relation, PG_GETARG_JSONB_P(1));
  table_close(relation, NoLock);
  PG_RETURN_INT64(rows);
}
