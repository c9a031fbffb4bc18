// What the planner hands to the node that reads through the row cache, as a list of numbers that a
// plan can carry.
#pragma once

#include "pg/row_cache/cache_key.hpp"

namespace pgwc::row_cache {

struct PlanColumn {
  AttrNumber attribute;
  Oid collation;
  Oid type;            // of the value
  bool cross_type;     // not the column's own
  Oid equal_function;  // column = value
  HashBy hash_by;
  Oid hash_function;
};

struct PlanData {
  Oid index;
  TransactionId index_xmin;
  Mode mode;
  AttrNumber needed;  // the last column that is read
  int any_column;     // that is compared with = ANY; -1: none
  Oid element_equal;  // of two elements of its array
  int count;
  PlanColumn columns[INDEX_MAX_KEYS];
};

List* write_plan_data(const PlanData& data);
void read_plan_data(const List* list, PlanData* data);

// The parts of the key, ready to be used. In the current memory context.
KeyPart* make_key_parts(const PlanData& data);

}  // namespace pgwc::row_cache
