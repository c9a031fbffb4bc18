#include "pg/write_back/check_row.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/tables/triggers.hpp"

extern "C" {
#include "access/tupconvert.h"
#include "executor/execPartition.h"
}

namespace pgwc {

namespace {

// Constraints of a foreign table are promises of another server, which an INSERT does not check.
bool is_checked_here(const ResultRelInfo* target) { return target->ri_FdwRoutine == nullptr; }

// What BEFORE triggers will make of a row is not known yet; the executor checks it after them.
bool is_completed_later(Relation relation) {
  return relation->trigdesc != nullptr && relation->trigdesc->trig_insert_before_row;
}

// The partition's row, and its constraints. Its generated columns are computed by the flush; the
// table's own by check_row.
void check_in_partition(RowCheck* check, TupleTableSlot* row) {
  ResultRelInfo* leaf =
      ExecFindPartition(check->routing_state, check->target, check->routing, row, check->estate);
  if (has_user_insert_triggers(leaf->ri_RelationDesc)) check->triggers_met = true;
  TupleTableSlot* leaf_row = row;
  if (TupleConversionMap* map = compat::root_to_child_map(leaf, check->estate))
    leaf_row = execute_attr_map_slot(map->attrMap, row, leaf->ri_PartitionTupleSlot);
  leaf_row->tts_tableOid = RelationGetRelid(leaf->ri_RelationDesc);
  if (is_checked_here(leaf) && !is_completed_later(leaf->ri_RelationDesc) &&
      RelationGetDescr(leaf->ri_RelationDesc)->constr != nullptr)
    ExecConstraints(leaf, leaf_row, check->estate);
}

}  // namespace

void begin_check(RowCheck* check, EState* estate, ResultRelInfo* target) {
  *check = {estate, target, nullptr, nullptr, false};
  if (target->ri_RelationDesc->rd_rel->relkind != RELKIND_PARTITIONED_TABLE) return;
  // Routing wants a ModifyTable's state; COPY, too, makes one up.
  auto* state = makeNode(ModifyTableState);
  state->ps.plan = nullptr;
  state->ps.state = estate;
  state->operation = CMD_INSERT;
  state->mt_nrels = 1;
  state->resultRelInfo = target;
  state->rootResultRelInfo = target;
  check->routing_state = state;
  check->routing = ExecSetupPartitionTupleRouting(estate, target->ri_RelationDesc);
}

void check_row(RowCheck* check, TupleTableSlot* row) {
  Relation relation = check->target->ri_RelationDesc;
  row->tts_tableOid = RelationGetRelid(relation);
  if (has_generated_columns(check->target))
    ExecComputeStoredGenerated(check->target, check->estate, row, CMD_INSERT);
  if (check->routing != nullptr) {
    check_in_partition(check, row);
    row->tts_tableOid = RelationGetRelid(relation);
    return;
  }
  if (!is_checked_here(check->target) || is_completed_later(relation)) return;
  if (RelationGetDescr(relation)->constr != nullptr)
    ExecConstraints(check->target, row, check->estate);
  if (relation->rd_rel->relispartition) ExecPartitionCheck(check->target, row, check->estate, true);
}

void end_check(RowCheck* check) {
  if (check->routing != nullptr) ExecCleanupTupleRouting(check->routing_state, check->routing);
}

}  // namespace pgwc
