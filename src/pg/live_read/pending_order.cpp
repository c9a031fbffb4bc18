#include "pg/live_read/pending_order.hpp"

#include <algorithm>

#include "pg/boundary/compat.hpp"
#include "pg/server/shmem.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/sortsupport.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"
}

namespace pgwc::pending_order {

namespace {

// What a plan says of each column, as a List of OIDs: number, operator, collation, flags.
enum Planned { kNumber, kOperator, kCollation, kFlags, kPlannedColumns };
constexpr Oid kNullsFirst = 1;
constexpr Oid kDescending = 2;

const Var* column_of(const EquivalenceClass* keys, const RelOptInfo* rel) {
  const ListCell* cell;
  foreach (cell, keys->ec_members) {
    const auto* member = lfirst_node(EquivalenceMember, cell);
    if (member->em_is_const || !IsA(member->em_expr, Var)) continue;
    const auto* var = reinterpret_cast<const Var*>(member->em_expr);
    if (static_cast<Index>(var->varno) == rel->relid && var->varattno > 0 && var->varlevelsup == 0)
      return var;
  }
  return nullptr;
}

struct Entry {
  MinimalTuple row;
  Datum* values;  // of the order's columns
  bool* nulls;
};

}  // namespace

struct Order {
  live_read::SourceRows* rows;
  EState* estate;
  int count;
  AttrNumber* numbers;
  Oid* operators;
  Oid* collations;
  bool* nulls_first;
  SortSupportData* comparisons;
  bool descending;
  Oid type;              // of the first column
  std::int32_t summary;  // its position among the summary's columns; -1: nothing is known of it
  SummaryBounds* bounds;
  TupleTableSlot* shown;  // a row as the relation's
  TupleTableSlot* kept;   // the same, out of the heap
  MemoryContext memory;   // of the heap's rows
  Entry* heap;
  std::size_t heap_count;
  std::size_t heap_room;
  std::size_t bytes;
  Tuplesortstate* sort;  // instead of the heap, once that is too large
};

namespace {

int compare(const Order& order, const Entry& a, const Entry& b) {
  for (int i = 0; i < order.count; ++i)
    if (const int result = ApplySortComparator(a.values[i], a.nulls[i], b.values[i], b.nulls[i],
                                               &order.comparisons[i]))
      return result;
  return 0;
}

// std::push_heap keeps the largest on top.
auto later(const Order* order) {
  return [order](const Entry& a, const Entry& b) { return compare(*order, a, b) > 0; };
}

// Whether all rows of the block come after, or with, this one.
bool comes_after(const Order& order, const SummaryBounds& block, const Entry& row) {
  if (!block.known) return false;
  if (row.nulls[0]) return order.nulls_first[0] && !block.has_nulls;
  if (block.has_nulls && order.nulls_first[0]) return false;
  std::int64_t key;
  if (!probes::key_of(order.type, row.values[0], &key)) return false;
  return order.descending ? block.high < key : block.low > key;
}

// Blocks that may have the first rows come first.
void sort_blocks(Order* order) {
  live_read::Reader& reader = order->rows->reader;
  struct Ranked {
    BlockRef ref;
    SummaryBounds bounds;
  };
  auto* ranked = static_cast<Ranked*>(palloc(sizeof(Ranked) * (reader.block_count + 1)));
  order->bounds =
      static_cast<SummaryBounds*>(palloc(sizeof(SummaryBounds) * (reader.block_count + 1)));
  for (std::size_t i = 0; i < reader.block_count; ++i) {
    const BlockRef& ref = reader.blocks[i];
    ranked[i] = {ref, {}};
    if (order->summary >= 0)
      ranked[i].bounds = bounds_of(buffer().summary(ref), ref.epoch, reader.search->columns.id,
                                   static_cast<std::uint32_t>(order->summary), ref.used);
  }
  const auto may_be_anywhere = [order](const SummaryBounds& bounds) {
    return !bounds.known || (bounds.has_nulls && order->nulls_first[0]);
  };
  std::sort(ranked, ranked + reader.block_count, [&](const Ranked& a, const Ranked& b) {
    const bool a_first = may_be_anywhere(a.bounds);
    const bool b_first = may_be_anywhere(b.bounds);
    if (a_first || b_first) return a_first && !b_first;
    return order->descending ? a.bounds.high > b.bounds.high : a.bounds.low < b.bounds.low;
  });
  for (std::size_t i = 0; i < reader.block_count; ++i) {
    reader.blocks[i] = ranked[i].ref;
    order->bounds[i] = ranked[i].bounds;
  }
  pfree(ranked);
}

void begin_sort(Order* order) {
  order->sort = tuplesort_begin_heap(RelationGetDescr(order->rows->relation), order->count,
                                     order->numbers, order->operators, order->collations,
                                     order->nulls_first, work_mem, nullptr, TUPLESORT_NONE);
  for (std::size_t i = 0; i < order->heap_count; ++i) {
    ExecStoreMinimalTuple(order->heap[i].row, order->kept, false);
    tuplesort_puttupleslot(order->sort, order->kept);
  }
  ExecClearTuple(order->kept);
  order->heap_count = 0;
  order->bytes = 0;
  MemoryContextReset(order->memory);
}

void keep(Order* order) {
  if (order->sort != nullptr) {
    tuplesort_puttupleslot(order->sort, order->shown);
    return;
  }
  MemoryContext old = MemoryContextSwitchTo(order->memory);
  const auto count = static_cast<std::size_t>(order->count);
  Entry entry;
  entry.row = ExecCopySlotMinimalTuple(order->shown);
  entry.values = static_cast<Datum*>(palloc(count * (sizeof(Datum) + sizeof(bool))));
  entry.nulls = reinterpret_cast<bool*>(entry.values + count);
  ExecStoreMinimalTuple(entry.row, order->kept, false);
  for (std::size_t i = 0; i < count; ++i)
    entry.values[i] = slot_getattr(order->kept, order->numbers[i], &entry.nulls[i]);
  ExecClearTuple(order->kept);
  MemoryContextSwitchTo(old);
  if (order->heap_count == order->heap_room) {
    order->heap_room *= 2;
    order->heap = static_cast<Entry*>(repalloc_huge(order->heap, order->heap_room * sizeof(Entry)));
  }
  order->heap[order->heap_count++] = entry;
  std::push_heap(order->heap, order->heap + order->heap_count, later(order));
  order->bytes +=
      GetMemoryChunkSpace(entry.row) + GetMemoryChunkSpace(entry.values) + sizeof(Entry);
  if (order->bytes > static_cast<std::size_t>(work_mem) * 1024) begin_sort(order);
}

// Takes all rows of the next block. False if there is none.
bool take_block(Order* order) {
  if (!live_read::enter_block(&order->rows->reader)) return false;
  while (MinimalTuple row = live_read::next_in_block(&order->rows->reader))
    if (live_read::show(order->rows, row, order->shown, order->estate)) keep(order);
  return true;
}

void take_what_may_come_first(Order* order) {
  const live_read::Reader& reader = order->rows->reader;
  while (reader.next_block < reader.block_count) {
    if (order->sort == nullptr && order->heap_count > 0 &&
        comes_after(*order, order->bounds[reader.next_block], order->heap[0]))
      return;
    if (!take_block(order)) break;
  }
  if (order->sort != nullptr) tuplesort_performsort(order->sort);
}

void show_kept(Order* order, TupleTableSlot* slot) {
  slot_getallattrs(order->kept);
  ExecClearTuple(slot);
  const auto columns = static_cast<std::size_t>(slot->tts_tupleDescriptor->natts);
  memcpy(slot->tts_values, order->kept->tts_values, columns * sizeof(Datum));
  memcpy(slot->tts_isnull, order->kept->tts_isnull, columns * sizeof(bool));
  ExecStoreVirtualTuple(slot);
  slot->tts_tableOid = RelationGetRelid(order->rows->relation);
}

}  // namespace

List* plan(PlannerInfo* root, RelOptInfo* rel, List* pathkeys) {
  if (root->limit_tuples <= 0) return NIL;
  List* planned = NIL;
  const ListCell* cell;
  foreach (cell, pathkeys) {
    const auto* key = lfirst_node(PathKey, cell);
    const EquivalenceClass* columns = key->pk_eclass;
    const Var* var = columns->ec_has_volatile ? nullptr : column_of(columns, rel);
    if (var == nullptr) return NIL;
    const Oid op = compat::sort_operator(key, var->vartype);
    if (!OidIsValid(op)) return NIL;
    std::int64_t unused;
    const TypeCacheEntry* type = lookup_type_cache(var->vartype, TYPECACHE_BTREE_OPFAMILY);
    if (planned == NIL && (type->btree_opf != key->pk_opfamily ||
                           !probes::key_of(var->vartype, Int32GetDatum(0), &unused)))
      return NIL;
    const Oid flags =
        (key->pk_nulls_first ? kNullsFirst : 0) | (compat::sorts_down(key) ? kDescending : 0);
    planned = lappend(
        planned, list_make4_oid(static_cast<Oid>(var->varattno), op, columns->ec_collation, flags));
  }
  return planned;
}

Order* begin(const List* planned, live_read::SourceRows* rows, EState* estate) {
  auto* order = static_cast<Order*>(palloc0(sizeof(Order)));
  const auto count = static_cast<std::size_t>(list_length(planned));
  order->rows = rows;
  order->estate = estate;
  order->numbers = static_cast<AttrNumber*>(palloc(count * sizeof(AttrNumber)));
  order->operators = static_cast<Oid*>(palloc(count * sizeof(Oid)));
  order->collations = static_cast<Oid*>(palloc(count * sizeof(Oid)));
  order->nulls_first = static_cast<bool*>(palloc(count * sizeof(bool)));
  order->comparisons = static_cast<SortSupportData*>(palloc0(count * sizeof(SortSupportData)));
  const ListCell* cell;
  foreach (cell, planned) {
    const auto* column = static_cast<const List*>(lfirst(cell));
    const int i = order->count++;
    order->numbers[i] = static_cast<AttrNumber>(list_nth_oid(column, kNumber));
    order->operators[i] = list_nth_oid(column, kOperator);
    order->collations[i] = list_nth_oid(column, kCollation);
    order->nulls_first[i] = (list_nth_oid(column, kFlags) & kNullsFirst) != 0;
    SortSupportData* comparison = &order->comparisons[i];
    comparison->ssup_cxt = CurrentMemoryContext;
    comparison->ssup_collation = order->collations[i];
    comparison->ssup_nulls_first = order->nulls_first[i];
    comparison->ssup_attno = order->numbers[i];
    PrepareSortSupportFromOrderingOp(order->operators[i], comparison);
  }
  order->descending =
      (list_nth_oid(static_cast<const List*>(linitial(planned)), kFlags) & kDescending) != 0;
  TupleDesc desc = RelationGetDescr(rows->relation);
  order->type = TupleDescAttr(desc, order->numbers[0] - 1)->atttypid;
  order->summary = probes::position_of(
      rows->reader.search->columns,
      rows->columns != nullptr ? rows->columns->attnums[order->numbers[0] - 1] : order->numbers[0]);
  order->shown = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
  order->kept = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
  order->memory = AllocSetContextCreate(CurrentMemoryContext, "pg_writecache pending rows",
                                        ALLOCSET_DEFAULT_SIZES);
  order->heap_room = 64;
  order->heap = static_cast<Entry*>(palloc(order->heap_room * sizeof(Entry)));
  sort_blocks(order);
  return order;
}

bool next(Order* order, TupleTableSlot* slot) {
  if (order->sort == nullptr) take_what_may_come_first(order);
  if (order->sort != nullptr) {
    if (!tuplesort_gettupleslot(order->sort, true, false, order->kept, nullptr)) return false;
  } else {
    if (order->heap_count == 0) return false;
    std::pop_heap(order->heap, order->heap + order->heap_count, later(order));
    const Entry& first = order->heap[--order->heap_count];
    order->bytes -= std::min(order->bytes, static_cast<std::size_t>(first.row->t_len));
    // The row before is forgotten with this.
    ExecStoreMinimalTuple(first.row, order->kept, true);
    pfree(first.values);
  }
  show_kept(order, slot);
  return true;
}

namespace {

void drop_rows(Order* order) {
  ExecClearTuple(order->kept);
  if (order->sort != nullptr) tuplesort_end(order->sort);
  order->sort = nullptr;
}

}  // namespace

void restart(Order* order) {
  drop_rows(order);
  order->heap_count = 0;
  order->bytes = 0;
  MemoryContextReset(order->memory);
}

void end(Order* order) {
  drop_rows(order);
  ExecDropSingleTupleTableSlot(order->shown);
  ExecDropSingleTupleTableSlot(order->kept);
}

const char* describe(const List* planned, Oid relation) {
  StringInfoData text;
  initStringInfo(&text);
  const ListCell* cell;
  foreach (cell, planned) {
    const auto* column = static_cast<const List*>(lfirst(cell));
    if (text.len > 0) appendStringInfoString(&text, ", ");
    const auto number = static_cast<AttrNumber>(list_nth_oid(column, kNumber));
    appendStringInfoString(&text, quote_identifier(get_attname(relation, number, false)));
    if ((list_nth_oid(column, kFlags) & kDescending) != 0) appendStringInfoString(&text, " DESC");
  }
  return text.data;
}

}  // namespace pgwc::pending_order
