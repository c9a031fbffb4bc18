#include "pg/write_back/store.hpp"

#include <algorithm>
#include <cstring>

#include "core/layout.hpp"
#include "pg/boundary/compat.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/write_back/batch_order.hpp"

extern "C" {
#include "access/genam.h"
#include "access/heapam.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_authid.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "utils/guc.h"
#include "utils/plancache.h"
#include "utils/queryenvironment.h"
#include "utils/tuplestore.h"
}

namespace pgwc {

namespace {

// As COPY's own batches: enough to amortise the page lock and WAL record, small enough to stay in
// cache.
constexpr int kMultiInsertRows = 1000;
constexpr std::size_t kMultiInsertBytes = 65536;
constexpr char kBatchName[] = "pg_writecache_batch";

Oid current_target = InvalidOid;
CommandId command_to_keep = InvalidCommandId;
bool own_statement = false;

// Calls fn(MinimalTuple) for every row.
template <class Fn>
void for_each_row(const RowSpan& span, Fn&& fn) {
  for (std::size_t at = 0; at < span.bytes;) {
    // The buffer's copy is read only; PostgreSQL's interface does not say const.
    auto* tuple = reinterpret_cast<MinimalTuple>(const_cast<std::byte*>(span.data) + at);
    at += align_up<kRowAlign>(tuple->t_len);
    fn(tuple);
  }
}

// table_multi_insert with its index entries: what COPY does, without COPY.
class HeapWriter {
 public:
  void open(Relation relation) {
    relation_ = relation;
    estate_ = CreateExecutorState();
    result_ = makeNode(ResultRelInfo);
    InitResultRelInfo(result_, relation, 1, nullptr, 0);
    ExecOpenIndices(result_, false);
    bulk_ = GetBulkInsertState();
    batch_context_ =
        AllocSetContextCreate(CurrentMemoryContext, "pg_writecache batch", ALLOCSET_DEFAULT_SIZES);
    slots_ = static_cast<TupleTableSlot**>(palloc0(sizeof(TupleTableSlot*) * kMultiInsertRows));
  }

  void add(MinimalTuple tuple, CommandId command) {
    if (count_ > 0 &&
        (command != command_ || count_ == kMultiInsertRows || bytes_ >= kMultiInsertBytes))
      write();
    command_ = command;
    if (slots_[count_] == nullptr)
      slots_[count_] = MakeSingleTupleTableSlot(RelationGetDescr(relation_), &TTSOpsHeapTuple);
    MemoryContext old = MemoryContextSwitchTo(batch_context_);
    ExecStoreHeapTuple(heap_tuple_from_minimal_tuple(tuple), slots_[count_], false);
    MemoryContextSwitchTo(old);
    ++count_;
    bytes_ += tuple->t_len;
  }

  void close() {
    if (count_ > 0) write();
    for (int i = 0; i < kMultiInsertRows && slots_[i] != nullptr; ++i)
      ExecDropSingleTupleTableSlot(slots_[i]);
    FreeBulkInsertState(bulk_);
    ExecCloseIndices(result_);
    FreeExecutorState(estate_);
    MemoryContextDelete(batch_context_);
  }

 private:
  void write() {
    CHECK_FOR_INTERRUPTS();
    MemoryContext old = MemoryContextSwitchTo(batch_context_);
    table_multi_insert(relation_, slots_, count_, command_, 0, bulk_);
    MemoryContextSwitchTo(old);
    for (int i = 0; i < count_; ++i) {
      if (result_->ri_NumIndices > 0) {
        slots_[i]->tts_tableOid = RelationGetRelid(relation_);
        list_free(compat::insert_index_tuples(result_, slots_[i], estate_));
        ResetPerTupleExprContext(estate_);
      }
      ExecClearTuple(slots_[i]);
    }
    MemoryContextReset(batch_context_);
    count_ = 0;
    bytes_ = 0;
  }

