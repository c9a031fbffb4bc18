#include "pg/live_read/pending_scan.hpp"

#include <cmath>

#include "pg/boundary/compat.hpp"
#include "pg/boundary/custom_scan.hpp"
#include "pg/live_read/pending_order.hpp"
#include "pg/live_read/source_rows.hpp"
#include "pg/server/settings.hpp"
#include "pg/server/shmem.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/write_back/departures.hpp"

extern "C" {
#include "commands/explain.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/restrictinfo.h"
}

namespace pgwc::pending_scan {

namespace {

struct PendingState {
  CustomScanState custom;  // first
  Oid source;
  bool opened;
  bool has_rows;
  live_read::SourceRows rows;
  probes::Condition* conditions;
  std::size_t condition_count;
  const List* planned_order;    // NIL: none
  pending_order::Order* order;  // set while there are rows
};

Plan* plan_path(PlannerInfo* root, RelOptInfo* rel, CustomPath* path, List* target_list,
                List* clauses, List* children);
Node* create_state(CustomScan* scan);
void begin(CustomScanState* node, EState* estate, int flags);
TupleTableSlot* execute(CustomScanState* node);
void end(CustomScanState* node);
void rescan(CustomScanState* node);
void explain(CustomScanState* node, List* ancestors, ExplainState* es);

constexpr CustomPathMethods kPathMethods = custom_scan::path_methods("PendingScan", plan_path);
const CustomScanMethods kScanMethods = {"PendingScan", create_state};
constexpr CustomExecMethods kExecMethods =
    custom_scan::exec_methods("PendingScan", begin, execute, end, rescan, explain);

Plan* plan_path(PlannerInfo*, RelOptInfo* rel, CustomPath* path, List* target_list, List* clauses,
                List*) {
  auto* scan = makeNode(CustomScan);
  scan->scan.plan.targetlist = target_list;
  scan->scan.plan.qual = extract_actual_clauses(clauses, false);
  scan->scan.scanrelid = rel->relid;
  scan->flags = path->flags;
  scan->custom_private = path->custom_private;
  scan->methods = &kScanMethods;
  return &scan->scan.plan;
}

Node* create_state(CustomScan* scan) {
  auto* state = custom_scan::make_state<PendingState>(&kExecMethods);
  state->source = source_of(&scan->scan.plan);
  state->planned_order = static_cast<const List*>(lsecond(scan->custom_private));
  return reinterpret_cast<Node*>(state);
}

void begin(CustomScanState*, EState*, int) {}

void look_for(PendingState* state) {
  PlanState* node = &state->custom.ss.ps;
  const bool ordered = state->planned_order != NIL;
  if (!ordered && node->plan->qual == NIL) return;
  auto* search = static_cast<live_read::Search*>(palloc0(sizeof(live_read::Search)));
  Relation source = relation_open(state->source, NoLock);
  search->columns = probes::columns_of(source);
  relation_close(source, NoLock);
  search->layout = state->rows.layout;
  search->memory = node->state->es_query_cxt;
  // Bounds are of use only if they are of all rows.
  search->worth_adding = ordered ? 0 : live_read::kWorthAdding;
  state->conditions =
      probes::conditions_of(node, node->plan->qual, reinterpret_cast<Scan*>(node->plan)->scanrelid,
                            search->columns, state->rows.columns, &state->condition_count);
  if (state->condition_count == 0 && !ordered) return;
  if (state->condition_count > live_read::kMaxProbes)
    state->condition_count = live_read::kMaxProbes;
  state->rows.reader.search = search;
}

// The values are those of the moment: parameters change from one rescan to the next.
void begin_search(PendingState* state) {
  live_read::Search* search = state->rows.reader.search;
  if (search == nullptr) return;
  ExprContext* context = state->custom.ss.ps.ps_ExprContext;
  if (!probes::evaluate(state->conditions, state->condition_count, search->columns, context,
                        search->probes, &search->count))
    state->rows.reader.next_block = state->rows.reader.block_count;
}

// What is pending is looked at when the first row is wanted, with the statement's own snapshot.
void open(PendingState* state) {
  state->opened = true;
  const Attachment* attachment = attachments::find_write_back(state->source);
  EState* estate = state->custom.ss.ps.state;
  if (attachment == nullptr) departures::check(state->source, estate->es_snapshot);
  if (attachment == nullptr || !attachment->read_pending || !settings::reads_pending()) return;
  MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);
  state->has_rows = live_read::open(&state->rows, state->custom.ss.ss_currentRelation,
                                    state->source, estate->es_snapshot);
  if (state->has_rows) look_for(state);
  if (state->has_rows && state->planned_order != NIL)
    state->order = pending_order::begin(state->planned_order, &state->rows, estate);
  MemoryContextSwitchTo(old);
  if (state->has_rows) begin_search(state);
}

TupleTableSlot* next(ScanState* node) {
  auto* state = reinterpret_cast<PendingState*>(node);
  TupleTableSlot* slot = node->ss_ScanTupleSlot;
  if (!state->opened) open(state);
  if (state->order != nullptr)
    return pending_order::next(state->order, slot) ? slot : ExecClearTuple(slot);
  while (state->has_rows) {
    MinimalTuple tuple = live_read::next(&state->rows.reader);
    if (tuple == nullptr) break;
    if (live_read::show(&state->rows, tuple, slot, node->ps.state)) return slot;
  }
  return ExecClearTuple(slot);
}

bool recheck(ScanState*, TupleTableSlot*) { return true; }

TupleTableSlot* execute(CustomScanState* node) { return ExecScan(&node->ss, next, recheck); }

void end(CustomScanState* node) {
  auto* state = reinterpret_cast<PendingState*>(node);
  if (state->rows.reader.search != nullptr && state->rows.reader.search->slot != nullptr)
    ExecDropSingleTupleTableSlot(state->rows.reader.search->slot);
  if (state->order != nullptr) pending_order::end(state->order);
  live_read::close(&state->rows);
}

void rescan(CustomScanState* node) {
  auto* state = reinterpret_cast<PendingState*>(node);
  ExecScanReScan(&node->ss);
  if (state->has_rows) {
    live_read::restart(&state->rows.reader);
    if (state->order != nullptr) pending_order::restart(state->order);
    begin_search(state);
  }
}

void explain(CustomScanState* node, List*, ExplainState* es) {
  const auto* state = reinterpret_cast<const PendingState*>(node);
  if (state->source != RelationGetRelid(node->ss.ss_currentRelation))
    ExplainPropertyText("Pending In", get_rel_name(state->source), es);
  if (state->planned_order != NIL)
    ExplainPropertyText("Pending Order",
                        pending_order::describe(state->planned_order,
                                                RelationGetRelid(node->ss.ss_currentRelation)),
                        es);
  if (!es->analyze) return;
  ExplainPropertyInteger("Pending Rows Read", nullptr,
                         static_cast<std::int64_t>(state->rows.reader.rows_read), es);
  if (!es->buffers) return;
  ExplainPropertyInteger("Write Buffer Blocks", nullptr,
                         static_cast<std::int64_t>(state->rows.reader.blocks_read), es);
  if (state->rows.reader.search != nullptr)
    ExplainPropertyInteger("Write Buffer Blocks Passed By", nullptr,
                           static_cast<std::int64_t>(state->rows.reader.blocks_passed), es);
}

}  // namespace

