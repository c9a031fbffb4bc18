#include "pg/live_read/target_rows.hpp"

#include <algorithm>

#include "pg/boundary/compat.hpp"
#include "pg/live_read/plan_walk.hpp"
#include "pg/live_read/reader.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/tables/triggers.hpp"

extern "C" {
#include "access/stratnum.h"
#include "access/sysattr.h"
#include "catalog/pg_index.h"
#include "executor/executor.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
}

namespace pgwc::target_rows {

namespace {

bool is_scan_of(const Plan* plan, Index entry) {
  switch (nodeTag(plan)) {
    case T_SeqScan:
    case T_SampleScan:
    case T_IndexScan:
    case T_IndexOnlyScan:
    case T_BitmapHeapScan:
    case T_TidScan:
    case T_TidRangeScan:
    case T_ForeignScan:
    case T_CustomScan:
      return reinterpret_cast<const Scan*>(plan)->scanrelid == entry;
    default:
      return false;
  }
}

// Null if there is none, or are more.
const Plan* only_scan_of(const PlannedStmt* statement, Index entry) {
  const Plan* found = nullptr;
  int count = 0;
  const auto visit = [&](const Plan* plan) {
    if (is_scan_of(plan, entry)) {
      found = plan;
      ++count;
    }
    return true;
  };
  walk_plan(statement->planTree, visit);
  walk_plans(statement->subplans, visit);
  return count == 1 ? found : nullptr;
}

// Known before the statement runs, and without running anybody's code.
bool is_known(const Node* value) {
  if (IsA(value, RelabelType))
    value = reinterpret_cast<const Node*>(reinterpret_cast<const RelabelType*>(value)->arg);
  return IsA(value, Const) ||
         (IsA(value, Param) && reinterpret_cast<const Param*>(value)->paramkind == PARAM_EXTERN);
}

List* add_known(List* known, const List* quals) {
  const ListCell* cell;
  foreach (cell, quals) {
    auto* clause = static_cast<Node*>(lfirst(cell));
    if (!IsA(clause, OpExpr) || list_length(castNode(OpExpr, clause)->args) != 2) continue;
    const List* sides = castNode(OpExpr, clause)->args;
    if (is_known(static_cast<const Node*>(linitial(sides))) ||
        is_known(static_cast<const Node*>(lsecond(sides))))
      known = lappend(known, clause);
  }
  return known;
}

List* known_quals(const Plan* scan) {
  switch (nodeTag(scan)) {
    case T_SeqScan:
      return add_known(NIL, scan->qual);
    case T_IndexScan:
      return add_known(add_known(NIL, scan->qual),
                       reinterpret_cast<const IndexScan*>(scan)->indexqualorig);
    case T_BitmapHeapScan:
      return add_known(add_known(NIL, scan->qual),
                       reinterpret_cast<const BitmapHeapScan*>(scan)->bitmapqualorig);
    default:
      return NIL;
  }
}

bool excludes_rows(Relation index) {
  return index->rd_index->indisunique || index->rd_index->indisexclusion;
}

// Whether an index excludes rows for what the statement changes. A predicate may be about anything.
bool excludes_by(Relation index, Relation relation, const Bitmapset* updated) {
  if (!excludes_rows(index)) return false;
  if (!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, nullptr)) return true;
  for (int i = 0; i < index->rd_index->indnkeyatts; ++i) {
    const AttrNumber number = index->rd_index->indkey.values[i];
    if (number <= 0 ||
        TupleDescAttr(RelationGetDescr(relation), number - 1)->attgenerated != '\0' ||
        bms_is_member(number - FirstLowInvalidHeapAttributeNumber, updated))
      return true;
  }
  return false;
}

// Whether one of the conditions says which value of the index's column is meant.
bool has_value(Relation index, int column, const Conditions& conditions) {
  const AttrNumber number = index->rd_index->indkey.values[column];
  const ListCell* cell;
  foreach (cell, conditions.quals) {
    const auto* clause = lfirst_node(OpExpr, cell);
    Oid op = clause->opno;
    const Var* var =
        probes::column_side(static_cast<Node*>(linitial(clause->args)), conditions.entry);
    if (var == nullptr) {
      var = probes::column_side(static_cast<Node*>(lsecond(clause->args)), conditions.entry);
      op = get_commutator(op);
    }
    if (var != nullptr && var->varattno == number && OidIsValid(op) &&
        clause->inputcollid == index->rd_indcollation[column] &&
        get_op_opfamily_strategy(op, index->rd_opfamily[column]) == BTEqualStrategyNumber)
      return true;
  }
  return false;
}

// Whether buffered rows that the index excludes by one with these values have them, too.
bool leads_to_rivals(Relation index, const Conditions& conditions) {
  if (!excludes_rows(index)) return true;
  if (index->rd_index->indisexclusion) return false;
  for (int i = 0; i < index->rd_index->indnkeyatts; ++i)
    if (index->rd_index->indkey.values[i] <= 0 || !has_value(index, i, conditions)) return false;
  return true;
}

bool is_referenced(Relation relation) {
  const TriggerDesc* triggers = relation->trigdesc;
  for (int i = 0; triggers != nullptr && i < triggers->numtriggers; ++i)
    if (RI_FKey_trigger_type(triggers->triggers[i].tgfoid) == RI_TRIGGER_PK) return true;
  return false;
}

// Whether new versions of rows stay out of the way of buffered ones.
bool may_update(Relation relation, const PlannedStmt* statement, RangeTblEntry* entry) {
  if (!compat::is_named(entry) ||
      (relation->trigdesc != nullptr && relation->trigdesc->trig_update_before_row))
    return false;
  const Bitmapset* updated = compat::updated_columns(statement, entry);
  bool may = true;
  const ListCell* cell;
  foreach (cell, RelationGetIndexList(relation)) {
    Relation index = index_open(lfirst_oid(cell), AccessShareLock);
    may = may && !excludes_by(index, relation, updated);
    index_close(index, NoLock);
  }
  return may;
}

// Whether no buffered row is there because of those that are deleted: none refers to them, and none
// could take the place of one that has excluded it.
bool may_delete(Relation relation, const Conditions& conditions) {
  if (is_referenced(relation)) return false;
  bool may = true;
  const ListCell* cell;
  foreach (cell, RelationGetIndexList(relation)) {
    Relation index = index_open(lfirst_oid(cell), AccessShareLock);
    may = may && leads_to_rivals(index, conditions);
    index_close(index, NoLock);
  }
  return may;
}

// Whether the statement may be served with buffered rows left where they are.
bool is_simple(const PlannedStmt* statement, RangeTblEntry* entry, const Conditions& conditions) {
  if (statement->hasModifyingCTE || entry->relkind != RELKIND_RELATION) return false;
  Relation relation = relation_open(entry->relid, NoLock);
  bool simple = false;
  // Triggers may make other rows of those in the buffer.
  if (!has_user_insert_triggers(relation)) switch (statement->commandType) {
      case CMD_SELECT:
        simple = true;
        break;
      case CMD_DELETE:
        simple = may_delete(relation, conditions);
        break;
      case CMD_UPDATE:
        simple = may_update(relation, statement, entry);
        break;
      default:
        break;
    }
  relation_close(relation, NoLock);
  return simple;
}

bool may_match(const live_read::Search& search, const SummaryKey* keys,
               const std::uint8_t* key_columns, std::size_t key_count) {
  for (std::size_t p = 0; p < search.count; ++p) {
    const Probe& probe = search.probes[p];
    const SummaryKey* key = nullptr;
    for (std::size_t k = 0; k < key_count; ++k)
      if (key_columns[k] == probe.column) key = &keys[k];
    // Operators of a btree are strict.
    if (key == nullptr || (probe.is_value && key->hash != probe.hash) ||
        (probe.has_key && (key->key < probe.low || key->key > probe.high)))
      return false;
  }
  return true;
}

bool any_may_match(live_read::Reader* reader, live_read::Search* search, ExprContext* context) {
  TupleTableSlot* slot = MakeSingleTupleTableSlot(search->layout, &TTSOpsMinimalTuple);
  bool found = false;
  while (MinimalTuple row = live_read::next(reader)) {
    ExecStoreMinimalTuple(row, slot, false);
    SummaryKey keys[kSummaryColumns];
    std::uint8_t columns[kSummaryColumns];
    std::uint32_t nulls = 0;
    // Hash functions may leave something behind.
    ResetExprContext(context);
    MemoryContext old = MemoryContextSwitchTo(context->ecxt_per_tuple_memory);
    const std::size_t count = probes::keys_of(search->columns, slot, keys, columns, &nulls);
    MemoryContextSwitchTo(old);
    found = may_match(*search, keys, columns, count);
    if (found) break;
  }
  ExecDropSingleTupleTableSlot(slot);
  if (search->slot != nullptr) ExecDropSingleTupleTableSlot(search->slot);
  return found;
}

}  // namespace