  Relation relation_ = nullptr;
  EState* estate_ = nullptr;
  ResultRelInfo* result_ = nullptr;
  BulkInsertState bulk_ = nullptr;
  MemoryContext batch_context_ = nullptr;
  TupleTableSlot** slots_ = nullptr;
  CommandId command_ = 0;
  int count_ = 0;
  std::size_t bytes_ = 0;
};

// The spans' rows, one by one, in this order.
const RowSpan* rows_in_order(const BatchOrder& order, Relation relation, const RowSpan* spans,
                             std::size_t* count) {
  std::size_t row_count;
  RowSpan* arrived = split_into_rows(spans, *count, &row_count);
  OrderedRow* ordered = sort_rows(order, relation, arrived, row_count);
  auto* rows = static_cast<RowSpan*>(
      MemoryContextAllocHuge(CurrentMemoryContext, sizeof(RowSpan) * row_count));
  for (std::size_t i = 0; i < row_count; ++i) rows[i] = arrived[ordered[i].number];
  pfree(ordered);
  pfree(arrived);
  *count = row_count;
  return rows;
}

std::uint64_t store_in_heap(Relation relation, const RowSpan* spans, std::size_t count, bool sort) {
  std::uint64_t rows = 0;
  HeapWriter writer;
  writer.open(relation);
  const CommandId current = GetCurrentCommandId(true);
  BatchOrder order = sort ? choose_batch_order(relation, spans, count) : BatchOrder{};
  if (order.key_count > 0) {
    spans = rows_in_order(order, relation, spans, &count);
    for (std::size_t i = 0; i < count; ++i)
      for_each_row(spans[i], [&](MinimalTuple tuple) { writer.add(tuple, current); });
    writer.close();
    return count;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const CommandId command = spans[i].command == InvalidCommandId ? current : spans[i].command;
    for_each_row(spans[i], [&](MinimalTuple tuple) {
      writer.add(tuple, command);
      ++rows;
    });
  }
  writer.close();
  return rows;
}

// INSERT INTO t (all but generated columns) OVERRIDING SYSTEM VALUE SELECT the same FROM the batch.
char* insert_statement(Relation relation, bool ignore_conflicts) {
  const char* conflicts = ignore_conflicts ? " ON CONFLICT DO NOTHING" : "";
  StringInfoData columns;
  initStringInfo(&columns);
  TupleDesc desc = RelationGetDescr(relation);
  for (int i = 0; i < desc->natts; ++i) {
    const FormData_pg_attribute* attribute = TupleDescAttr(desc, i);
    if (attribute->attisdropped || attribute->attgenerated != '\0') continue;
    if (columns.len > 0) appendStringInfoString(&columns, ", ");
    appendStringInfoString(&columns, quote_identifier(NameStr(attribute->attname)));
  }
  char* target = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
                                            RelationGetRelationName(relation));
  if (columns.len == 0)
    return psprintf("INSERT INTO %s SELECT FROM %s%s", target, kBatchName, conflicts);
  return psprintf("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM %s%s", target,
                  columns.data, columns.data, kBatchName, conflicts);
}

// Rights and policies were looked at when the rows were staged, for who staged them. They are not
// asked again for who stores them: the name is looked up as a superuser, which runs no code of
// anybody's, and keep_rights does the rest.
SPIPlanPtr prepare(const char* statement) {
  Oid user;
  int security;
  GetUserIdAndSecContext(&user, &security);
  SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, security | SECURITY_LOCAL_USERID_CHANGE);
  SPIPlanPtr plan = SPI_prepare(statement, 0, nullptr);
  SetUserIdAndSecContext(user, security);
  if (plan == nullptr)
    elog(ERROR, "storing buffered rows failed: %s", SPI_result_code_string(SPI_result));
  linitial_node(CachedPlanSource, SPI_plan_get_plan_sources(plan))->dependsOnRLS = false;
  own_statement = true;
  return plan;
}

// Spans of one command.
std::uint64_t store_by_executor(Relation relation, const RowSpan* spans, std::size_t count,
                                bool ignore_conflicts) {
  Tuplestorestate* rows = tuplestore_begin_heap(false, false, work_mem);
  TupleTableSlot* slot = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsMinimalTuple);
  for (std::size_t i = 0; i < count; ++i)
    for_each_row(spans[i], [&](MinimalTuple tuple) {
      ExecStoreMinimalTuple(tuple, slot, false);
      tuplestore_puttupleslot(rows, slot);
    });
  ExecDropSingleTupleTableSlot(slot);

  char* statement = insert_statement(relation, ignore_conflicts);
  const int nest_level = NewGUCNestLevel();
  SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION);

  if (SPI_connect() != SPI_OK_CONNECT) elog(ERROR, "SPI_connect failed");
  auto* batch = static_cast<EphemeralNamedRelation>(palloc0(sizeof(EphemeralNamedRelationData)));
  batch->md.name = pstrdup(kBatchName);
  batch->md.reliddesc = RelationGetRelid(relation);
  batch->md.enrtype = ENR_NAMED_TUPLESTORE;
  batch->md.enrtuples = static_cast<double>(tuplestore_tuple_count(rows));
  batch->reldata = rows;
  if (SPI_register_relation(batch) != SPI_OK_REL_REGISTER)
    elog(ERROR, "SPI_register_relation failed");
  command_to_keep = spans[0].command;
  const int result = SPI_execute_plan(prepare(statement), nullptr, nullptr, false, 0);
  if (result != SPI_OK_INSERT)
    elog(ERROR, "storing buffered rows failed: %s", SPI_result_code_string(result));
  const std::uint64_t stored = SPI_processed;
  SPI_finish();

  AtEOXact_GUC(false, nest_level);
  tuplestore_end(rows);
  return stored;
}

std::uint64_t store_by_commands(Relation relation, const RowSpan* spans, std::size_t count,
                                bool ignore_conflicts) {
  std::uint64_t rows = 0;
  for (std::size_t from = 0, to; from < count; from = to) {
    for (to = from + 1; to < count && spans[to].command == spans[from].command;) ++to;
    rows += store_by_executor(relation, spans + from, to - from, ignore_conflicts);
  }
  return rows;
}