double pending_rows(Oid source) {
  Attachment* attachment = attachments::find_write_back(source);
  if (attachment == nullptr) return 0;
  const QueueNo queue = attachments::find_queue(attachment);
  return queue == kNoQueueNo ? 0 : static_cast<double>(buffer().view(queue).pending_rows);
}

double share_of(const RelOptInfo* rel, double rows) {
  return rel->tuples > rows ? rows / rel->tuples : 1;
}

namespace {

// The first row takes one block if blocks do not overlap; all of them take a comparison per level
// of the heap.
void add_cost_of_order(Oid source, CustomPath* path) {
  const double rows = path->path.rows < 2 ? 2 : path->path.rows;
  path->path.total_cost += rows * std::log2(rows) * 2 * cpu_operator_cost;
  Attachment* attachment = attachments::find_write_back(source);
  const QueueNo queue = attachment == nullptr ? kNoQueueNo : attachments::find_queue(attachment);
  const double blocks =
      queue == kNoQueueNo ? 1 : static_cast<double>(buffer().view(queue).block_count);
  path->path.startup_cost = path->path.total_cost / (blocks < 1 ? 1 : blocks);
}

// What looking at a block's summary costs beside reading its rows.
constexpr double kSummaryShare = 0.005;

// Whether a clause compares an indexed column with something from elsewhere.
bool is_searchable(const RelOptInfo* rel, const List* clauses) {
  const ListCell* cell;
  foreach (cell, clauses) {
    auto* clause = reinterpret_cast<Node*>(lfirst_node(RestrictInfo, cell)->clause);
    if (!IsA(clause, OpExpr) || list_length(castNode(OpExpr, clause)->args) != 2) continue;
    const ListCell* side;
    foreach (side, castNode(OpExpr, clause)->args) {
      if (!IsA(lfirst(side), Var)) continue;
      const Var* var = lfirst_node(Var, side);
      if (static_cast<Index>(var->varno) != rel->relid) continue;
      const ListCell* index;
      foreach (index, rel->indexlist) {
        const auto* info = lfirst_node(IndexOptInfo, index);
        for (int i = 0; i < info->nkeycolumns; ++i)
          if (info->indexkeys[i] == var->varattno) return true;
      }
    }
  }
  return false;
}

bool is_searchable(const RelOptInfo* rel, const ParamPathInfo* parameters) {
  return is_searchable(rel, rel->baserestrictinfo) ||
         (parameters != nullptr && is_searchable(rel, parameters->ppi_clauses));
}

}  // namespace

