#include "pg/boundary/planning.hpp"

extern "C" {
#include "access/sysattr.h"
#include "nodes/bitmapset.h"
#include "optimizer/optimizer.h"
}

namespace pgwc {

bool uses_place(RelOptInfo* rel, Index rti, const RangeTblEntry* entry) {
  Bitmapset* used = nullptr;
  // Of a partition that the query does not name, attr_needed says nothing.
  pull_varattnos(reinterpret_cast<Node*>(rel->reltarget->exprs), rti, &used);
  ListCell* cell;
  foreach (cell, rel->baserestrictinfo)
    pull_varattnos(reinterpret_cast<Node*>(lfirst_node(RestrictInfo, cell)->clause), rti, &used);
  for (AttrNumber number = FirstLowInvalidHeapAttributeNumber + 1; number < 0; ++number) {
    // The table is known, unless it is one partition of many.
    if (number == TableOidAttributeNumber && entry->relkind != RELKIND_PARTITIONED_TABLE) continue;
    if (bms_is_member(number - FirstLowInvalidHeapAttributeNumber, used) ||
        (number >= rel->min_attr && !bms_is_empty(rel->attr_needed[number - rel->min_attr])))
      return true;
  }
  return false;
}

}  // namespace pgwc
