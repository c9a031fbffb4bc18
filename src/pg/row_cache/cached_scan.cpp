#include "pg/row_cache/cached_scan.hpp"

#include <algorithm>

#include "pg/boundary/compat.hpp"
#include "pg/boundary/custom_scan.hpp"
#include "pg/row_cache/explained.hpp"
#include "pg/row_cache/fetcher.hpp"
#include "pg/row_cache/key_list.hpp"
#include "pg/row_cache/plan_data.hpp"
#include "pg/row_cache/store.hpp"

extern "C" {
#include "access/parallel.h"
#include "commands/explain.h"
#include "nodes/makefuncs.h"
#include "utils/ruleutils.h"
}

namespace pgwc::cached_scan {

namespace {

using namespace row_cache;

struct State {
  CustomScanState custom;  // first
  PlanData plan;
  Fetcher fetcher;
  ExprState** values;  // of the key columns
  Datum* key;
  bool opened;
  bool begun;       // the values of this scan are known
  bool again;       // the last row came from the index, which may have more with its key
  bool scrolls;     // may be told to go backward
  std::int64_t at;  // the key of the last row; -1 before the first, their number after the last
  KeyList keys;     // with = ANY; one key without
  MemoryContext key_memory;  // of what outlives a row; else null
};

Node* create_state(CustomScan* scan);
void begin(CustomScanState* node, EState* estate, int flags);
TupleTableSlot* execute(CustomScanState* node);
void end(CustomScanState* node);
void rescan(CustomScanState* node);
void explain(CustomScanState* node, List* ancestors, ExplainState* es);

const CustomScanMethods kScanMethods = {kName, create_state};
constexpr CustomExecMethods kExecMethods =
    custom_scan::exec_methods(kName, begin, execute, end, rescan, explain);

const List* private_of(const CustomScan* scan) {
  return static_cast<const List*>(linitial(scan->custom_private));
}

Node* create_state(CustomScan* scan) {
  auto* state = custom_scan::make_state<State>(&kExecMethods);
  read_plan_data(private_of(scan), &state->plan);
  return reinterpret_cast<Node*>(state);
}

// Whether workers and their leader count together.
bool counts_with_workers(const EState* estate) {
  return estate->es_instrument != 0 && enabled() &&
         (IsParallelWorker() || estate->es_plannedstmt->parallelModeNeeded);
}

void begin(CustomScanState* node, EState* estate, int flags) {
  auto* state = reinterpret_cast<State*>(node);
  const auto* scan = reinterpret_cast<const CustomScan*>(node->ss.ps.plan);
  const auto count = static_cast<std::size_t>(state->plan.count);
  state->values = static_cast<ExprState**>(palloc(count * sizeof(ExprState*)));
  state->key = static_cast<Datum*>(palloc(count * sizeof(Datum)));
  state->scrolls = (flags & EXEC_FLAG_BACKWARD) != 0;
  int i = 0;
  ListCell* cell;
  foreach (cell, static_cast<List*>(linitial(scan->custom_exprs)))
    state->values[i++] = ExecInitExpr(static_cast<Expr*>(lfirst(cell)), &node->ss.ps);
  if (counts_with_workers(estate) && !IsParallelWorker() && (flags & EXEC_FLAG_EXPLAIN_ONLY) == 0)
    explained::begin(scan->scan.plan.plan_node_id, estate->es_query_cxt);
}

// When the first row is wanted.
void open(State* state) {
  EState* estate = state->custom.ss.ps.state;
  MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);
  Fetcher& fetcher = state->fetcher;
  fetcher.relation = state->custom.ss.ss_currentRelation;
  fetcher.snapshot = estate->es_snapshot;
  fetcher.index_id = state->plan.index;
  fetcher.space = space_of(RelationGetRelid(fetcher.relation));
  fetcher.use_cache = may_use_cache(estate->es_snapshot, state->plan.index_xmin);
  fetcher.count = state->plan.count;
  fetcher.parts = make_key_parts(state->plan);
  fetcher.memory = estate->es_query_cxt;
  if (state->plan.any_column >= 0 || !fetcher.use_cache || state->scrolls)
    state->key_memory =
        AllocSetContextCreate(estate->es_query_cxt, "pg_writecache keys", ALLOCSET_SMALL_SIZES);
  MemoryContextSwitchTo(old);
  state->opened = true;
}

// False if a value is null: nothing equals it.
bool evaluate(State* state) {
  ExprContext* context = state->custom.ss.ps.ps_ExprContext;
  for (int i = 0; i < state->plan.count; ++i) {
    bool is_null;
    state->key[i] = ExecEvalExpr(state->values[i], context, &is_null);
    if (is_null) return false;
  }
  return true;
}

// The keys of this scan.
void begin_keys(State* state) {
  state->begun = true;
  state->again = false;
  state->at = -1;
  state->keys.count = 0;
  const int any = state->plan.any_column;
  if (state->key_memory != nullptr) MemoryContextReset(state->key_memory);
  // In the memory of this row, if it is the only one and is looked for at once.
  MemoryContext old = MemoryContextSwitchTo(
      state->key_memory != nullptr ? state->key_memory
                                   : state->custom.ss.ps.ps_ExprContext->ecxt_per_tuple_memory);
  const bool comparable = evaluate(state);
  if (comparable && any >= 0)
    make_key_list(&state->keys, state->fetcher.parts, state->plan.count, any, state->key,
                  state->key[any], state->plan.element_equal);
  else
    state->keys.count = comparable ? 1 : 0;
  MemoryContextSwitchTo(old);
}

// False if there is none.
bool go_to_next_key(State* state) {
  const auto count = static_cast<std::int64_t>(state->keys.count);
  state->at = state->fetcher.backward ? std::max<std::int64_t>(state->at - 1, -1)
                                      : std::min(state->at + 1, count);
  return state->at >= 0 && state->at < count;
}

TupleTableSlot* fetch_at(State* state) {
  const int any = state->plan.any_column;
  if (any < 0) return fetch(&state->fetcher, state->key);
  const auto at = static_cast<std::size_t>(state->at);
  state->key[any] = state->keys.elements[at];
  return fetch(&state->fetcher, state->keys.hashes[at], state->key);
}

void show(const State* state, TupleTableSlot* row, TupleTableSlot* slot) {
  const auto needed = static_cast<std::size_t>(state->plan.needed);
  slot_getsomeattrs(row, state->plan.needed);
  ExecClearTuple(slot);
  memcpy(slot->tts_values, row->tts_values, needed * sizeof(Datum));
  memcpy(slot->tts_isnull, row->tts_isnull, needed * sizeof(bool));
  ExecStoreVirtualTuple(slot);
  slot->tts_tableOid = RelationGetRelid(state->fetcher.relation);
  // For UPDATE and DELETE WHERE CURRENT OF.
  slot->tts_tid = state->fetcher.place;
}

TupleTableSlot* next(ScanState* node) {
  auto* state = reinterpret_cast<State*>(node);
  TupleTableSlot* slot = node->ss_ScanTupleSlot;
  if (!state->opened) open(state);
  if (!state->begun) begin_keys(state);
  MemoryContext old = MemoryContextSwitchTo(node->ps.ps_ExprContext->ecxt_per_tuple_memory);
  state->fetcher.backward = ScanDirectionIsBackward(node->ps.state->es_direction);
  TupleTableSlot* row = state->again ? fetch_another(&state->fetcher) : nullptr;
  while (row == nullptr && go_to_next_key(state)) {
    CHECK_FOR_INTERRUPTS();
    row = fetch_at(state);
  }
  MemoryContextSwitchTo(old);
  state->again = row != nullptr && !state->fetcher.use_cache;
  if (row == nullptr) return ExecClearTuple(slot);
  show(state, row, slot);
  return slot;
}

bool recheck(ScanState*, TupleTableSlot*) { return true; }

TupleTableSlot* execute(CustomScanState* node) { return ExecScan(&node->ss, next, recheck); }

void end(CustomScanState* node) {
  auto* state = reinterpret_cast<State*>(node);
  if (!state->opened) return;
  if (IsParallelWorker() && counts_with_workers(node->ss.ps.state))
    explained::add(node->ss.ps.plan->plan_node_id, state->fetcher.counters);
  close(&state->fetcher);
}

void rescan(CustomScanState* node) {
  ExecScanReScan(&node->ss);
  reinterpret_cast<State*>(node)->begun = false;
}

const char* mode_name(Mode mode) {
  switch (mode) {
    case Mode::kWriteAround:
      return "write_around";
    case Mode::kWriteThrough:
      return "write_through";
    case Mode::kCacheAside:
      return "cache_aside";
    case Mode::kWriteBack:
      break;
  }
  return "write_back";
}

void show_count(const char* label, std::uint64_t count, ExplainState* es) {
  ExplainPropertyInteger(label, nullptr, static_cast<std::int64_t>(count), es);
}

void explain(CustomScanState* node, List* ancestors, ExplainState* es) {
  const auto* state = reinterpret_cast<const State*>(node);
  const auto* scan = reinterpret_cast<const CustomScan*>(node->ss.ps.plan);
  List* context = set_deparse_context_plan(es->deparse_cxt, node->ss.ps.plan, ancestors);
  auto* quals =
      reinterpret_cast<Node*>(make_ands_explicit(static_cast<List*>(lsecond(scan->custom_exprs))));
  ExplainPropertyText(
      "Cache Key",
      deparse_expression(quals, context, list_length(es->rtable) > 1 || es->verbose, false), es);
  ExplainPropertyText("Pattern", mode_name(state->plan.mode), es);
  if (!es->analyze) return;
  CacheCounters counters = state->fetcher.counters;
  if (counts_with_workers(node->ss.ps.state)) {
    const CacheCounters others = explained::of_workers(scan->scan.plan.plan_node_id);
    counters.hits_by_page += others.hits_by_page;
    counters.hits_by_tid += others.hits_by_tid;
    counters.misses += others.misses;
    counters.failed_proofs += others.failed_proofs;
  }
  show_count("Cache Hits", counters.hits_by_page + counters.hits_by_tid, es);
  show_count("Proofs by Page", counters.hits_by_page, es);
  show_count("Proofs by TID", counters.hits_by_tid, es);
  show_count("Cache Misses", counters.misses + counters.failed_proofs, es);
}

}  // namespace

const CustomScanMethods* methods() { return &kScanMethods; }

void init() { RegisterCustomScanMethods(&kScanMethods); }

}  // namespace pgwc::cached_scan
