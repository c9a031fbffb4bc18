#include "pg/boundary/planning.hpp"

#include "pg/boundary/compat.hpp"

extern "C" {
#include "access/sysattr.h"
#include "nodes/bitmapset.h"
}

namespace pgwc {

namespace {

struct Place {
  Index relation;
  bool table_is_known;  // unless it is one partition of many
};

bool names_place(Node* node, void* context) {
  if (node == nullptr) return false;
  if (IsA(node, Var)) {
    const Var* var = castNode(Var, node);
    const auto* place = static_cast<const Place*>(context);
    return var->varattno < 0 && static_cast<Index>(var->varno) == place->relation &&
           var->varlevelsup == 0 &&
           (var->varattno != TableOidAttributeNumber || !place->table_is_known);
  }
  return compat::walk_expression(node, names_place, context);
}

}  // namespace

bool uses_place(RelOptInfo* rel, Index rti, const RangeTblEntry* entry) {
  Place place{rti, entry->relkind != RELKIND_PARTITIONED_TABLE};
  // Of a partition that the query does not name, attr_needed says nothing.
  ListCell* cell;
  foreach (cell, rel->reltarget->exprs)
    if (names_place(static_cast<Node*>(lfirst(cell)), &place)) return true;
  foreach (cell, rel->baserestrictinfo)
    if (names_place(reinterpret_cast<Node*>(lfirst_node(RestrictInfo, cell)->clause), &place))
      return true;
  for (AttrNumber number = rel->min_attr; number < 0; ++number)
    if ((number != TableOidAttributeNumber || !place.table_is_known) &&
        !bms_is_empty(rel->attr_needed[number - rel->min_attr]))
      return true;
  return false;
}

}  // namespace pgwc
