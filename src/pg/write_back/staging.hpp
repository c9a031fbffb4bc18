// A transaction's rows before its commit: kept in backend memory, handed to the write buffer when
// the transaction ends.
//
// They are appended while the statement runs, cut off by a rollback to a savepoint, forgotten by
// that of the transaction, and published by its commit (publish.hpp). At any moment before they can
// be spilled: then they go into the table as ordinary inserts of this transaction.
//
// Backends only. Row bytes are MinimalTuples, each padded to 8 bytes, external values fetched: what
// the core frames.
#pragma once

#include "pg/boundary/pg.hpp"
#include "pg/tables/attachment.hpp"

namespace pgwc {

struct Stage;

namespace staging {

// Opens (or finds) this transaction's stage for a table. Null when the buffer has no place for the
// table.
Stage* open(Relation relation, Attachment* attachment);

// Stages a row. The slot's descriptor is the relation's. Writes through when the transaction has
// grown past writecache.bulk_bypass. May ERROR.
void append(Stage* stage, Relation relation, TupleTableSlot* slot);

// From here on this transaction's rows for the table do not wait in the buffer.
void write_through(Stage* stage);

// The statement is over: what must not wait for the commit goes to the table now.
void end_statement(Stage* stage, Relation relation);

// Whether this transaction has staged anything that is not in a table yet.
bool any();
bool has_rows(Oid relation);

// Writes the transaction's staged rows of one table into it. Needs a transaction with a snapshot
// allowed; may ERROR. True if there were any.
bool spill(Oid relation);
void spill_all();

}  // namespace staging
}  // namespace pgwc
