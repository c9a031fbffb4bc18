// Puts buffered rows into a table; the flush worker's batches and a transaction's own spills alike.
//
// Two ways. A plain heap without triggers takes table_multi_insert, with the rows sorted by the
// index that the batch is most out of order for. Everything else goes through the executor as
// INSERT ... SELECT. Both run as the current user.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc {

// Framed rows, back to back.
struct RowSpan {
  const std::byte* data;
  std::size_t bytes;
  CommandId command;     // the command that inserted them; InvalidCommandId: the current one
  std::uint32_t layout;  // fingerprint of the columns they were formed for
  Oid staged_by;
};

// Stores all rows of all spans in the current transaction. The relation is locked. May ERROR, and
// then nothing is stored that a rollback of the surrounding (sub)transaction does not take back.
// `sort` allows index order.
std::uint64_t store_rows(Relation relation, const RowSpan* spans, std::size_t span_count,
                         bool sort);

// One span for each row, in the same order.
RowSpan* split_into_rows(const RowSpan* spans, std::size_t span_count, std::size_t* row_count);

// Cuts a batch into parts and calls `store` for each, with the index in whose order the rows come:
// rows that store_rows would sort are sorted over all parts. InvalidOid: as they arrived. May
// ERROR.
using PartStore = void (*)(void* context, const RowSpan* spans, std::size_t count, Oid sorted_by);
void for_each_part(Relation relation, const RowSpan* spans, std::size_t span_count, PartStore store,
                   void* context);

// For the executor's start hook, before the query is set up: rows that go through the executor were
// allowed before.
void keep_rights(const QueryDesc* query);

// For the executor's start hook, once the query is set up: rows that go through the executor keep
// the command they were inserted by, so that the transaction's snapshots see them as they should.
void keep_command(QueryDesc* query);

// The table that store_rows is writing to right now through the executor, so that capture leaves it
// alone.
Oid storing_into();

}  // namespace pgwc
