#include "pg/write_back/capture_insert.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/boundary/custom_scan.hpp"
#include "pg/server/settings.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/tables/utility.hpp"
#include "pg/write_back/check_row.hpp"
#include "pg/write_back/staging.hpp"
#include "pg/write_back/store.hpp"

extern "C" {
#include "access/sysattr.h"
#include "access/xlog.h"
#include "commands/explain.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
}

namespace pgwc::capture_insert {

namespace {

struct InsertState {
  CustomScanState custom;  // first
  ModifyTable* modify;
  PlanState* input;        // of ModifyTable's outer plan, or of ModifyTable itself when aside
  ProjectionInfo* values;  // the one row of INSERT ... VALUES, instead of `input`
  bool values_given;
  bool aside;  // this execution is ModifyTable's own
  ResultRelInfo* target;
  RowCheck check;
  Stage* stage;
  ProjectionInfo* without_junk;  // null if the input's rows are the table's
  TupleTableSlot* row;           // own slot, where the input's may not be written to
  ProjectionInfo* returning;
};

Node* create_state(CustomScan* scan);
void begin(CustomScanState* node, EState* estate, int flags);
TupleTableSlot* execute(CustomScanState* node);
void end(CustomScanState* node);
void rescan(CustomScanState* node);
void explain(CustomScanState* node, List* ancestors, ExplainState* es);

const CustomScanMethods kScanMethods = {"WriteBackInsert", create_state};
constexpr CustomExecMethods kExecMethods =
    custom_scan::exec_methods("WriteBackInsert", begin, execute, end, rescan, explain);

// Buffered rows have no place in the table yet, so nothing that names one can be returned.
bool uses_row_address(Node* node, void* partitioned) {
  if (node == nullptr) return false;
  if (IsA(node, Var)) {
    const Var* var = castNode(Var, node);
    return (var->varattno < 0 &&
            (partitioned != nullptr || var->varattno != TableOidAttributeNumber)) ||
           !compat::is_plain_var(var);
  }
  return compat::walk_expression(node, uses_row_address, partitioned);
}

bool can_capture(const PlannedStmt* statement, const ModifyTable* modify, Oid relid) {
  if (modify->operation != CMD_INSERT || list_length(modify->resultRelations) != 1 ||
      modify->onConflictAction != ONCONFLICT_NONE || modify->withCheckOptionLists != NIL ||
      statement->hasModifyingCTE)
    return false;
  // Which partition a row goes to is not known before the flush.
  bool partitioned = get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE;
  return !uses_row_address(reinterpret_cast<Node*>(modify->returningLists),
                           partitioned ? &partitioned : nullptr);
}

Node* create_state(CustomScan*) {
  return reinterpret_cast<Node*>(custom_scan::make_state<InsertState>(&kExecMethods));
}

// What can only be known now. The plan may be a cached one, made under other settings.
bool must_step_aside(Relation relation, Attachment* attachment) {
  return attachment == nullptr || !settings::capture || stores_for_replication() ||
         IsolationIsSerializable() || IsInParallelMode() || !IsUnderPostmaster ||
         settings::bulk_bypass_kb == 0 ||
         (attachment->insert_triggers && !attachment->allow_triggers) || attachment->insert_rules ||
         storing_into() == RelationGetRelid(relation) || utility::is_ddl_running();
}

bool has_junk(const Plan* input) {
  const ListCell* cell;
  foreach (cell, input->targetlist)
    if (lfirst_node(TargetEntry, cell)->resjunk) return true;
  return false;
}

// ModifyTable's own rule for which columns of its input make the row.
ProjectionInfo* project_without_junk(InsertState* state, Plan* input) {
  List* wanted = NIL;
  ListCell* cell;
  foreach (cell, input->targetlist) {
    auto* entry = lfirst_node(TargetEntry, cell);
    if (entry->resjunk) continue;
    auto* expression = reinterpret_cast<Node*>(entry->expr);
    Var* var = makeVar(OUTER_VAR, entry->resno, exprType(expression), exprTypmod(expression),
                       exprCollation(expression), 0);
    const auto position = static_cast<AttrNumber>(list_length(wanted) + 1);
    wanted =
        lappend(wanted, makeTargetEntry(reinterpret_cast<Expr*>(var), position, nullptr, false));
  }
  return ExecBuildProjectionInfo(wanted, state->custom.ss.ps.ps_ExprContext, state->row,
                                 &state->custom.ss.ps,
                                 RelationGetDescr(state->target->ri_RelationDesc));
}

void prepare_returning(InsertState* state) {
  if (state->modify->returningLists == NIL) return;
  PlanState* ps = &state->custom.ss.ps;
  // The expressions read the table's row, not this node's own scan tuple.
  ps->scanops = nullptr;
  ps->scanopsset = false;
  ps->scandesc = nullptr;
  state->returning = ExecBuildProjectionInfo(
      static_cast<List*>(linitial(state->modify->returningLists)), ps->ps_ExprContext,
      ps->ps_ResultTupleSlot, ps, RelationGetDescr(state->target->ri_RelationDesc));
}

// INSERT ... VALUES of one row: its expressions can be computed right here. Starting up
// the Result node that would do it costs more than the rest of this node's work.
bool is_one_row(const Plan* input, const EState* estate, int flags) {
  return IsA(input, Result) && input->lefttree == nullptr && input->initPlan == NIL &&
         castNode(Result, const_cast<Plan*>(input))->resconstantqual == nullptr &&
         !has_junk(input) && estate->es_instrument == 0 && (flags & EXEC_FLAG_EXPLAIN_ONLY) == 0;
}

void begin(CustomScanState* node, EState* estate, int flags) {
  auto* state = reinterpret_cast<InsertState*>(node);
  auto* scan = castNode(CustomScan, node->ss.ps.plan);
  state->modify = castNode(ModifyTable, linitial(scan->custom_plans));
  const Index target = static_cast<Index>(linitial_int(state->modify->resultRelations));
  Relation relation = compat::target_relation(estate, target);
  Attachment* attachment = attachments::find_write_back(RelationGetRelid(relation));
  while (attachment != nullptr && !attachment->shape_known) {
    attachments::learn_shape(attachment, relation);
    attachment = attachments::find_write_back(RelationGetRelid(relation));
  }
  state->aside = must_step_aside(relation, attachment);
  if (!state->aside && (flags & EXEC_FLAG_EXPLAIN_ONLY) == 0) {
    state->stage = staging::open(relation, attachment);
    state->aside = state->stage == nullptr;
  }
  Plan* input = state->aside ? &state->modify->plan : outerPlan(state->modify);
  const bool one_row = !state->aside && is_one_row(input, estate, flags);
  if (!state->aside) {
    state->target = makeNode(ResultRelInfo);
    ExecInitResultRelation(estate, state->target, target);
    compat::check_valid_result_rel(state->target);
    if ((flags & EXEC_FLAG_EXPLAIN_ONLY) == 0) begin_check(&state->check, estate, state->target);
    if (one_row || has_junk(input) || has_generated_columns(state->target))
      state->row =
          ExecAllocTableSlot(&estate->es_tupleTable, RelationGetDescr(relation), &TTSOpsVirtual);
    prepare_returning(state);
  }
  if (one_row) {
    state->values = ExecBuildProjectionInfo(input->targetlist, node->ss.ps.ps_ExprContext,
                                            state->row, &node->ss.ps, nullptr);
    return;
  }
  state->input = ExecInitNode(input, estate, flags);
  node->custom_ps = list_make1(state->input);
  if (!state->aside && has_junk(input)) state->without_junk = project_without_junk(state, input);
}

// A partition's triggers, unless they are allowed to wait for the flush, run with this statement.
void step_through(InsertState* state) {
  const Attachment* attachment =
      attachments::find_write_back(RelationGetRelid(state->target->ri_RelationDesc));
  if (attachment == nullptr || !attachment->allow_triggers) staging::write_through(state->stage);
}

// The next input row, null after the last.
TupleTableSlot* next_input(InsertState* state) {
  if (state->values == nullptr) {
    TupleTableSlot* input = ExecProcNode(state->input);
    return TupIsNull(input) ? nullptr : input;
  }
  if (state->values_given) return nullptr;
  state->values_given = true;
  return ExecProject(state->values);
}

// The table's row made of an input row, checked as an INSERT checks it.
TupleTableSlot* make_row(InsertState* state, TupleTableSlot* input) {
  TupleTableSlot* row = input;
  if (state->without_junk != nullptr) {
    state->custom.ss.ps.ps_ExprContext->ecxt_outertuple = input;
    row = ExecProject(state->without_junk);
  } else if (input != state->row && has_generated_columns(state->target)) {
    row = ExecCopySlot(state->row, input);
  }
  check_row(&state->check, row);
  if (state->check.triggers_met) step_through(state);
  return row;
}

TupleTableSlot* execute(CustomScanState* node) {
  auto* state = reinterpret_cast<InsertState*>(node);
  if (state->aside) return ExecProcNode(state->input);
  EState* estate = node->ss.ps.state;
  Relation relation = state->target->ri_RelationDesc;
  for (;;) {
    CHECK_FOR_INTERRUPTS();
    // The constraints' context, if there are any, and this node's own.
    ResetPerTupleExprContext(estate);
    ResetExprContext(node->ss.ps.ps_ExprContext);
    TupleTableSlot* input = next_input(state);
    if (input == nullptr) break;
    TupleTableSlot* row = make_row(state, input);
    MemoryContext old = MemoryContextSwitchTo(node->ss.ps.ps_ExprContext->ecxt_per_tuple_memory);
    staging::append(state->stage, relation, row);
    MemoryContextSwitchTo(old);
    if (state->modify->canSetTag) ++estate->es_processed;
    if (state->returning != nullptr) {
      node->ss.ps.ps_ExprContext->ecxt_scantuple = row;
      return ExecProject(state->returning);
    }
  }
  staging::end_statement(state->stage, relation);
  return nullptr;
}

void end(CustomScanState* node) {
  auto* state = reinterpret_cast<InsertState*>(node);
  if (!state->aside && state->check.estate != nullptr) end_check(&state->check);
  ExecEndNode(state->input);
}

void rescan(CustomScanState*) { elog(ERROR, "WriteBackInsert cannot be rescanned"); }

void explain(CustomScanState* node, List*, ExplainState* es) {
  auto* state = reinterpret_cast<InsertState*>(node);
  const auto target = static_cast<Index>(linitial_int(state->modify->resultRelations));
  ExplainPropertyText("Write Buffer", state->aside ? "not used" : "used", es);
  ExplainPropertyText("Table", get_rel_name(rt_fetch(target, es->rtable)->relid), es);
}

}  // namespace

void init() { RegisterCustomScanMethods(&kScanMethods); }

void wrap_plan(PlannedStmt* statement) {
  if (statement->commandType != CMD_INSERT || !IsA(statement->planTree, ModifyTable)) return;
  auto* modify = castNode(ModifyTable, statement->planTree);
  if (list_length(modify->resultRelations) != 1) return;
  const Oid relid = rt_fetch(linitial_int(modify->resultRelations), statement->rtable)->relid;
  if (attachments::find_write_back(relid) == nullptr || storing_into() == relid) return;
  if (!can_capture(statement, modify, relid)) return;

  statement->planTree = custom_scan::put_on_top(modify, modify->plan.targetlist, &kScanMethods);
}

}  // namespace pgwc::capture_insert