Conditions conditions_of(const PlannedStmt* statement, Index entry) {
  Conditions conditions{entry, NIL};
  const Plan* scan = only_scan_of(statement, entry);
  if (scan != nullptr) conditions.quals = known_quals(scan);
  if (conditions.quals != NIL &&
      !is_simple(statement, rt_fetch(entry, statement->rtable), conditions))
    conditions.quals = NIL;
  return conditions;
}

bool may_meet(const Conditions& conditions, Oid relation, QueueNo queue, std::uint64_t queue_id,
              Snapshot snapshot, ParamListInfo parameters) {
  if (conditions.quals == NIL) return true;
  EState* estate = CreateExecutorState();
  MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);
  estate->es_param_list_info = parameters;
  Relation opened = relation_open(relation, NoLock);
  live_read::Search search{};
  search.columns = probes::columns_of(opened);
  search.layout = RelationGetDescr(opened);
  search.memory = estate->es_query_cxt;
  search.worth_adding = live_read::kWorthAdding;
  std::size_t count;
  const probes::Condition* usable = probes::conditions_of(
      nullptr, conditions.quals, conditions.entry, search.columns, nullptr, &count);
  bool found = true;
  if (count > 0) {
    found = probes::evaluate(usable, std::min(count, live_read::kMaxProbes), search.columns,
                             GetPerTupleExprContext(estate), search.probes, &search.count);
    if (found) {
      live_read::Reader reader;
      live_read::begin(&reader, queue, queue_id, relation,
                       attachments::layout_fingerprint(search.layout), snapshot);
      reader.search = &search;
      found = any_may_match(&reader, &search, GetPerTupleExprContext(estate));
    }
  }
  relation_close(opened, NoLock);
  MemoryContextSwitchTo(old);
  FreeExecutorState(estate);
  return found;
}

}  // namespace pgwc::target_rows