void init() { RegisterCustomScanMethods(&kScanMethods); }

Path* make_path(PlannerInfo* root, RelOptInfo* rel, Oid source, Relids required_outer,
                List* wanted_order) {
  auto* path = makeNode(CustomPath);
  path->path.pathtype = T_CustomScan;
  path->path.parent = rel;
  path->path.pathtarget = rel->reltarget;
  path->path.param_info = get_baserel_parampathinfo(root, rel, required_outer);
  path->path.parallel_safe = rel->consider_parallel;
  path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
  path->methods = &kPathMethods;
  List* order = pending_order::plan(root, rel, wanted_order);
  path->custom_private = list_make2(list_make1_oid(source), order);
  if (order != NIL) path->path.pathkeys = wanted_order;
  const double rows = pending_rows(source);
  const ParamPathInfo* parameters = path->path.param_info;
  path->path.rows =
      clamp_row_est(rows * share_of(rel, parameters != nullptr ? parameters->ppi_rows : rel->rows));
  QualCost qual;
  cost_qual_eval(&qual, rel->baserestrictinfo, root);
  path->path.startup_cost = 0;
  const double read =
      is_searchable(rel, path->path.param_info) ? path->path.rows + rows * kSummaryShare : rows;
  path->path.total_cost = read * (cpu_tuple_cost + qual.per_tuple);
  if (order != NIL) add_cost_of_order(source, path);
  return &path->path;
}

Oid source_of(const Plan* plan) {
  if (!IsA(plan, CustomScan)) return InvalidOid;
  const auto* scan = reinterpret_cast<const CustomScan*>(plan);
  return scan->methods == &kScanMethods
             ? linitial_oid(static_cast<const List*>(linitial(scan->custom_private)))
             : InvalidOid;
}

}  // namespace pgwc::pending_scan
