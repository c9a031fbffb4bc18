// Which blocks a scan of pending rows can pass by: from the conditions of the plan to values looked
// for in the summaries of blocks, and from rows to summaries.
#pragma once

#include "core/block_summary.hpp"
#include "pg/boundary/pg.hpp"

namespace pgwc::probes {

// The columns of a table that its summaries are about: those that lead its indexes.
struct Columns {
  std::uint64_t id;  // which columns, and of which types
  std::uint32_t count;
  AttrNumber last;  // the highest of them
  AttrNumber number[kSummaryColumns];
  std::int32_t offset[kSummaryColumns];  // in the data of a row without nulls; -1: it varies
  Oid type[kSummaryColumns];
  FmgrInfo* hash[kSummaryColumns];  // null where keys tell all
  Oid collation[kSummaryColumns];
};

// Remembered for each relation until it changes.
Columns columns_of(Relation relation);

// The column of the relation that one side of a comparison is, maybe relabelled; null for anything
// else.
const Var* column_side(Node* side, Index relation);

// A condition on one of the columns: `column operator expression`.
struct Condition {
  std::uint32_t column;
  int strategy;  // of a btree
  Oid value_type;
  ExprState* value;
};

// The usable conditions among those of a plan node. `map` leads from the scanned relation's columns
// to the table's, null if they are the same.
Condition* conditions_of(PlanState* node, const List* quals, Index relation, const Columns& columns,
                         const AttrMap* map, std::size_t* count);

// What they look for now. False if nothing can match, because a value is null.
bool evaluate(const Condition* conditions, std::size_t count, const Columns& columns,
              ExprContext* context, Probe* probes, std::size_t* probe_count);

// Whether a row cannot be one of those looked for, as far as that can be told without taking it
// apart.
bool rules_out(const Columns& columns, const Probe* probes, std::size_t count, MinimalTuple row);

// A row's values for the summary; returns how many. Adds to `nulls` a bit for each column that has
// none.
std::size_t keys_of(const Columns& columns, TupleTableSlot* row, SummaryKey* keys,
                    std::uint8_t* key_columns, std::uint32_t* nulls);

// A number that is ordered as the values of the type are in its default btree order, and equal
// where they are. False if there is none for the type.
bool key_of(Oid type, Datum value, std::int64_t* key);
// Where the summary has such numbers of a column; -1: nowhere.
std::int32_t position_of(const Columns& columns, AttrNumber number);

}  // namespace pgwc::probes
