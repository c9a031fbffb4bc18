#include "pg/write_back/constraint_mode.hpp"

extern "C" {
#include "catalog/pg_inherits.h"
#include "commands/trigger.h"
#include "nodes/makefuncs.h"
}

namespace pgwc::constraint_mode {

namespace {

List* append_deferrable(List* names, const TriggerDesc* triggers, char* schema, bool immediate) {
  for (int i = 0; triggers != nullptr && i < triggers->numtriggers; ++i) {
    const Trigger& trigger = triggers->triggers[i];
    if (!OidIsValid(trigger.tgconstraint) || !trigger.tgdeferrable) continue;
    if (!immediate && !trigger.tginitdeferred) continue;
    char* constraint = get_constraint_name(trigger.tgconstraint);
    if (constraint != nullptr) names = lappend(names, makeRangeVar(schema, constraint, -1));
  }
  return names;
}

List* deferrable_constraints(Relation relation, bool immediate) {
  if (relation->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
    return append_deferrable(NIL, relation->trigdesc,
                             get_namespace_name(RelationGetNamespace(relation)), immediate);
  List* names = NIL;
  ListCell* cell;
  foreach (cell, find_all_inheritors(RelationGetRelid(relation), AccessShareLock, nullptr)) {
    Relation table = table_open(lfirst_oid(cell), NoLock);
    names = append_deferrable(names, table->trigdesc,
                              get_namespace_name(RelationGetNamespace(table)), immediate);
    table_close(table, NoLock);
  }
  return names;
}

void set(List* names, bool immediate) {
  ConstraintsSetStmt* statement = makeNode(ConstraintsSetStmt);
  statement->constraints = names;
  statement->deferred = !immediate;
  AfterTriggerSetState(statement);
}

}  // namespace

void all_immediate() { set(NIL, true); }

void immediate(Relation relation) {
  if (List* names = deferrable_constraints(relation, true)) set(names, true);
}

void restore(Relation relation) {
  if (List* names = deferrable_constraints(relation, false)) set(names, false);
}

}  // namespace pgwc::constraint_mode
