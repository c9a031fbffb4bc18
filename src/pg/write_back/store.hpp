// Puts buffered rows into a table; the flush worker's batches and a transaction's own spills alike.
//
// Two ways. A plain heap without triggers takes table_multi_insert, with the rows sorted by the
// index that the batch is most out of order for. Everything else goes through the executor as
// INSERT ... SELECT, as the table's owner.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc {

// Framed rows, back to back.
struct RowSpan {
  const std::byte* data;
  std::size_t bytes;
  CommandId command;  // the command that inserted them; InvalidCommandId: the current one
};

// Stores all rows of all spans in the current transaction. The relation is locked. May ERROR, and
// then nothing is stored that a rollback of the surrounding (sub)transaction does not take back.
// `sort` allows index order.
std::uint64_t store_rows(Relation relation, const RowSpan* spans, std::size_t span_count,
                         bool sort);

// The table that store_rows is writing to right now through the executor, so that capture leaves it
// alone.
Oid storing_into();

}  // namespace pgwc
