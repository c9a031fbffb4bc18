#include "pg/boundary/custom_scan.hpp"

#include "pg/boundary/compat.hpp"

extern "C" {
#include "nodes/makefuncs.h"
}

namespace pgwc::custom_scan {

namespace {

Var* column(Index table, const TargetEntry* entry) {
  auto* expression = reinterpret_cast<Node*>(entry->expr);
  return makeVar(static_cast<int>(table), entry->resno, exprType(expression),
                 exprTypmod(expression), exprCollation(expression), 0);
}

List* own_target_list(const List* own) {
  List* result = NIL;
  const ListCell* cell;
  foreach (cell, own) {
    auto* entry = lfirst_node(TargetEntry, cell);
    TargetEntry* mine = flatCopyTargetEntry(entry);
    mine->expr = reinterpret_cast<Expr*>(column(INDEX_VAR, entry));
    result = lappend(result, mine);
  }
  return result;
}

// For EXPLAIN: columns of ModifyTable's input, which is not this node's, by their names in the
// statement.
Node* name_inputs(Node* node, void* context) {
  if (node == nullptr) return nullptr;
  if (!IsA(node, Var)) return compat::mutate_expression(node, name_inputs, context);
  Var* var = castNode(Var, node);
  if (var->varno != OUTER_VAR) return node;
  if (var->varnosyn == 0)
    return reinterpret_cast<Node*>(makeNullConst(var->vartype, var->vartypmod, var->varcollid));
  Var* named = static_cast<Var*>(copyObjectImpl(var));
  named->varno = static_cast<int>(var->varnosyn);
  named->varattno = var->varattnosyn;
  return reinterpret_cast<Node*>(named);
}

}  // namespace

Plan* put_on_top(ModifyTable* modify, List* own, const CustomScanMethods* methods) {
  auto* scan = makeNode(CustomScan);
  Plan* plan = &scan->scan.plan;
  plan->startup_cost = modify->plan.startup_cost;
  plan->total_cost = modify->plan.total_cost;
  plan->plan_rows = modify->plan.plan_rows;
  plan->plan_width = modify->plan.plan_width;
  plan->plan_node_id = modify->plan.plan_node_id;
  plan->extParam = modify->plan.extParam;
  plan->allParam = modify->plan.allParam;
  // Sub-selects of the statement hang on its top node; ModifyTable may not get its turn at all.
  plan->initPlan = modify->plan.initPlan;
  modify->plan.initPlan = NIL;
  plan->targetlist = own_target_list(own);
  if (own != NIL)
    scan->custom_scan_tlist = reinterpret_cast<List*>(
        name_inputs(static_cast<Node*>(copyObjectImpl(modify->plan.targetlist)), nullptr));
  scan->custom_plans = list_make1(modify);
  scan->methods = methods;
  return plan;
}

}  // namespace pgwc::custom_scan
