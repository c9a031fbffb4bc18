#include "pg/write_back/reject.hpp"

#include <algorithm>
#include <cstring>

#include "pg/boundary/compat.hpp"
#include "pg/server/shmem.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/tables/catalog.hpp"
#include "pg/write_back/constraint_mode.hpp"
#include "pg/write_back/flush.hpp"

extern "C" {
#include "access/htup_details.h"
#include "nodes/makefuncs.h"
#include "tcop/utility.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/resowner.h"
}

namespace pgwc::reject {

namespace {

constexpr std::size_t kFanOut = 16;

// One row as a span of its own, in publish order.
struct Rows {
  const RowSpan* at;
  std::size_t count;
};

// Runs `body` in a subtransaction. Null if it succeeded, else its error, the subtransaction rolled
// back.
template <class Body>
ErrorData* try_in_subtransaction(Body&& body) {
  MemoryContext context = CurrentMemoryContext;
  ResourceOwner owner = CurrentResourceOwner;
  ErrorData* volatile error = nullptr;
  BeginInternalSubTransaction(nullptr);
  MemoryContextSwitchTo(context);
  PG_TRY();
  {
    body();
    ReleaseCurrentSubTransaction();
  }
  PG_CATCH();
  {
    MemoryContextSwitchTo(context);
    error = CopyErrorData();
    FlushErrorState();
    RollbackAndReleaseCurrentSubTransaction();
  }
  PG_END_TRY();
  MemoryContextSwitchTo(context);
  CurrentResourceOwner = owner;
  return error;
}

// What is not the row's fault ends the whole batch.
void rethrow_unless_data(ErrorData* error) {
  if (kind_of(error->sqlerrcode) != ErrorKind::kData) ReThrowError(error);
}

Datum row_as_jsonb(Relation relation, const RowSpan& row) {
  auto* minimal = reinterpret_cast<MinimalTuple>(const_cast<std::byte*>(row.data));
  HeapTuple tuple = heap_tuple_from_minimal_tuple(minimal);
  const Datum record = heap_copy_tuple_as_datum(tuple, RelationGetDescr(relation));
  // to_jsonb is polymorphic and asks its call expression for the type.
  const Oid type = relation->rd_rel->reltype;
  FmgrInfo function;
  fmgr_info(F_TO_JSONB, &function);
  function.fn_expr = reinterpret_cast<Node*>(
      makeFuncExpr(F_TO_JSONB, JSONBOID, list_make1(makeNullConst(type, -1, InvalidOid)),
                   InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL));
  return FunctionCall1(&function, record);
}

void record_rejected(Relation relation, const RowSpan& row, const ErrorData* error) {
  catalog::Rejection rejection{};
  rejection.relation = RelationGetRelid(relation);
  rejection.row = row.data;
  rejection.row_bytes = row.bytes;
  rejection.layout = row.layout;
  rejection.staged_by = row.staged_by;
  rejection.error = error;
  if (row.layout != attachments::layout_fingerprint(RelationGetDescr(relation))) {
    catalog::insert_rejection(rejection);
    return;
  }
  // A value may have no jsonb form (json '"\u0000"' has none); the exact form is there in any case.
  ErrorData* failed = try_in_subtransaction([&] {
    rejection.as_jsonb = row_as_jsonb(relation, row);
    rejection.has_jsonb = true;
  });
  if (failed != nullptr) {
    if (kind_of(failed->sqlerrcode) == ErrorKind::kTransient) ReThrowError(failed);
    rejection.has_jsonb = false;
    FreeErrorData(failed);
  }
  catalog::insert_rejection(rejection);
}

// What an attempt leaves behind when it fails goes with its own memory: a batch may have a million
// bad rows.
class AttemptMemory {
 public:
  void enter() {
    context_ = AllocSetContextCreate(CurrentMemoryContext, "pg_writecache attempt",
                                     ALLOCSET_DEFAULT_SIZES);
    outer_ = MemoryContextSwitchTo(context_);
  }
  void leave() {
    MemoryContextSwitchTo(outer_);
    MemoryContextDelete(context_);
  }

