// Visiting the nodes of a finished plan.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "nodes/plannodes.h"
}

namespace pgwc {

// Calls `visit(const Plan*)` for each node; what is below one for which it returns false is left
// out. Subplans are elsewhere in the statement.
template <class Visit>
void walk_plan(const Plan* plan, const Visit& visit);

template <class Visit>
void walk_plans(const List* plans, const Visit& visit) {
  const ListCell* cell;
  foreach (cell, plans) walk_plan(static_cast<const Plan*>(lfirst(cell)), visit);
}

template <class Visit>
void walk_plan(const Plan* plan, const Visit& visit) {
  if (plan == nullptr || !visit(plan)) return;
  switch (nodeTag(plan)) {
    case T_Append:
      return walk_plans(reinterpret_cast<const Append*>(plan)->appendplans, visit);
    case T_MergeAppend:
      return walk_plans(reinterpret_cast<const MergeAppend*>(plan)->mergeplans, visit);
    case T_SubqueryScan:
      return walk_plan(reinterpret_cast<const SubqueryScan*>(plan)->subplan, visit);
    case T_CustomScan:
      return walk_plans(reinterpret_cast<const CustomScan*>(plan)->custom_plans, visit);
    default:
      walk_plan(plan->lefttree, visit);
      walk_plan(plan->righttree, visit);
  }
}

}  // namespace pgwc
