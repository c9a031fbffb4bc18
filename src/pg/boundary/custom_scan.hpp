// What PostgreSQL asks of a custom plan node, as far as nodes of ours answer: none of them keeps
// marks or has a state that parallel workers share.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "nodes/extensible.h"
#include "nodes/plannodes.h"
}

namespace pgwc::custom_scan {

constexpr CustomPathMethods path_methods(const char* name,
                                         decltype(CustomPathMethods::PlanCustomPath) plan) {
  CustomPathMethods methods{};
  methods.CustomName = name;
  methods.PlanCustomPath = plan;
  return methods;
}

constexpr CustomExecMethods exec_methods(
    const char* name, decltype(CustomExecMethods::BeginCustomScan) begin,
    decltype(CustomExecMethods::ExecCustomScan) execute,
    decltype(CustomExecMethods::EndCustomScan) end,
    decltype(CustomExecMethods::ReScanCustomScan) rescan,
    decltype(CustomExecMethods::ExplainCustomScan) explain = nullptr) {
  CustomExecMethods methods{};
  methods.CustomName = name;
  methods.BeginCustomScan = begin;
  methods.ExecCustomScan = execute;
  methods.EndCustomScan = end;
  methods.ReScanCustomScan = rescan;
  methods.ExplainCustomScan = explain;
  return methods;
}

// A new state, all zero; its first member is a CustomScanState `custom`.
template <class State>
State* make_state(const CustomExecMethods* methods) {
  auto* state = reinterpret_cast<State*>(newNode(sizeof(State), T_CustomScanState));
  state->custom.methods = methods;
  return state;
}

// A node above ModifyTable, in its place in the plan. It returns the columns of `own`, the
// statement's RETURNING; ModifyTable may return more after them.
Plan* put_on_top(ModifyTable* modify, List* own, const CustomScanMethods* methods);

}  // namespace pgwc::custom_scan