 private:
  MemoryContext context_;
  MemoryContext outer_;
};

struct Batch {
  Relation relation;
  Oid sorted_by;  // the index in whose order the rows come, if it is not that of their arrival
  Outcome outcome;
};

// Of rows that exclude each other the first one counts. In an index's order those with equal keys
// stand as they arrived, but others do not.
bool depends_on_order(const Batch& batch, const ErrorData* error) {
  if (!OidIsValid(batch.sorted_by) || (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION &&
                                       error->sqlerrcode != ERRCODE_EXCLUSION_VIOLATION))
    return false;
  const char* index = get_rel_name(batch.sorted_by);
  return index == nullptr || error->constraint_name == nullptr ||
         std::strcmp(index, error->constraint_name) != 0;
}

void store_part(Batch* batch, Rows rows);

void store_parts(Batch* batch, Rows rows) {
  const std::size_t part = rows.count == 1 ? 1 : (rows.count + kFanOut - 1) / kFanOut;
  for (std::size_t from = 0; from < rows.count; from += part) {
    AttemptMemory memory;
    memory.enter();
    store_part(batch, {rows.at + from, std::min(part, rows.count - from)});
    memory.leave();
  }
}

void store_part(Batch* batch, Rows rows) {
  CHECK_FOR_INTERRUPTS();
  std::uint64_t stored = 0;
  ErrorData* error = try_in_subtransaction([&] {
    stored = store_rows(batch->relation, rows.at, rows.count, !OidIsValid(batch->sorted_by));
  });
  if (error == nullptr) {
    batch->outcome.stored += stored;
    return;
  }
  rethrow_unless_data(error);
  if (rows.count > 1) {
    store_parts(batch, rows);
  } else if (depends_on_order(*batch, error)) {
    ReThrowError(error);
  } else {
    record_rejected(batch->relation, rows.at[0], error);
    ++batch->outcome.rejected;
  }
}

void store_row_by_row(Batch* batch, const RowSpan* spans, std::size_t span_count) {
  std::size_t count;
  RowSpan* rows = split_into_rows(spans, span_count, &count);
  store_parts(batch, {rows, count});
  pfree(rows);
}

void store_spans(void* context, const RowSpan* spans, std::size_t span_count, Oid sorted_by) {
  auto* batch = static_cast<Batch*>(context);
  batch->sorted_by = sorted_by;
  AttemptMemory memory;
  memory.enter();
  std::uint64_t stored = 0;
  ErrorData* error = try_in_subtransaction(
      [&] { stored = store_rows(batch->relation, spans, span_count, !OidIsValid(sorted_by)); });
  if (error == nullptr) {
    batch->outcome.stored += stored;
  } else {
    rethrow_unless_data(error);
    store_row_by_row(batch, spans, span_count);
  }
  memory.leave();
}

std::uint64_t reject_span(Relation relation, const RowSpan& span, const ErrorData* error) {
  std::size_t count;
  RowSpan* rows = split_into_rows(&span, 1, &count);
  for (std::size_t i = 0; i < count; ++i) {
    CHECK_FOR_INTERRUPTS();
    AttemptMemory memory;
    memory.enter();
    record_rejected(relation, rows[i], error);
    memory.leave();
  }
  pfree(rows);
  return count;
}

// Commands that change a table's columns flush it before. A server without the library does not,
// and then the rows must not be read by the new columns. Rejects them, and returns the other spans;
// null if that is all.
RowSpan* leave_strangers(Relation relation, const RowSpan* spans, std::size_t span_count,
                         std::size_t* left, Outcome* outcome) {
  const std::uint32_t layout = attachments::layout_fingerprint(RelationGetDescr(relation));
  std::size_t strangers = 0;
  for (std::size_t i = 0; i < span_count; ++i) strangers += spans[i].layout != layout;
  if (strangers == 0) return nullptr;
  ErrorData error{};
  error.sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
  error.message = psprintf("columns of table \"%s\" were changed while the row was buffered",
                           RelationGetRelationName(relation));
  error.detail = const_cast<char*>("The server ran without pg_writecache at that time.");
  auto* readable = static_cast<RowSpan*>(
      MemoryContextAllocHuge(CurrentMemoryContext, sizeof(RowSpan) * span_count));
  *left = 0;
  for (std::size_t i = 0; i < span_count; ++i) {
    if (spans[i].layout == layout)
      readable[(*left)++] = spans[i];
    else
      outcome->rejected += reject_span(relation, spans[i], &error);
  }
  return readable;
}

}  // namespace

ErrorKind kind_of(int sqlerrcode) {
  const int category = ERRCODE_TO_CATEGORY(sqlerrcode);
  // Storage, locks, shutdown, concurrency, the system: nothing a row can be blamed for.
  for (int transient :
       {MAKE_SQLSTATE('0', '8', '0', '0', '0'), MAKE_SQLSTATE('2', '5', '0', '0', '0'),
        MAKE_SQLSTATE('4', '0', '0', '0', '0'), MAKE_SQLSTATE('5', '3', '0', '0', '0'),
        MAKE_SQLSTATE('5', '5', '0', '0', '0'), MAKE_SQLSTATE('5', '7', '0', '0', '0'),
        MAKE_SQLSTATE('5', '8', '0', '0', '0'), MAKE_SQLSTATE('X', 'X', '0', '0', '0'),
        MAKE_SQLSTATE('H', 'V', '0', '0', '0')})
    if (category == transient) return ErrorKind::kTransient;
  for (int broken : {MAKE_SQLSTATE('4', '2', '0', '0', '0'), MAKE_SQLSTATE('0', 'A', '0', '0', '0'),
                     MAKE_SQLSTATE('3', 'F', '0', '0', '0')})
    if (category == broken) return ErrorKind::kBroken;
  return ErrorKind::kData;
}

Outcome store_or_reject(Relation relation, const RowSpan* spans, std::size_t span_count) {
  Outcome outcome{0, 0};
  RowSpan* readable = leave_strangers(relation, spans, span_count, &span_count, &outcome);
  if (readable != nullptr) spans = readable;
  if (span_count == 0) return outcome;
  Batch batch{relation, InvalidOid, outcome};
  ErrorData* error = try_in_subtransaction(
      [&] { for_each_part(relation, spans, span_count, store_spans, &batch); });
  if (error == nullptr) return batch.outcome;
  // The rows cannot be put in order, or must not.
  rethrow_unless_data(error);
  FreeErrorData(error);
  batch = {relation, InvalidOid, outcome};
  store_row_by_row(&batch, spans, span_count);
  return batch.outcome;
}

Outcome reject_all(Relation relation, const RowSpan* spans, std::size_t span_count,
                   const ErrorData* error) {
  Outcome outcome{0, 0};
  for (std::size_t i = 0; i < span_count; ++i)
    outcome.rejected += reject_span(relation, spans[i], error);
  return outcome;
}

}  // namespace pgwc::reject

