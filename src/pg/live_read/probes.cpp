#include "pg/live_read/probes.hpp"

#include <bit>

#include "core/checksum.hpp"

extern "C" {
#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/typcache.h"
}

namespace pgwc::probes {

namespace {

// Asked for each row of a block.
[[gnu::always_inline]] inline bool find_key(Oid type, Datum value, std::int64_t* key) {
  switch (type) {
    case BOOLOID:
      *key = DatumGetBool(value) ? 1 : 0;
      return true;
    case INT2OID:
      *key = DatumGetInt16(value);
      return true;
    case INT4OID:
    case DATEOID:
      *key = DatumGetInt32(value);
      return true;
    case OIDOID:
      *key = DatumGetObjectId(value);
      return true;
    case INT8OID:
    case TIMESTAMPOID:
    case TIMESTAMPTZOID:
    case TIMEOID:
      *key = DatumGetInt64(value);
      return true;
    case FLOAT8OID: {
      double number = DatumGetFloat8(value);
      if (number != number) {  // all NaN are equal, and above everything
        *key = INT64_MAX;
        return true;
      }
      if (number == 0) number = 0;  // -0 too
      const auto bits = std::bit_cast<std::int64_t>(number);
      *key = bits >= 0 ? bits : static_cast<std::int64_t>(0x8000000000000000ull) - bits;
      return true;
    }
    default:
      return false;
  }
}

}  // namespace

bool key_of(Oid type, Datum value, std::int64_t* key) { return find_key(type, value, key); }

namespace {

Datum value_at(const char* place, Oid type) {
  switch (type) {
    case BOOLOID:
      return fetch_att(place, true, 1);
    case INT2OID:
      return fetch_att(place, true, 2);
    case INT4OID:
    case DATEOID:
    case OIDOID:
      return fetch_att(place, true, 4);
    default:
      return fetch_att(place, FLOAT8PASSBYVAL, 8);
  }
}

bool has_keys(Oid type) {
  std::int64_t key;
  return key_of(type, Int32GetDatum(0), &key);
}

bool is_integer(Oid type) { return type == INT2OID || type == INT4OID || type == INT8OID; }

// Whether a value of one type can be compared by the key, or hash, of another.
bool are_comparable(Oid column, Oid value) {
  return column == value || (is_integer(column) && is_integer(value)) ||
         (column == VARCHAROID && value == TEXTOID);
}

std::int32_t offset_of(TupleDesc row, AttrNumber number) {
  int offset = 0;
  for (int i = 0; i < number; ++i) {
    const FormData_pg_attribute* attribute = TupleDescAttr(row, i);
    if (attribute->attlen <= 0) return -1;
    offset = static_cast<int>(att_align_nominal(offset, attribute->attalign));
    if (i == number - 1) break;
    offset += attribute->attlen;
  }
  return offset;
}

bool add_column(Columns* columns, Relation relation, AttrNumber number) {
  if (number <= 0 || columns->count == kSummaryColumns) return false;
  for (std::uint32_t i = 0; i < columns->count; ++i)
    if (columns->number[i] == number) return false;
  const FormData_pg_attribute* attribute = TupleDescAttr(RelationGetDescr(relation), number - 1);
  const std::uint32_t i = columns->count;
  columns->hash[i] = nullptr;
  if (!has_keys(attribute->atttypid)) {
    TypeCacheEntry* type =
        lookup_type_cache(attribute->atttypid, TYPECACHE_HASH_EXTENDED_PROC_FINFO |
                                                   TYPECACHE_EQ_OPR | TYPECACHE_BTREE_OPFAMILY);
    if (!OidIsValid(type->hash_extended_proc) ||
        (OidIsValid(attribute->attcollation) &&
         !get_collation_isdeterministic(attribute->attcollation)))
      return false;
    columns->hash[i] = &type->hash_extended_proc_finfo;
  }
  columns->number[i] = number;
  columns->offset[i] =
      columns->hash[i] == nullptr ? offset_of(RelationGetDescr(relation), number) : -1;
  columns->type[i] = attribute->atttypid;
  columns->collation[i] = attribute->attcollation;
  if (number > columns->last) columns->last = number;
  ++columns->count;
  columns->id = mix(columns->id * 31 + (static_cast<std::uint64_t>(attribute->atttypid) << 16) +
                    static_cast<std::uint64_t>(number));
  return true;
}

std::uint64_t hash_of(const Columns& columns, std::uint32_t column, Datum value, std::int64_t key) {
  if (columns.hash[column] == nullptr) return mix(static_cast<std::uint64_t>(key));
  return DatumGetUInt64(
      FunctionCall2Coll(columns.hash[column], columns.collation[column], value, Int64GetDatum(0)));
}

int strategy_of(Oid op, Oid type) {
  const TypeCacheEntry* entry = lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY);
  return OidIsValid(entry->btree_opf) ? get_op_opfamily_strategy(op, entry->btree_opf) : 0;
}

bool is_fixed(Node* expression) {
  return !contain_var_clause(expression) && !contain_volatile_functions(expression) &&
         !contain_subplans(expression);
}

}  // namespace