// Whether a row can collide with another one at all.
bool may_conflict(Relation relation) {
  bool found = false;
  ListCell* cell;
  foreach (cell, RelationGetIndexList(relation)) {
    Relation index = index_open(lfirst_oid(cell), AccessShareLock);
    if (index->rd_index->indisunique || index->rd_index->indisexclusion) found = true;
    index_close(index, AccessShareLock);
  }
  return found;
}

bool is_plain_heap(Relation relation) {
  const TriggerDesc* triggers = relation->trigdesc;
  return relation->rd_rel->relkind == RELKIND_RELATION &&
         relation->rd_rel->relam == HEAP_TABLE_AM_OID && !relation->rd_rel->relispartition &&
         (triggers == nullptr ||
          !(triggers->trig_insert_before_row || triggers->trig_insert_after_row ||
            triggers->trig_insert_before_statement || triggers->trig_insert_after_statement));
}

bool goes_to_heap(Relation relation, bool ignore_conflicts) {
  return is_plain_heap(relation) && !(ignore_conflicts && may_conflict(relation));
}

bool ignores_conflicts(Relation relation) {
  const Attachment* attachment = attachments::find(RelationGetRelid(relation));
  return attachment != nullptr && attachment->ignore_conflicts;
}

// Few, since each is a subtransaction to the flush; and not for a handful of rows.
constexpr std::size_t kParts = 8;
constexpr std::size_t kLeastPart = 256 * 1024;

// The first of the spans behind a part that has about this many bytes.
std::size_t end_of_part(const RowSpan* spans, std::size_t count, std::size_t from,
                        std::size_t most) {
  std::size_t bytes = spans[from].bytes;
  std::size_t to = from + 1;
  while (to < count && bytes + spans[to].bytes <= most) bytes += spans[to++].bytes;
  return to;
}

}  // namespace

RowSpan* split_into_rows(const RowSpan* spans, std::size_t span_count, std::size_t* row_count) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < span_count; ++i)
    for_each_row(spans[i], [&](MinimalTuple) { ++count; });
  auto* rows = static_cast<RowSpan*>(MemoryContextAllocHuge(
      CurrentMemoryContext, sizeof(RowSpan) * std::max<std::size_t>(count, 1)));
  std::size_t n = 0;
  for (std::size_t i = 0; i < span_count; ++i)
    for_each_row(spans[i], [&](MinimalTuple tuple) {
      rows[n] = spans[i];
      rows[n].data = reinterpret_cast<const std::byte*>(tuple);
      rows[n++].bytes = align_up<kRowAlign>(tuple->t_len);
    });
  *row_count = count;
  return rows;
}

void for_each_part(Relation relation, const RowSpan* spans, std::size_t span_count, PartStore store,
                   void* context) {
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < span_count; ++i) bytes += spans[i].bytes;
  const std::size_t most = std::max(bytes / kParts + 1, kLeastPart);
  if (bytes <= most) {
    store(context, spans, span_count, InvalidOid);
    return;
  }
  PushActiveSnapshot(GetTransactionSnapshot());
  const bool sort = goes_to_heap(relation, ignores_conflicts(relation));
  const BatchOrder order = sort ? choose_batch_order(relation, spans, span_count) : BatchOrder{};
  if (order.key_count > 0) spans = rows_in_order(order, relation, spans, &span_count);
  PopActiveSnapshot();
  for (std::size_t from = 0, to; from < span_count; from = to) {
    to = end_of_part(spans, span_count, from, most);
    store(context, spans + from, to - from, order.index);
  }
}

Oid storing_into() { return current_target; }

void keep_rights(const QueryDesc* query) {
  if (!own_statement) return;
  own_statement = false;
  compat::ask_no_permissions(query->plannedstmt);
}

void keep_command(QueryDesc* query) {
  if (command_to_keep == InvalidCommandId) return;
  query->estate->es_output_cid = command_to_keep;
  command_to_keep = InvalidCommandId;
}

std::uint64_t store_rows(Relation relation, const RowSpan* spans, std::size_t span_count,
                         bool sort) {
  std::uint64_t rows = 0;
  // At commit time there may be no snapshot any more, and index expressions and triggers want one.
  PushActiveSnapshot(GetTransactionSnapshot());
  const bool ignore_conflicts = ignores_conflicts(relation);
  if (goes_to_heap(relation, ignore_conflicts)) {
    MemoryContext context =
        AllocSetContextCreate(CurrentMemoryContext, "pg_writecache store", ALLOCSET_DEFAULT_SIZES);
    MemoryContext old = MemoryContextSwitchTo(context);
    rows = store_in_heap(relation, spans, span_count, sort);
    MemoryContextSwitchTo(old);
    MemoryContextDelete(context);
  } else {
    const Oid outer_target = current_target;
    PG_TRY();
    {
      current_target = RelationGetRelid(relation);
      rows = store_by_commands(relation, spans, span_count, ignore_conflicts);
    }
    PG_FINALLY();
    {
      current_target = outer_target;
      command_to_keep = InvalidCommandId;
      own_statement = false;
    }
    PG_END_TRY();
  }
  PopActiveSnapshot();
  return rows;
}

}  // namespace pgwc