using namespace pgwc;

namespace {

// The table, for its owner only.
Relation open_for_owner(FunctionCallInfo fcinfo, const char* function, LOCKMODE lock) {
  require_buffer();
  PreventCommandIfReadOnly(function);
  if (PG_ARGISNULL(0))
    ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("relation must not be null"));
  return catalog::open_owned(PG_GETARG_OID(0), lock);
}

// Null for all of the table's rows.
const std::int64_t* id_argument(FunctionCallInfo fcinfo) {
  if (PG_ARGISNULL(1)) return nullptr;
  auto* id = static_cast<std::int64_t*>(palloc(sizeof(std::int64_t)));
  *id = PG_GETARG_INT64(1);
  return id;
}

}  // namespace

PGWC_FUNCTION(pgwc_retry_rejected) {
  Relation relation = open_for_owner(fcinfo, "writecache.retry_rejected()", RowExclusiveLock);
  const std::uint32_t layout = attachments::layout_fingerprint(RelationGetDescr(relation));
  constraint_mode::immediate(relation);
  Oid user;
  int security;
  GetUserIdAndSecContext(&user, &security);
  SetUserIdAndSecContext(relation->rd_rel->relowner, security | SECURITY_RESTRICTED_OPERATION);
  const std::uint64_t stored = catalog::for_each_rejected(
      RelationGetRelid(relation), id_argument(fcinfo), [&](catalog::RejectedRow* row) {
        if (row->layout != layout)
          ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                  errmsg("columns of table \"%s\" have changed since the row was rejected",
                         RelationGetRelationName(relation)),
                  errhint("Insert it from column \"row\" of writecache.rejected and discard it."));
        const RowSpan span{row->row, row->row_bytes, InvalidCommandId, layout, InvalidOid};
        row->error = reject::try_in_subtransaction([&] { store_rows(relation, &span, 1, false); });
        if (row->error == nullptr) return catalog::RejectedFate::kDelete;
        // A cancel, a timeout, a lock: not the row's fault.
        if (reject::kind_of(row->error->sqlerrcode) == reject::ErrorKind::kTransient)
          ReThrowError(const_cast<ErrorData*>(row->error));
        return catalog::RejectedFate::kCountAttempt;
      });
  SetUserIdAndSecContext(user, security);
  constraint_mode::restore(relation);
  table_close(relation, NoLock);
  PG_RETURN_INT64(static_cast<std::int64_t>(stored));
}

PGWC_FUNCTION(pgwc_reject_pending) {
  // As for a drain: nobody else takes rows out, and none come in.
  Relation relation = open_for_owner(fcinfo, "writecache.reject_pending()", ShareRowExclusiveLock);
  Attachment* attachment = attachments::find_write_back(RelationGetRelid(relation));
  if (attachment == nullptr)
    ereport(
        ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
        errmsg("table \"%s\" is not attached as write_back", RelationGetRelationName(relation)));
  const std::int32_t number = attachment->number;
  const std::uint64_t rows = attachments::open_queue(attachment)
                                 ? flush::reject_here(relation, number, attachment->queue)
                                 : 0;
  table_close(relation, NoLock);
  PG_RETURN_INT64(static_cast<std::int64_t>(rows));
}

PGWC_FUNCTION(pgwc_discard_rejected) {
  Relation relation = open_for_owner(fcinfo, "writecache.discard_rejected()", RowExclusiveLock);
  const std::uint64_t discarded = catalog::for_each_rejected(
      RelationGetRelid(relation), id_argument(fcinfo),
      [](catalog::RejectedRow*) { return catalog::RejectedFate::kDelete; });
  table_close(relation, NoLock);
  PG_RETURN_INT64(static_cast<std::int64_t>(discarded));
}
