#include "pg/live_read/pending_append.hpp"

#include "pg/boundary/custom_scan.hpp"

extern "C" {
#include "optimizer/pathnode.h"
}

namespace pgwc::pending_append {

namespace {

struct AppendState {
  CustomScanState custom;  // first; the parts are its custom_ps
  int part;
};

Plan* plan_path(PlannerInfo* root, RelOptInfo* rel, CustomPath* path, List* target_list,
                List* clauses, List* children);
Node* create_state(CustomScan* scan);
void begin(CustomScanState* node, EState* estate, int flags);
TupleTableSlot* execute(CustomScanState* node);
void end(CustomScanState* node);
void rescan(CustomScanState* node);

constexpr CustomPathMethods kPathMethods = custom_scan::path_methods("PendingAppend", plan_path);
const CustomScanMethods kScanMethods = {"PendingAppend", create_state};
constexpr CustomExecMethods kExecMethods =
    custom_scan::exec_methods("PendingAppend", begin, execute, end, rescan);

// The parts check the clauses themselves.
Plan* plan_path(PlannerInfo*, RelOptInfo*, CustomPath* path, List* target_list, List*,
                List* children) {
  auto* scan = makeNode(CustomScan);
  scan->scan.plan.targetlist = target_list;
  scan->custom_scan_tlist = static_cast<List*>(copyObjectImpl(target_list));
  scan->custom_plans = children;
  scan->flags = path->flags;
  scan->methods = &kScanMethods;
  return &scan->scan.plan;
}

Node* create_state(CustomScan*) {
  return reinterpret_cast<Node*>(custom_scan::make_state<AppendState>(&kExecMethods));
}

void begin(CustomScanState* node, EState* estate, int flags) {
  ListCell* cell;
  foreach (cell, castNode(CustomScan, node->ss.ps.plan)->custom_plans)
    node->custom_ps =
        lappend(node->custom_ps, ExecInitNode(static_cast<Plan*>(lfirst(cell)), estate, flags));
  // The parts return slots of any kind.
  node->ss.ps.resultopsset = true;
  node->ss.ps.resultopsfixed = false;
}

TupleTableSlot* execute(CustomScanState* node) {
  auto* state = reinterpret_cast<AppendState*>(node);
  for (; state->part < list_length(node->custom_ps); ++state->part) {
    TupleTableSlot* slot =
        ExecProcNode(static_cast<PlanState*>(list_nth(node->custom_ps, state->part)));
    if (!TupIsNull(slot)) return slot;
  }
  return nullptr;
}

void end(CustomScanState* node) {
  ListCell* cell;
  foreach (cell, node->custom_ps) ExecEndNode(static_cast<PlanState*>(lfirst(cell)));
}

void rescan(CustomScanState* node) {
  ListCell* cell;
  foreach (cell, node->custom_ps) {
    auto* part = static_cast<PlanState*>(lfirst(cell));
    if (node->ss.ps.chgParam != nullptr) UpdateChangedParamSet(part, node->ss.ps.chgParam);
    if (part->chgParam == nullptr) ExecReScan(part);
  }
  reinterpret_cast<AppendState*>(node)->part = 0;
}

}  // namespace

void init() { RegisterCustomScanMethods(&kScanMethods); }

Path* make_path(RelOptInfo* rel, List* parts) {
  auto* path = makeNode(CustomPath);
  path->path.pathtype = T_CustomScan;
  path->path.parent = rel;
  path->path.pathtarget = rel->reltarget;
  path->path.param_info = static_cast<Path*>(linitial(parts))->param_info;
  path->path.parallel_safe = rel->consider_parallel;
  path->methods = &kPathMethods;
  path->custom_paths = parts;
  path->path.startup_cost = static_cast<Path*>(linitial(parts))->startup_cost;
  ListCell* cell;
  foreach (cell, parts) {
    const auto* part = static_cast<const Path*>(lfirst(cell));
    path->path.rows += part->rows;
    path->path.total_cost += part->total_cost;
    path->path.parallel_safe = path->path.parallel_safe && part->parallel_safe;
  }
  return &path->path;
}

}  // namespace pgwc::pending_append
