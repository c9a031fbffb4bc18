#include "pg/live_read/paths.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/boundary/planning.hpp"
#include "pg/live_read/pending_append.hpp"
#include "pg/live_read/pending_scan.hpp"
#include "pg/server/shmem.hpp"
#include "pg/tables/attachment.hpp"

extern "C" {
#include "catalog/partition.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/plancat.h"
#include "parser/analyze.h"
#include "parser/parsetree.h"
#include "tcop/pquery.h"
}

namespace pgwc::live_read {

namespace {

constinit set_rel_pathlist_hook_type previous_pathlist = nullptr;
constinit post_parse_analyze_hook_type previous_analyze = nullptr;

// The query that was analyzed last, and at which statement.
constinit const Query* analyzed = nullptr;
constinit TimestampTz analyzed_at = 0;

void analyze(ParseState* state, Query* query, JumbleState* jumble) {
  if (previous_analyze) previous_analyze(state, query, jumble);
  analyzed = query;
  analyzed_at = GetCurrentStatementStartTimestamp();
}

// Whether the plan is for one execution, right now: a statement of the simple protocol, which has
// no portal yet. What goes to the plan cache is planned from copies.
bool is_planned_once(const PlannerInfo* root) {
  if (ActivePortal != nullptr) return false;
  while (root->parent_root != nullptr) root = root->parent_root;
  return root->parse == analyzed && analyzed_at == GetCurrentStatementStartTimestamp();
}

bool is_source(Oid relation, bool readable) {
  const Attachment* attachment = attachments::find_write_back(relation);
  return attachment != nullptr && (attachment->read_pending || !readable);
}

// Whether the relation is read as a partition of one that the query names.
bool is_reached_through_parent(PlannerInfo* root, Index rti) {
  const AppendRelInfo* info =
      root->append_rel_array != nullptr ? root->append_rel_array[rti] : nullptr;
  if (info == nullptr) return false;
  const RangeTblEntry* parent = planner_rt_fetch(info->parent_relid, root);
  return parent->rtekind == RTE_RELATION && parent->relkind == RELKIND_PARTITIONED_TABLE;
}

bool are_empty(const List* sources) {
  if (!buffer().settled()) return false;
  const ListCell* cell;
  foreach (cell, sources) {
    Attachment* attachment = attachments::find_write_back(lfirst_oid(cell));
    if (attachment == nullptr) continue;
    const QueueNo queue = attachments::find_queue(attachment);
    TransactionId freed_xid;
    if (queue != kNoQueueNo && !buffer().is_empty(queue, attachment->queue_id(), &freed_xid))
      return false;
  }
  return true;
}

// The rest steps aside: what it needs is stored before the statement runs.
bool can_merge(PlannerInfo* root, RelOptInfo* rel, Index rti, const RangeTblEntry* entry) {
  const CmdType command = root->parse->commandType;
  if ((command != CMD_SELECT && command != CMD_INSERT) || root->rowMarks != NIL ||
      entry->tablesample != nullptr)
    return false;
  return !uses_place(rel, rti, entry);
}

Path* with_pending(PlannerInfo* root, RelOptInfo* rel, Path* path, List* sources, bool ordered,
                   bool as_partition) {
  Relids outer = PATH_REQ_OUTER(path);
  List* parts = list_make1(path);
  ListCell* cell;
  foreach (cell, sources)
    parts = lappend(parts, pending_scan::make_path(root, rel, lfirst_oid(cell), outer,
                                                   ordered ? path->pathkeys : NIL));
  if (as_partition) return pending_append::make_path(rel, parts);
  if (ordered)
    return reinterpret_cast<Path*>(
        create_merge_append_path(root, rel, parts, path->pathkeys, outer));
  return reinterpret_cast<Path*>(
      create_append_path(root, rel, parts, NIL, NIL, outer, 0, false, -1));
}

Path* partial_with_pending(PlannerInfo* root, RelOptInfo* rel, Path* path, List* sources) {
  List* pending = NIL;
  ListCell* cell;
  foreach (cell, sources)
    pending = lappend(pending, pending_scan::make_path(root, rel, lfirst_oid(cell), nullptr, NIL));
  return reinterpret_cast<Path*>(create_append_path(root, rel, pending, list_make1(path), NIL,
                                                    nullptr, path->parallel_workers, true, -1));
}

// Adds what is pending to the estimates that those of joins and groups are made from; paths of the
// table have theirs already.
void count_pending(PlannerInfo* root, RelOptInfo* rel, Index rti, const List* sources) {
  double pending = 0;
  const ListCell* cell;
  foreach (cell, sources) pending += pending_scan::pending_rows(lfirst_oid(cell));
  if (pending == 0) return;
  const double wanted = pending * pending_scan::share_of(rel, rel->rows);
  for (;;) {
    rel->tuples += pending;
    rel->rows = clamp_row_est(rel->rows + wanted);
    const AppendRelInfo* info =
        root->append_rel_array != nullptr ? root->append_rel_array[rti] : nullptr;
    if (info == nullptr) return;
    rti = info->parent_relid;
    rel = find_base_rel(root, static_cast<int>(rti));
  }
}

void set_pathlist(PlannerInfo* root, RelOptInfo* rel, Index rti, RangeTblEntry* entry) {
  if (previous_pathlist) previous_pathlist(root, rel, rti, entry);
  if (entry->rtekind != RTE_RELATION || !buffer_ready() ||
      attachments::is_unbuffered(entry->relid) || !attachments::any() ||
      (entry->inh && entry->relkind != RELKIND_PARTITIONED_TABLE) || is_dummy_rel(rel))
    return;
  const bool as_partition = is_reached_through_parent(root, rti);
  List* sources = NIL;
  if (as_partition) {
    if (is_source(entry->relid, true)) sources = list_make1_oid(entry->relid);
  } else {
    sources = sources_of(entry->relid, true);
  }
  if (sources == NIL || !can_merge(root, rel, rti, entry)) return;
  // Rows that come in between the planning and the execution are seen to when the executor starts,
  // as for any plan that does not read what is pending (freshness.cpp).
  if (is_planned_once(root) && are_empty(sources)) return;

  List* paths = rel->pathlist;
  List* partial = rel->partial_pathlist;
  rel->pathlist = rel->partial_pathlist = NIL;
  ListCell* cell;
  foreach (cell, paths) {
    auto* path = static_cast<Path*>(lfirst(cell));
    add_path(rel, with_pending(root, rel, path, sources, false, as_partition));
    if (path->pathkeys != NIL && path->param_info == nullptr && !as_partition)
      add_path(rel, with_pending(root, rel, path, sources, true, false));
  }
  // The planner makes the paths of what it takes for a partitioned table anew, out of its
  // partitions. They have been pruned; what is lost is pruning by parameters, and joining by
  // partitions.
  rel->part_scheme = nullptr;
  if (enable_parallel_append && !as_partition)
    foreach (cell, partial)
      add_partial_path(rel,
                       partial_with_pending(root, rel, static_cast<Path*>(lfirst(cell)), sources));
  count_pending(root, rel, rti, sources);
}

}  // namespace

List* sources_of(Oid relation, bool readable) {
  List* sources = NIL;
  if (is_source(relation, readable)) sources = list_make1_oid(relation);
  if (!attachments::any_partitioned() || !attachments::has_relatives(relation) ||
      !get_rel_relispartition(relation))
    return sources;
  ListCell* cell;
  foreach (cell, get_partition_ancestors(relation))
    if (is_source(lfirst_oid(cell), readable)) sources = lappend_oid(sources, lfirst_oid(cell));
  return sources;
}

void install_planner_hooks() {
  previous_pathlist = set_rel_pathlist_hook;
  set_rel_pathlist_hook = set_pathlist;
  previous_analyze = post_parse_analyze_hook;
  post_parse_analyze_hook = analyze;
}

}  // namespace pgwc::live_read
