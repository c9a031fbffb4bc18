#include "pg/row_cache/write_plan.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/boundary/custom_scan.hpp"
#include "pg/row_cache/cache_key.hpp"
#include "pg/row_cache/store.hpp"
#include "pg/row_cache/written.hpp"

extern "C" {
#include "access/sysattr.h"
#include "catalog/pg_inherits.h"
#include "commands/explain.h"
#include "nodes/makefuncs.h"
#include "parser/parsetree.h"
}

namespace pgwc::row_cache::write_plan {

namespace {

// The columns that ModifyTable returns after those of the statement's own RETURNING.
enum Added { kTable, kPlace, kOldPlace, kOldTable };

struct WriteState {
  CustomScanState custom;  // first
  PlanState* modify;
  CmdType operation;
  int own;    // columns of RETURNING
  int added;  // columns after them
  Oid only_table;
  // Of the table that the last row was in.
  Oid table;
  bool noted;
  Mode mode;
};

Node* create_state(CustomScan* scan);
void begin(CustomScanState* node, EState* estate, int flags);
TupleTableSlot* execute(CustomScanState* node);
void end(CustomScanState* node);
void rescan(CustomScanState* node);

const CustomScanMethods kScanMethods = {kName, create_state};
constexpr CustomExecMethods kExecMethods =
    custom_scan::exec_methods(kName, begin, execute, end, rescan);

Node* create_state(CustomScan*) {
  return reinterpret_cast<Node*>(custom_scan::make_state<WriteState>(&kExecMethods));
}

void begin(CustomScanState* node, EState* estate, int flags) {
  auto* state = reinterpret_cast<WriteState*>(node);
  const auto* scan = reinterpret_cast<const CustomScan*>(node->ss.ps.plan);
  auto* modify = linitial_node(ModifyTable, scan->custom_plans);
  state->operation = modify->operation;
  state->own = list_length(node->ss.ps.plan->targetlist);
  state->added = list_length(modify->plan.targetlist) - state->own;
  state->only_table =
      rt_fetch(static_cast<Index>(linitial_int(modify->resultRelations)), estate->es_range_table)
          ->relid;
  state->modify = ExecInitNode(&modify->plan, estate, flags);
  node->custom_ps = list_make1(state->modify);
}

// Whether rows written to this table are noted.
bool is_noted(WriteState* state, Oid table) {
  if (state->table != table) {
    const CachedKey* key = cache_key::find_indexed(table);
    state->table = table;
    state->noted = key != nullptr && key->mode != Mode::kWriteAround;
    if (state->noted) state->mode = key->mode;
  }
  return state->noted;
}

void note(WriteState* state, TupleTableSlot* row) {
  const auto added = [&](Added which) {
    bool is_null;
    const Datum value = slot_getattr(row, state->own + static_cast<int>(which) + 1, &is_null);
    return is_null ? Datum{0} : value;
  };
  using written::Fate;
  if (is_noted(state, DatumGetObjectId(added(kTable)))) {
    const Datum place = added(kPlace);
    // An INSERT of cache_aside has nothing to take out, but ON CONFLICT DO UPDATE has.
    const Fate fate = state->mode == Mode::kWriteThrough && state->operation != CMD_DELETE
                          ? Fate::kPut
                          : Fate::kErase;
    if (place != 0)
      written::note(state->table, *reinterpret_cast<const ItemPointerData*>(DatumGetPointer(place)),
                    fate);
  }
  if (state->added <= kOldPlace) return;
  const Datum old = added(kOldPlace);
  const Oid table =
      state->added > kOldTable ? DatumGetObjectId(added(kOldTable)) : state->only_table;
  if (old != 0 && is_noted(state, table))
    written::note(table, *reinterpret_cast<const ItemPointerData*>(DatumGetPointer(old)),
                  Fate::kErase);
}

TupleTableSlot* execute(CustomScanState* node) {
  auto* state = reinterpret_cast<WriteState*>(node);
  for (;;) {
    TupleTableSlot* row = ExecProcNode(state->modify);
    if (TupIsNull(row)) return nullptr;
    note(state, row);
    if (state->own == 0) continue;
    ResetExprContext(node->ss.ps.ps_ExprContext);
    node->ss.ps.ps_ExprContext->ecxt_scantuple = row;
    return ExecProject(node->ss.ps.ps_ProjInfo);
  }
}

void end(CustomScanState* node) { ExecEndNode(reinterpret_cast<WriteState*>(node)->modify); }

void rescan(CustomScanState*) { elog(ERROR, "%s cannot be rescanned", kName); }

bool may_return(CmdType operation) {
  switch (operation) {
    case CMD_INSERT:
    case CMD_UPDATE:
    case CMD_DELETE:
      return true;
    case CMD_MERGE:
      return compat::kMergeReturns;
    default:
      return false;
  }
}

Oid relation_of(const PlannedStmt* statement, int rti) {
  return rt_fetch(static_cast<Index>(rti), statement->rtable)->relid;
}

// Foreign servers were asked at planning time what to return.
bool has_foreign(const List* relations) {
  const ListCell* cell;
  foreach (cell, relations)
    if (get_rel_relkind(lfirst_oid(cell)) == RELKIND_FOREIGN_TABLE) return true;
  return false;
}

bool is_concerned(const PlannedStmt* statement, const ModifyTable* modify) {
  bool any = false;
  List* relations = NIL;
  const ListCell* cell;
  foreach (cell, modify->resultRelations) {
    const Oid relation = relation_of(statement, lfirst_int(cell));
    relations = lappend_oid(relations, relation);
    const Attachment* attachment = attachments::find_cached(relation);
    any = any || (attachment != nullptr && attachment->mode != Mode::kWriteAround);
  }
  if (!any) return false;
  const Oid root =
      relation_of(statement, modify->rootRelation != 0 ? static_cast<int>(modify->rootRelation)
                                                       : linitial_int(modify->resultRelations));
  // Rows may be routed to other partitions than those named.
  if (get_rel_relkind(root) == RELKIND_PARTITIONED_TABLE)
    relations = list_concat(relations, find_all_inheritors(root, NoLock, nullptr));
  return !has_foreign(relations);
}

// Whether an UPDATE gives columns of the key new values, so that there may be an entry under the
// old ones.
bool changes_key(PlannedStmt* statement, const ModifyTable* modify) {
  if (modify->operation != CMD_UPDATE) return false;
  const Index rti = modify->rootRelation != 0
                        ? modify->rootRelation
                        : static_cast<Index>(linitial_int(modify->resultRelations));
  RangeTblEntry* entry = rt_fetch(rti, statement->rtable);
  const CachedKey* key = cache_key::find(entry->relid);
  if (key == nullptr) return false;
  const Bitmapset* updated = compat::updated_columns(statement, entry);
  for (int i = 0; i < key->count; ++i)
    if (bms_is_member(key->columns[i].attribute - FirstLowInvalidHeapAttributeNumber, updated))
      return true;
  return false;
}

List* add_column(List* columns, Expr* expression) {
  return lappend(columns,
                 makeTargetEntry(expression, static_cast<AttrNumber>(list_length(columns) + 1),
                                 nullptr, true));
}

Expr* system_column(Index rti, AttrNumber number, Oid type) {
  return reinterpret_cast<Expr*>(makeVar(rti, number, type, -1, InvalidOid, 0));
}

// A junk column of ModifyTable's input.
Expr* input_column(const ModifyTable* modify, const char* name) {
  const ListCell* cell;
  foreach (cell, outerPlan(modify)->targetlist) {
    auto* entry = lfirst_node(TargetEntry, cell);
    if (entry->resjunk && entry->resname != nullptr && strcmp(entry->resname, name) == 0)
      return reinterpret_cast<Expr*>(makeVar(OUTER_VAR, entry->resno,
                                             exprType(reinterpret_cast<Node*>(entry->expr)), -1,
                                             InvalidOid, 0));
  }
  return nullptr;
}

List* add_columns(List* columns, Index rti, Expr* old_place, Expr* old_table) {
  columns = add_column(columns, system_column(rti, TableOidAttributeNumber, OIDOID));
  columns = add_column(columns, system_column(rti, SelfItemPointerAttributeNumber, TIDOID));
  if (old_place != nullptr) columns = add_column(columns, old_place);
  if (old_place != nullptr && old_table != nullptr) columns = add_column(columns, old_table);
  return columns;
}

// One list for each result relation.
void return_places(PlannedStmt* statement, ModifyTable* modify) {
  Expr* old_place = nullptr;
  Expr* old_table = nullptr;
  if (changes_key(statement, modify)) {
    old_place = input_column(modify, "ctid");
    old_table = input_column(modify, "tableoid");
    // Without it the old row's table is the only one.
    if (old_table == nullptr && list_length(modify->resultRelations) > 1) old_place = nullptr;
  }
  List* lists = NIL;
  for (int i = 0; i < list_length(modify->resultRelations); ++i) {
    List* own = modify->returningLists == NIL
                    ? NIL
                    : static_cast<List*>(copyObjectImpl(list_nth(modify->returningLists, i)));
    const auto rti = static_cast<Index>(list_nth_int(modify->resultRelations, i));
    lists = lappend(lists, add_columns(own, rti, old_place, old_table));
  }
  modify->returningLists = lists;
  modify->plan.targetlist = static_cast<List*>(copyObjectImpl(linitial(lists)));
}

}  // namespace

void init() { RegisterCustomScanMethods(&kScanMethods); }

void wrap(PlannedStmt* statement) {
  if (!IsA(statement->planTree, ModifyTable) || !may_return(statement->commandType) || !enabled())
    return;
  auto* modify = castNode(ModifyTable, statement->planTree);
  if (!is_concerned(statement, modify)) return;
  List* own = modify->plan.targetlist;
  return_places(statement, modify);
  statement->planTree = custom_scan::put_on_top(modify, own, &kScanMethods);
}

}  // namespace pgwc::row_cache::write_plan
