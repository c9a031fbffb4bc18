#include "pg/row_cache/paths.hpp"

#include <algorithm>

#include "pg/boundary/compat.hpp"
#include "pg/boundary/planning.hpp"
#include "pg/row_cache/cached_scan.hpp"
#include "pg/row_cache/plan_data.hpp"
#include "pg/row_cache/store.hpp"

extern "C" {
#include "access/sysattr.h"
#include "catalog/pg_type.h"
#include "nodes/extensible.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "utils/snapmgr.h"
}

namespace pgwc::row_cache {

namespace {

constinit set_rel_pathlist_hook_type previous_pathlist = nullptr;

Plan* plan_path(PlannerInfo* root, RelOptInfo* rel, CustomPath* path, List* target_list,
                List* clauses, List* children);

List* take_values_from(PlannerInfo* root, List* path_data, RelOptInfo* child);

const CustomPathMethods kPathMethods = {.CustomName = cached_scan::kName,
                                        .PlanCustomPath = plan_path,
                                        .ReparameterizeCustomPathByChild = take_values_from};

// A hit costs about as much as a few operators.
constexpr double kOperatorsPerHit = 8;

// What was made of an index path: the clauses that compare the key columns, and what to compare
// with.
struct Match {
  PlanData data;
  List* clauses;  // IndexClause
  List* quals;    // expressions, for EXPLAIN
  List* values;
};

// The comparison of key column `i`, if `qual` is one.
bool match_qual(const CachedKey& key, int i, Expr* qual, Match* match) {
  const KeyColumn& column = key.columns[i];
  PlanColumn& planned = match->data.columns[i];
  Oid op;
  Node* value;
  if (IsA(qual, OpExpr)) {
    const auto* comparison = castNode(OpExpr, qual);
    op = comparison->opno;
    if (comparison->inputcollid != column.collation) return false;
    value = get_rightop(qual);
  } else if (IsA(qual, ScalarArrayOpExpr)) {
    const auto* any = castNode(ScalarArrayOpExpr, qual);
    if (!any->useOr || match->data.any_column >= 0 || any->inputcollid != column.collation)
      return false;
    op = any->opno;
    value = static_cast<Node*>(lsecond(any->args));
  } else {
    return false;
  }
  int strategy;
  Oid left;
  Oid right;
  if (!op_in_opfamily(op, column.opfamily)) return false;
  get_op_opfamily_properties(op, column.opfamily, false, &strategy, &left, &right);
  if (strategy != BTEqualStrategyNumber) return false;
  // By the operator's own types: a value may be of a type that only looks like another one.
  planned.type = IsPolymorphicType(right) || right == RECORDOID ? column.type : right;
  planned.cross_type = planned.type != column.type;
  if (!cache_key::hash_function(column, planned.type, &planned.hash_by, &planned.hash_function))
    return false;
  planned.attribute = column.attribute;
  planned.collation = column.collation;
  planned.equal_function = get_opcode(op);
  if (IsA(qual, ScalarArrayOpExpr)) {
    const Oid equal = planned.cross_type ? get_opfamily_member(column.opfamily, planned.type,
                                                               planned.type, BTEqualStrategyNumber)
                                         : column.equal_op;
    if (!OidIsValid(equal)) return false;
    match->data.any_column = i;
    match->data.element_equal = get_opcode(equal);
  }
  match->quals = lappend(match->quals, qual);
  match->values = lappend(match->values, value);
  return true;
}

bool match_column(const CachedKey& key, int i, List* index_clauses, Match* match) {
  ListCell* cell;
  foreach (cell, index_clauses) {
    auto* clause = lfirst_node(IndexClause, cell);
    if (clause->indexcol != i || clause->lossy || list_length(clause->indexquals) != 1) continue;
    Expr* qual = linitial_node(RestrictInfo, clause->indexquals)->clause;
    if (!match_qual(key, i, qual, match)) continue;
    match->clauses = lappend(match->clauses, clause);
    return true;
  }
  return false;
}

// The last column that the query needs of the table, by what is known when paths are made.
AttrNumber last_needed(RelOptInfo* rel, Index rti, const ParamPathInfo* parameters,
                       const CachedKey& key) {
  Bitmapset* used = nullptr;
  // Of a partition that the query does not name, attr_needed says nothing.
  pull_varattnos(reinterpret_cast<Node*>(rel->reltarget->exprs), rti, &used);
  ListCell* cell;
  foreach (cell, rel->baserestrictinfo)
    pull_varattnos(reinterpret_cast<Node*>(lfirst_node(RestrictInfo, cell)->clause), rti, &used);
  if (parameters != nullptr)
    foreach (cell, parameters->ppi_clauses)
      pull_varattnos(reinterpret_cast<Node*>(lfirst_node(RestrictInfo, cell)->clause), rti, &used);
  const auto is_used = [&](AttrNumber number) {
    return bms_is_member(number - FirstLowInvalidHeapAttributeNumber, used) ||
           (number >= rel->min_attr && number <= rel->max_attr &&
            !bms_is_empty(rel->attr_needed[number - rel->min_attr]));
  };
  if (is_used(0)) return rel->max_attr;  // the whole row
  AttrNumber last = 0;
  for (AttrNumber number = 1; number <= rel->max_attr; ++number)
    if (is_used(number)) last = number;
  for (int i = 0; i < key.count; ++i) last = std::max(last, key.columns[i].attribute);
  return last;
}

void add_cached_path(PlannerInfo* root, RelOptInfo* rel, Index rti, const IndexPath* index_path,
                     const CachedKey& key) {
  Match match{};
  match.data.index = key.index;
  match.data.index_xmin = key.index_xmin;
  match.data.mode = key.mode;
  match.data.any_column = -1;
  match.data.count = key.count;
  for (int i = 0; i < key.count; ++i)
    if (!match_column(key, i, index_path->indexclauses, &match)) return;
  match.data.needed = last_needed(rel, rti, index_path->path.param_info, key);

  auto* path = makeNode(CustomPath);
  path->path.pathtype = T_CustomScan;
  path->path.parent = rel;
  path->path.pathtarget = rel->reltarget;
  path->path.param_info = index_path->path.param_info;
  path->path.parallel_safe = index_path->path.parallel_safe;
  path->path.rows = index_path->path.rows;
  path->flags = CUSTOMPATH_SUPPORT_PROJECTION | CUSTOMPATH_SUPPORT_BACKWARD_SCAN;
  path->methods = &kPathMethods;
  path->custom_private =
      list_make4(write_plan_data(match.data), match.clauses, match.quals, match.values);
  double keys = 1;
  if (match.data.any_column >= 0)
    keys = compat::array_length(root,
                                static_cast<Node*>(list_nth(match.values, match.data.any_column)));
  QualCost qual;
  cost_qual_eval(&qual, rel->baserestrictinfo, root);
  path->path.startup_cost = qual.startup;
  path->path.total_cost = qual.startup + keys * kOperatorsPerHit * cpu_operator_cost +
                          path->path.rows * (cpu_tuple_cost + qual.per_tuple);
  add_path(rel, &path->path);
}

IndexOptInfo* find_index(const RelOptInfo* rel, Oid index) {
  ListCell* cell;
  foreach (cell, rel->indexlist)
    if (lfirst_node(IndexOptInfo, cell)->indexoid == index) return lfirst_node(IndexOptInfo, cell);
  return nullptr;
}

// Every path that PostgreSQL itself finds over one index.
List* paths_over(PlannerInfo* root, RelOptInfo* rel, IndexOptInfo* index) {
  List* indexes = rel->indexlist;
  List* paths = rel->pathlist;
  List* partial = rel->partial_pathlist;
  const bool bitmap = index->amhasgetbitmap;
  rel->indexlist = list_make1(index);
  rel->pathlist = rel->partial_pathlist = NIL;
  index->amhasgetbitmap = false;  // those would displace what is wanted
  create_index_paths(root, rel);
  List* found = rel->pathlist;
  index->amhasgetbitmap = bitmap;
  rel->indexlist = indexes;
  rel->pathlist = paths;
  rel->partial_pathlist = partial;
  return found;
}

// Functions that say how a value is stored: in the cache it is in plain form.
bool looks_at_storage(Node* node, void* context) {
  if (node == nullptr) return false;
  if (IsA(node, FuncExpr) && compat::tells_storage(castNode(FuncExpr, node)->funcid)) return true;
  return IsA(node, Query) ? compat::walk_query(castNode(Query, node), looks_at_storage, context)
                          : compat::walk_expression(node, looks_at_storage, context);
}

// The query, or one that uses its rows.
bool any_looks_at_storage(const PlannerInfo* root) {
  for (; root != nullptr; root = root->parent_root)
    if (looks_at_storage(reinterpret_cast<Node*>(root->parse), nullptr)) return true;
  return false;
}

void set_pathlist(PlannerInfo* root, RelOptInfo* rel, Index rti, RangeTblEntry* entry) {
  if (previous_pathlist) previous_pathlist(root, rel, rti, entry);
  if (entry->rtekind != RTE_RELATION || entry->inh ||
      (entry->relkind != RELKIND_RELATION && entry->relkind != RELKIND_MATVIEW) || !enabled() ||
      attachments::is_stranger(entry->relid) || !attachments::any() || is_dummy_rel(rel))
    return;
  const CachedKey* found = cache_key::find_indexed(entry->relid);
  if (found == nullptr) return;
  const CachedKey key = *found;
  const CmdType command = root->parse->commandType;
  // Rows that are locked, or checked again later, are read by their place in the table.
  if ((command != CMD_SELECT && command != CMD_INSERT) || root->rowMarks != NIL ||
      entry->tablesample != nullptr || uses_place(rel, rti, entry))
    return;
  IndexOptInfo* index = find_index(rel, key.index);
  if (index == nullptr) return;
  if (!TransactionIdPrecedes(key.index_xmin, TransactionXmin)) {
    root->glob->transientPlan = true;
    return;
  }
  if (any_looks_at_storage(root)) return;
  ListCell* cell;
  foreach (cell, paths_over(root, rel, index))
    if (IsA(lfirst(cell), IndexPath))
      add_cached_path(root, rel, rti, lfirst_node(IndexPath, cell), key);
}

Plan* plan_path(PlannerInfo* root, RelOptInfo* rel, CustomPath* path, List* target_list,
                List* clauses, List*) {
  auto* enforced = static_cast<List*>(lsecond(path->custom_private));
  List* rest = NIL;
  ListCell* cell;
  foreach (cell, clauses) {
    auto* clause = lfirst_node(RestrictInfo, cell);
    if (!clause->pseudoconstant && !is_redundant_with_indexclauses(clause, enforced))
      rest = lappend(rest, clause->clause);
  }
  (void)root;
  auto* scan = makeNode(CustomScan);
  scan->scan.plan.targetlist = target_list;
  scan->scan.plan.qual = rest;
  scan->scan.scanrelid = rel->relid;
  scan->flags = path->flags;
  scan->custom_private = list_make1(linitial(path->custom_private));
  scan->custom_exprs = list_make2(lfourth(path->custom_private), lthird(path->custom_private));
  scan->methods = cached_scan::methods();
  return &scan->scan.plan;
}

// A join of partitions: the values come from a partition of the other side, not from all of it.
List* take_values_from(PlannerInfo* root, List* path_data, RelOptInfo* child) {
  List* translated = list_make1(linitial(path_data));
  for (int i = 1; i < list_length(path_data); ++i)
    translated = lappend(translated, compat::translate_to_child(
                                         root, static_cast<Node*>(list_nth(path_data, i)), child));
  return translated;
}

}  // namespace

void install_planner_hook() {
  previous_pathlist = set_rel_pathlist_hook;
  set_rel_pathlist_hook = set_pathlist;
}

}  // namespace pgwc::row_cache
