#include "pg/live_read/target_rows.hpp"

#include <algorithm>

#include "pg/boundary/compat.hpp"
#include "pg/live_read/plan_walk.hpp"
#include "pg/live_read/reader.hpp"
#include "pg/tables/attachment.hpp"

extern "C" {
#include "access/sysattr.h"
#include "executor/executor.h"
#include "parser/parsetree.h"
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

// Whether an index that excludes rows by others is about a column that the statement changes.
bool excludes_by(Relation index, Relation relation, const Bitmapset* updated) {
  if (!index->rd_index->indisunique && !index->rd_index->indisexclusion) return false;
  for (int i = 0; i < index->rd_index->indnkeyatts; ++i) {
    const AttrNumber number = index->rd_index->indkey.values[i];
    if (number <= 0 ||
        TupleDescAttr(RelationGetDescr(relation), number - 1)->attgenerated != '\0' ||
        bms_is_member(number - FirstLowInvalidHeapAttributeNumber, updated))
      return true;
  }
  return false;
}

// Whether the new versions of rows may be in the way of buffered ones, or these in theirs.
bool may_collide(const PlannedStmt* statement, RangeTblEntry* entry) {
  if (!compat::is_named(entry)) return true;
  const Bitmapset* updated = compat::updated_columns(statement, entry);
  Relation relation = relation_open(entry->relid, NoLock);
  bool collides = relation->trigdesc != nullptr && relation->trigdesc->trig_update_before_row;
  const ListCell* cell;
  foreach (cell, RelationGetIndexList(relation)) {
    if (collides) break;
    Relation index = index_open(lfirst_oid(cell), AccessShareLock);
    collides = excludes_by(index, relation, updated);
    index_close(index, AccessShareLock);
  }
  relation_close(relation, NoLock);
  return collides;
}

// Whether the statement may be served with buffered rows left where they are.
bool is_simple(const PlannedStmt* statement, RangeTblEntry* entry) {
  if (statement->hasModifyingCTE || entry->relkind != RELKIND_RELATION) return false;
  switch (statement->commandType) {
    case CMD_SELECT:
    case CMD_DELETE:
      return true;
    case CMD_UPDATE:
      return !may_collide(statement, entry);
    default:
      return false;
  }
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

bool any_may_match(live_read::Reader* reader, live_read::Search* search) {
  TupleTableSlot* slot = MakeSingleTupleTableSlot(search->layout, &TTSOpsMinimalTuple);
  bool found = false;
  while (MinimalTuple row = live_read::next(reader)) {
    ExecStoreMinimalTuple(row, slot, false);
    SummaryKey keys[kSummaryColumns];
    std::uint8_t columns[kSummaryColumns];
    std::uint32_t nulls = 0;
    const std::size_t count = probes::keys_of(search->columns, slot, keys, columns, &nulls);
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
  if (!is_simple(statement, rt_fetch(entry, statement->rtable))) return conditions;
  const Plan* scan = only_scan_of(statement, entry);
  if (scan != nullptr) conditions.quals = known_quals(scan);
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
      found = any_may_match(&reader, &search);
    }
  }
  relation_close(opened, NoLock);
  MemoryContextSwitchTo(old);
  FreeExecutorState(estate);
  return found;
}

}  // namespace pgwc::target_rows