const Var* column_side(Node* node, Index relation) {
  if (node != nullptr && IsA(node, RelabelType))
    node = reinterpret_cast<Node*>(castNode(RelabelType, node)->arg);
  if (node == nullptr || !IsA(node, Var)) return nullptr;
  const Var* var = castNode(Var, node);
  return static_cast<Index>(var->varno) == relation && var->varattno > 0 && var->varlevelsup == 0
             ? var
             : nullptr;
}

namespace {

Columns find_columns(Relation relation) {
  Columns columns{};
  ListCell* cell;
  foreach (cell, RelationGetIndexList(relation)) {
    Relation index = relation_open(lfirst_oid(cell), AccessShareLock);
    for (int i = 0; i < index->rd_index->indnkeyatts; ++i)
      (void)add_column(&columns, relation, index->rd_index->indkey.values[i]);
    relation_close(index, NoLock);
  }
  return columns;
}

struct Remembered {
  Oid relation;  // first
  Columns columns;
};
HTAB* remembered = nullptr;
std::uint64_t changes = 0;

void forget(Datum, Oid relation) {
  ++changes;
  HASH_SEQ_STATUS scan;
  if (OidIsValid(relation)) {
    hash_search(remembered, &relation, HASH_REMOVE, nullptr);
    return;
  }
  hash_seq_init(&scan, remembered);
  while (auto* entry = static_cast<Remembered*>(hash_seq_search(&scan)))
    hash_search(remembered, &entry->relation, HASH_REMOVE, nullptr);
}

}  // namespace

Columns columns_of(Relation relation) {
  if (remembered == nullptr) {
    HASHCTL control{};
    control.keysize = sizeof(Oid);
    control.entrysize = sizeof(Remembered);
    remembered = hash_create("pg_writecache summary columns", 16, &control, HASH_ELEM | HASH_BLOBS);
    CacheRegisterRelcacheCallback(forget, 0);
  }
  const Oid id = RelationGetRelid(relation);
  if (auto* entry = static_cast<Remembered*>(hash_search(remembered, &id, HASH_FIND, nullptr)))
    return entry->columns;
  Columns columns;
  std::uint64_t before;
  do {
    before = changes;
    columns = find_columns(relation);
  } while (before != changes);
  static_cast<Remembered*>(hash_search(remembered, &id, HASH_ENTER, nullptr))->columns = columns;
  return columns;
}

