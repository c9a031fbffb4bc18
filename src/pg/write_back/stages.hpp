// The rows that a transaction has staged, in backend memory: a stage for each table, its rows in
// the order they came, and marks that say which subtransaction and command they are of, so that a
// rollback to a savepoint can cut them off. Callable in the callbacks of a commit or abort unless
// it says that it allocates.
#pragma once

#include "pg/server/shmem.hpp"
#include "pg/tables/attachment.hpp"

namespace pgwc {

// Rows staged by one subtransaction at one command, in the order of their bytes.
struct Mark {
  std::size_t begin;
  SubTransactionId owner;
  SubTransactionId spilled_in;  // InvalidSubTransactionId: not in the table
  CommandId command;
  Oid staged_by;
};

struct Stage {
  Stage* next;
  Oid relation;
  std::uint64_t queue_id;
  QueueNo queue;
  WhenFull when_full;
  bool bypassing;  // too much for the buffer: rows only stop here to be stored in bulk
  bool oversized;  // holds a row that no block can take
  bool spilled;    // some mark's rows are in the table
  bool storing;    // a spill is under way, and what it runs must not begin another
  char* data;
  std::size_t used;
  std::size_t capacity;
  Mark* marks;
  std::size_t mark_count;
  std::size_t mark_capacity;
};

namespace stages {

// Those of the transaction, the latest first.
extern Stage* used;

// What stages live in; never reset.
MemoryContext memory();

Stage* find(Oid relation);
Stage* make();  // allocates; its place in the buffer is the caller's to fill in
// Empties all of them; small ones keep their memory for the next transaction.
void forget_all() noexcept;

// A row of this moment's command and subtransaction; allocates.
void append(Stage* stage, TupleDesc desc, Datum* values, bool* nulls);

// Where the rows of a mark end.
std::size_t mark_end(const Stage* stage, std::size_t i);
// Whether there are rows that are not in the table.
bool has_unspilled(const Stage* stage);
// Rows that are not in the table yet are from here on.
void note_spilled(Stage* stage);
// At commit nothing can be rolled back to a savepoint any more: only what is not in a table counts.
void compact(Stage* stage);

void end_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent);

}  // namespace stages
}  // namespace pgwc
