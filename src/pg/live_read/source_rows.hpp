// The pending rows of one attached table as rows of a relation: of the table itself, of a partition
// of it, or of what it is a partition of.
#pragma once

#include "pg/live_read/reader.hpp"

extern "C" {
#include "access/attmap.h"
}

namespace pgwc::live_read {

struct SourceRows {
  Relation relation;  // whose rows they are shown as
  Reader reader;
  TupleDesc layout;        // of the buffered rows
  TupleTableSlot* stored;  // one of them
  AttrMap* columns;  // from the buffered rows' columns to the relation's; null if they are the same
  ResultRelInfo* partition;  // set if rows of other partitions must be left out
};

// Begins reading at a snapshot; false if it sees nothing. In the memory context of the whole scan;
// `rows` is all zero. May ERROR.
bool open(SourceRows* rows, Relation relation, Oid source, Snapshot snapshot);
// Puts a buffered row into the slot of the relation. False if it belongs to another partition.
bool show(SourceRows* rows, MinimalTuple tuple, TupleTableSlot* slot, EState* estate);
void close(SourceRows* rows);

}  // namespace pgwc::live_read
