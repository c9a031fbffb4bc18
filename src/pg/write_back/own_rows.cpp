#include "pg/write_back/own_rows.hpp"

#include "pg/tables/attachment.hpp"
#include "pg/write_back/staging.hpp"
#include "pg/write_back/store.hpp"

extern "C" {
#include "catalog/partition.h"
#include "executor/executor.h"
#include "parser/parsetree.h"
}

namespace pgwc::own_rows {

namespace {

constinit ExecutorStart_hook_type previous_start = nullptr;

bool spill_for(const PlannedStmt* statement) {
  bool spilled = false;
  Index index = 0;
  ListCell* cell;
  foreach (cell, statement->rtable) {
    const auto* entry = lfirst_node(RangeTblEntry, cell);
    ++index;
    if (entry->rtekind != RTE_RELATION || is_insert_target_only(statement, index)) continue;
    if (spill_seen_in(entry->relid)) spilled = true;
  }
  return spilled;
}

void start(QueryDesc* query, int flags) {
  const bool spilled =
      (flags & EXEC_FLAG_EXPLAIN_ONLY) == 0 && staging::any() && spill_for(query->plannedstmt);
  keep_rights(query);
  if (previous_start)
    previous_start(query, flags);
  else
    standard_ExecutorStart(query, flags);
  keep_command(query);
  // What the spilled rows have out of line is of the present command, whatever theirs was, and
  // only a later one can delete it.
  if (spilled && !IsInParallelMode()) CommandCounterIncrement();
}

}  // namespace

bool is_insert_target_only(const PlannedStmt* statement, Index index) {
  if (statement->commandType != CMD_INSERT || list_length(statement->resultRelations) != 1 ||
      static_cast<Index>(linitial_int(statement->resultRelations)) != index)
    return false;
  const Plan* top = statement->planTree;
  return !IsA(top, ModifyTable) ||
         reinterpret_cast<const ModifyTable*>(top)->onConflictAction == ONCONFLICT_NONE;
}

bool spill_seen_in(Oid relation) {
  bool spilled = staging::spill(relation);
  if (!attachments::has_relatives(relation) || !get_rel_relispartition(relation)) return spilled;
  ListCell* cell;
  foreach (cell, get_partition_ancestors(relation))
    if (staging::spill(lfirst_oid(cell))) spilled = true;
  return spilled;
}

void install_hook() {
  previous_start = ExecutorStart_hook;
  ExecutorStart_hook = start;
}

}  // namespace pgwc::own_rows