Condition* conditions_of(PlanState* node, const List* quals, Index relation, const Columns& columns,
                         const AttrMap* map, std::size_t* count) {
  *count = 0;
  if (columns.count == 0 || quals == NIL) return nullptr;
  auto* conditions = static_cast<Condition*>(
      palloc(sizeof(Condition) * static_cast<std::size_t>(list_length(quals))));
  const ListCell* cell;
  foreach (cell, quals) {
    auto* clause = static_cast<Node*>(lfirst(cell));
    if (!IsA(clause, OpExpr) || list_length(castNode(OpExpr, clause)->args) != 2) continue;
    const OpExpr* expression = castNode(OpExpr, clause);
    auto* left = static_cast<Node*>(linitial(expression->args));
    auto* right = static_cast<Node*>(lsecond(expression->args));
    Oid op = expression->opno;
    const Var* var = column_side(left, relation);
    if (var == nullptr) {
      var = column_side(right, relation);
      std::swap(left, right);
      op = get_commutator(op);
    }
    if (var == nullptr || !OidIsValid(op) || !is_fixed(right)) continue;
    const AttrNumber number = map != nullptr ? map->attnums[var->varattno - 1] : var->varattno;
    for (std::uint32_t c = 0; c < columns.count; ++c) {
      if (columns.number[c] != number || !are_comparable(columns.type[c], exprType(right)))
        continue;
      if (columns.hash[c] != nullptr && expression->inputcollid != columns.collation[c]) continue;
      const int strategy = strategy_of(op, columns.type[c]);
      if (strategy == 0 || (columns.hash[c] != nullptr && strategy != BTEqualStrategyNumber))
        continue;
      conditions[(*count)++] = {c, strategy, exprType(right),
                                ExecInitExpr(reinterpret_cast<Expr*>(right), node)};
    }
  }
  return conditions;
}

bool evaluate(const Condition* conditions, std::size_t count, const Columns& columns,
              ExprContext* context, Probe* probes, std::size_t* probe_count) {
  *probe_count = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const Condition& condition = conditions[i];
    bool is_null;
    const Datum value = ExecEvalExprSwitchContext(condition.value, context, &is_null);
    if (is_null) return false;  // btree operators are strict
    Probe probe{condition.column, condition.strategy == BTEqualStrategyNumber, 0, true, INT64_MIN,
                INT64_MAX};
    std::int64_t key = 0;
    probe.has_key = key_of(condition.value_type, value, &key);
    if (probe.is_value) probe.hash = hash_of(columns, condition.column, value, key);
    if (condition.strategy >= BTEqualStrategyNumber) probe.low = key;
    if (condition.strategy <= BTEqualStrategyNumber) probe.high = key;
    probes[(*probe_count)++] = probe;
  }
  return true;
}

bool rules_out(const Columns& columns, const Probe* probes, std::size_t count, MinimalTuple row) {
  if ((row->t_infomask & HEAP_HASNULL) != 0) return false;
  const char* data = reinterpret_cast<const char*>(row) + row->t_hoff - MINIMAL_TUPLE_OFFSET;
  const int last = row->t_infomask2 & HEAP_NATTS_MASK;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t column = probes[i].column;
    if (!probes[i].has_key || columns.offset[column] < 0 || columns.number[column] > last) continue;
    const char* place = data + columns.offset[column];
    std::int64_t key;
    if (find_key(columns.type[column], value_at(place, columns.type[column]), &key) &&
        (key < probes[i].low || key > probes[i].high))
      return true;
  }
  return false;
}

std::size_t keys_of(const Columns& columns, TupleTableSlot* row, SummaryKey* keys,
                    std::uint8_t* key_columns, std::uint32_t* nulls) {
  std::size_t count = 0;
  slot_getsomeattrs(row, columns.last);
  for (std::uint32_t c = 0; c < columns.count; ++c) {
    if (row->tts_isnull[columns.number[c] - 1]) {
      *nulls |= 1u << c;
      continue;
    }
    const Datum value = row->tts_values[columns.number[c] - 1];
    SummaryKey key{};
    (void)key_of(columns.type[c], value, &key.key);
    key.hash = hash_of(columns, c, value, key.key);
    keys[count] = key;
    key_columns[count++] = static_cast<std::uint8_t>(c);
  }
  return count;
}

std::int32_t position_of(const Columns& columns, AttrNumber number) {
  for (std::uint32_t c = 0; c < columns.count; ++c)
    if (columns.number[c] == number && columns.hash[c] == nullptr)
      return static_cast<std::int32_t>(c);
  return -1;
}

}  // namespace pgwc::probes
