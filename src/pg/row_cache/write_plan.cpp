#include "pg/row_cache/write_plan.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/boundary/custom_scan.hpp"
#include "pg/row_cache/cache_key.hpp"
#include "pg/row_cache/computed.hpp"
#include "pg/row_cache/store.hpp"
#include "pg/row_cache/written.hpp"

extern "C" {
#include "access/sysattr.h"
#include "catalog/pg_inherits.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "parser/parsetree.h"
}

namespace pgwc::row_cache::write_plan {

namespace {

// The columns that ModifyTable returns after those of the statement's own RETURNING. The tables
// only where there are several. No place where the row itself still has it when it is returned:
// RETURNING a column has its price, also RETURNING nothing, but that is less.
enum Added { kPlace, kTable, kOldPlace, kOldTable };
constexpr int kAddedColumns = 4;

struct WriteState {
  CustomScanState custom;  // first
  PlanState* modify;
  CmdType operation;
  int own;                            // columns of RETURNING
  AttrNumber columns[kAddedColumns];  // by Added; 0: not there
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
constinit ExecutorStart_hook_type previous_start = nullptr;
// PostgreSQL's own of ModifyTable.
constinit ExecProcNodeMtd execute_modify = nullptr;
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
  int i = 0;
  ListCell* cell;
  foreach (cell, scan->custom_private)
    state->columns[lfirst_int(cell)] = static_cast<AttrNumber>(state->own + ++i);
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
  // 0 for what is not there.
  const auto added = [&](Added which) {
    bool is_null = true;
    const Datum value =
        state->columns[which] == 0 ? Datum{0} : slot_getattr(row, state->columns[which], &is_null);
    return is_null ? Datum{0} : value;
  };
  const auto table = [&](Added which) {
    const Datum value = added(which);
    return value == 0 ? state->only_table : DatumGetObjectId(value);
  };
  const auto note_place = [&](Datum value, Oid relation, written::Fate fate) {
    if (value != 0 && is_noted(state, relation))
      written::note(relation, *reinterpret_cast<const ItemPointerData*>(DatumGetPointer(value)),
                    fate);
  };
  using written::Fate;
  const bool is_row_there = state->columns[kPlace] == 0;
  const TupleTableSlot* written = state->modify->ps_ExprContext->ecxt_scantuple;
  const Oid written_to = is_row_there ? written->tts_tableOid : table(kTable);
  const bool put = is_noted(state, written_to) && state->mode == Mode::kWriteThrough &&
                   state->operation != CMD_DELETE;
  note_place(is_row_there ? PointerGetDatum(&written->tts_tid) : added(kPlace), written_to,
             put ? Fate::kPut : Fate::kErase);
  note_place(added(kOldPlace), table(kOldTable), Fate::kErase);
}

TupleTableSlot* execute(CustomScanState* node) {
  auto* state = reinterpret_cast<WriteState*>(node);
  for (;;) {
    TupleTableSlot* row = ExecProcNode(state->modify);
    if (TupIsNull(row)) return nullptr;
    note(state, row);
    if (state->own == 0) continue;
    if (node->ss.ps.ps_ProjInfo == nullptr) return row;  // nothing was added
    ResetExprContext(node->ss.ps.ps_ExprContext);
    node->ss.ps.ps_ExprContext->ecxt_scantuple = row;
    return ExecProject(node->ss.ps.ps_ProjInfo);
  }
}

// Instead of the node: notes the rows that ModifyTable returns, and returns none. What DELETE
// returns is the place, and perhaps the table.
TupleTableSlot* execute_alone(PlanState* node) {
  const auto* modify = reinterpret_cast<const ModifyTableState*>(node);
  for (;;) {
    TupleTableSlot* returned = execute_modify(node);
    if (TupIsNull(returned)) return nullptr;
    const TupleTableSlot* row = node->ps_ExprContext->ecxt_scantuple;
    const bool deleted = modify->operation == CMD_DELETE;
    const CachedKey* key = cache_key::find_indexed(row->tts_tableOid);
    if (key == nullptr || key->mode == Mode::kWriteAround) continue;
    bool is_null = false;
    const ItemPointer place =
        deleted
            ? reinterpret_cast<ItemPointer>(DatumGetPointer(slot_getattr(returned, 1, &is_null)))
            : const_cast<ItemPointer>(&row->tts_tid);
    if (!is_null)
      written::note(row->tts_tableOid, *place,
                    !deleted && key->mode == Mode::kWriteThrough ? written::Fate::kPut
                                                                 : written::Fate::kErase);
  }
}

void pass_on(QueryDesc* query, int flags) {
  if (previous_start)
    previous_start(query, flags);
  else
    standard_ExecutorStart(query, flags);
}

// The plan without the node, if the node is there and not needed.
Plan* without_node(const QueryDesc* query, int flags) {
  Plan* plan = query->plannedstmt->planTree;
  if (!IsA(plan, CustomScan) || reinterpret_cast<CustomScan*>(plan)->methods != &kScanMethods ||
      (flags & EXEC_FLAG_EXPLAIN_ONLY) != 0 || query->instrument_options != 0)
    return nullptr;
  const auto* scan = reinterpret_cast<const CustomScan*>(plan);
  auto* modify = linitial_node(ModifyTable, scan->custom_plans);
  return plan->targetlist == NIL && (scan->custom_private == NIL || modify->operation == CMD_DELETE)
             ? &modify->plan
             : nullptr;
}

void start_without_node(QueryDesc* query, int flags, Plan* alone) {
  Plan* const node = query->plannedstmt->planTree;
  query->plannedstmt->planTree = alone;
  alone->initPlan = node->initPlan;
  PG_TRY();
  { pass_on(query, flags); }
  PG_FINALLY();
  {
    query->plannedstmt->planTree = node;
    alone->initPlan = NIL;
  }
  PG_END_TRY();
  Assert(IsA(query->planstate, ModifyTableState));
  execute_modify = query->planstate->ExecProcNodeReal;
  ExecSetExecProcNode(query->planstate, execute_alone);
}

void start(QueryDesc* query, int flags) {
  if (query->plannedstmt->resultRelations != NIL) note_writes(query->plannedstmt);
  Plan* alone = without_node(query, flags);
  if (alone == nullptr)
    pass_on(query, flags);
  else
    start_without_node(query, flags, alone);
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

// Whether writes to the relation may concern the cache.
bool is_written_through(Oid relation, const ModifyTable* modify) {
  const Attachment* attachment = attachments::find_cached(relation);
  if (attachment == nullptr || attachment->mode == Mode::kWriteAround) return false;
  // Of a view, INSTEAD OF triggers write what no place stands behind.
  const char kind = get_rel_relkind(relation);
  if (kind == RELKIND_VIEW) return false;
  // New rows are not what cache_aside takes out. (A partition may have a mode of its own.)
  return attachment->mode != Mode::kCacheAside || modify->operation != CMD_INSERT ||
         modify->onConflictAction == ONCONFLICT_UPDATE || kind == RELKIND_PARTITIONED_TABLE;
}

bool is_concerned(const PlannedStmt* statement, const ModifyTable* modify) {
  bool any = false;
  List* relations = NIL;
  const ListCell* cell;
  foreach (cell, modify->resultRelations) {
    const Oid relation = relation_of(statement, lfirst_int(cell));
    relations = lappend_oid(relations, relation);
    any = any || is_written_through(relation, modify);
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

// Whether columns of the relation's key are among those of the target that an UPDATE gives new
// values; the target is the relation or a table above it.
bool is_key_among(const Bitmapset* updated, Oid relation, Oid target) {
  const CachedKey* key = cache_key::find(relation);
  if (key == nullptr) return false;
  for (int i = 0; i < key->count; ++i) {
    AttrNumber number = key->columns[i].attribute;
    if (relation != target) number = get_attnum(target, get_attname(relation, number, false));
    if (bms_is_member(number - FirstLowInvalidHeapAttributeNumber, updated)) return true;
  }
  return false;
}

// Whether an UPDATE gives columns of the key new values, so that there may be an entry under the
// old ones.
bool changes_key(PlannedStmt* statement, const ModifyTable* modify) {
  if (modify->operation != CMD_UPDATE) return false;
  const Index rti = modify->rootRelation != 0
                        ? modify->rootRelation
                        : static_cast<Index>(linitial_int(modify->resultRelations));
  RangeTblEntry* target = rt_fetch(rti, statement->rtable);
  const Bitmapset* updated = compat::updated_columns(statement, target);
  // Partitions of one table that is attached have one key.
  if (cache_key::find(target->relid) != nullptr)
    return is_key_among(updated, target->relid, target->relid);
  const ListCell* cell;
  foreach (cell, modify->resultRelations)
    if (is_key_among(updated, relation_of(statement, lfirst_int(cell)), target->relid)) return true;
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

struct NewColumn {
  Added what;
  Expr* of_input;  // else a system column of the result relation
  AttrNumber number;
  Oid type;
};

// One list for each result relation. Returns what was added, as a List of int.
List* return_places(PlannedStmt* statement, ModifyTable* modify) {
  NewColumn columns[kAddedColumns];
  int count = 0;
  const int first = linitial_int(modify->resultRelations);
  const bool several = list_length(modify->resultRelations) > 1 || modify->rootRelation != 0 ||
                       get_rel_relkind(relation_of(statement, first)) == RELKIND_PARTITIONED_TABLE;
  // DELETE lets go of its row when it has computed what it returns.
  if (modify->operation != CMD_INSERT && modify->operation != CMD_UPDATE) {
    columns[count++] = {kPlace, nullptr, SelfItemPointerAttributeNumber, TIDOID};
    if (several) columns[count++] = {kTable, nullptr, TableOidAttributeNumber, OIDOID};
  }
  if (changes_key(statement, modify)) {
    Expr* old_place = input_column(modify, "ctid");
    Expr* old_table = input_column(modify, "tableoid");
    if (old_place != nullptr &&
        (old_table != nullptr || list_length(modify->resultRelations) == 1)) {
      columns[count++] = {kOldPlace, old_place, 0, InvalidOid};
      if (old_table != nullptr) columns[count++] = {kOldTable, old_table, 0, InvalidOid};
    }
  }
  List* lists = NIL;
  for (int i = 0; i < list_length(modify->resultRelations); ++i) {
    List* list = modify->returningLists == NIL
                     ? NIL
                     : static_cast<List*>(copyObjectImpl(list_nth(modify->returningLists, i)));
    const auto rti = static_cast<Index>(list_nth_int(modify->resultRelations, i));
    for (int k = 0; k < count; ++k)
      list = add_column(list, columns[k].of_input != nullptr
                                  ? columns[k].of_input
                                  : system_column(rti, columns[k].number, columns[k].type));
    lists = lappend(lists, list);
  }
  modify->returningLists = lists;
  modify->plan.targetlist = static_cast<List*>(copyObjectImpl(linitial(lists)));
  List* added = NIL;
  for (int k = 0; k < count; ++k) added = lappend_int(added, columns[k].what);
  return added;
}

}  // namespace

void init() { RegisterCustomScanMethods(&kScanMethods); }

void install_hook() {
  previous_start = ExecutorStart_hook;
  ExecutorStart_hook = start;
}

void wrap(PlannedStmt* statement) {
  if (!IsA(statement->planTree, ModifyTable) || !may_return(statement->commandType) || !enabled())
    return;
  auto* modify = castNode(ModifyTable, statement->planTree);
  if (!is_concerned(statement, modify)) return;
  List* own = modify->plan.targetlist;
  List* added = return_places(statement, modify);
  Plan* top = custom_scan::put_on_top(modify, own, &kScanMethods);
  castNode(CustomScan, top)->custom_private = added;
  statement->planTree = top;
}

}  // namespace pgwc::row_cache::write_plan
