#include "pg/live_read/copy_out.hpp"

#include "pg/live_read/paths.hpp"
#include "pg/write_back/departures.hpp"
#include "pg/write_back/own_rows.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "commands/copy.h"
#include "nodes/makefuncs.h"
}

namespace pgwc::copy_out {

namespace {

// Selects the columns that COPY copies, in its order and with its errors.
SelectStmt* select_columns(const CopyStmt* copy, Oid table) {
  auto* select = makeNode(SelectStmt);
  auto* from = static_cast<RangeVar*>(copyObjectImpl(copy->relation));
  from->inh = false;
  select->fromClause = list_make1(from);
  Relation relation = table_open(table, NoLock);
  TupleDesc desc = RelationGetDescr(relation);
  ListCell* cell;
  foreach (cell, CopyGetAttnums(desc, relation, copy->attlist)) {
    char* name = pstrdup(NameStr(TupleDescAttr(desc, lfirst_int(cell) - 1)->attname));
    auto* column = makeNode(ColumnRef);
    column->fields = list_make1(makeString(name));
    column->location = -1;
    auto* target = makeNode(ResTarget);
    target->val = reinterpret_cast<Node*>(column);
    target->location = -1;
    select->targetList = lappend(select->targetList, target);
  }
  table_close(relation, NoLock);
  return select;
}

}  // namespace

PlannedStmt* read_pending(PlannedStmt* planned) {
  const auto* copy = castNode(CopyStmt, planned->utilityStmt);
  if (copy->is_from || copy->relation == nullptr) return planned;
  const Oid table = RangeVarGetRelid(copy->relation, AccessShareLock, true);
  if (!OidIsValid(table) || get_rel_relkind(table) != RELKIND_RELATION) return planned;
  if (live_read::sources_of(table, true) == NIL) {
    if (ActiveSnapshotSet()) departures::check(table, GetActiveSnapshot());
    (void)own_rows::spill_seen_in(table);
    return planned;
  }
  auto* by_query = static_cast<CopyStmt*>(copyObjectImpl(copy));
  by_query->query = reinterpret_cast<Node*>(select_columns(copy, table));
  by_query->relation = nullptr;
  by_query->attlist = NIL;
  auto* changed = static_cast<PlannedStmt*>(copyObjectImpl(planned));
  changed->utilityStmt = reinterpret_cast<Node*>(by_query);
  return changed;
}

}  // namespace pgwc::copy_out
