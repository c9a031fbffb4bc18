#include "pg/write_back/batch_order.hpp"

#include "core/layout.hpp"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "utils/sortsupport.h"
}

namespace pgwc {

namespace {

// How many neighbours are compared to judge an order, and the disorder below which sorting is not
// worth it.
constexpr int kSample = 512;
constexpr double kWorthSorting = 0.05;

// Reads the sort keys of a btree over plain columns; false for any other index.
bool keys_of_index(Relation index, BatchOrder* order) {
  if (index->rd_rel->relam != BTREE_AM_OID || !index->rd_index->indisready) return false;
  order->index = RelationGetRelid(index);
  order->key_count = index->rd_index->indnkeyatts;
  for (int i = 0; i < order->key_count; ++i) {
    order->attributes[i] = index->rd_index->indkey.values[i];
    if (order->attributes[i] <= 0) return false;  // an expression
    const std::int16_t option = index->rd_indoption[i];
    const int strategy =
        (option & INDOPTION_DESC) != 0 ? BTGreaterStrategyNumber : BTLessStrategyNumber;
    order->operators[i] =
        get_opfamily_member(index->rd_opfamily[i], index->rd_opcintype[i], index->rd_opcintype[i],
                            static_cast<std::int16_t>(strategy));
    if (!OidIsValid(order->operators[i])) return false;
    order->collations[i] = index->rd_indcollation[i];
    order->nulls_first[i] = (option & INDOPTION_NULLS_FIRST) != 0;
  }
  return true;
}

void prepare_keys(const BatchOrder& order, bool abbreviate, SortSupportData* keys) {
  for (int k = 0; k < order.key_count; ++k) {
    keys[k].ssup_cxt = CurrentMemoryContext;
    keys[k].ssup_collation = order.collations[k];
    keys[k].ssup_nulls_first = order.nulls_first[k];
    keys[k].ssup_attno = order.attributes[k];
    keys[k].abbreviate = abbreviate && k == 0;
    PrepareSortSupportFromOrderingOp(order.operators[k], &keys[k]);
  }
}

// The share of sampled neighbours that stand the wrong way round.
double disorder(const BatchOrder& order, TupleTableSlot* a, TupleTableSlot* b, MinimalTuple* sample,
                int sample_size) {
  SortSupportData keys[INDEX_MAX_KEYS] = {};
  prepare_keys(order, false, keys);
  int wrong = 0;
  for (int i = 0; i + 1 < sample_size; ++i) {
    ExecStoreMinimalTuple(sample[i], a, false);
    ExecStoreMinimalTuple(sample[i + 1], b, false);
    for (int k = 0; k < order.key_count; ++k) {
      bool a_null;
      bool b_null;
      const Datum a_value = slot_getattr(a, order.attributes[k], &a_null);
      const Datum b_value = slot_getattr(b, order.attributes[k], &b_null);
      const int compared = ApplySortComparator(a_value, a_null, b_value, b_null, &keys[k]);
      if (compared == 0) continue;
      if (compared > 0) ++wrong;
      break;
    }
  }
  return static_cast<double>(wrong) / (sample_size - 1);
}

// Neighbouring rows from the front of the batch: disorder shows between neighbours.
int take_sample(const RowSpan* spans, std::size_t span_count, MinimalTuple* sample) {
  int size = 0;
  for (std::size_t i = 0; i < span_count; ++i) {
    for (std::size_t at = 0; at < spans[i].bytes && size < kSample;) {
      sample[size] = reinterpret_cast<MinimalTuple>(const_cast<std::byte*>(spans[i].data) + at);
      at += align_up<kRowAlign>(sample[size]->t_len);
      ++size;
    }
    if (size == kSample) break;
  }
  return size;
}

}  // namespace

BatchOrder choose_batch_order(Relation relation, const RowSpan* spans, std::size_t span_count) {
  BatchOrder best{};
  List* indexes = RelationGetIndexList(relation);
  if (indexes == NIL) return best;
  auto* sample = static_cast<MinimalTuple*>(palloc(sizeof(MinimalTuple) * kSample));
  const int sample_size = take_sample(spans, span_count, sample);
  if (sample_size < 2) return best;
  TupleTableSlot* a = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsMinimalTuple);
  TupleTableSlot* b = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsMinimalTuple);
  double worst = kWorthSorting;
  ListCell* cell;
  foreach (cell, indexes) {
    Relation index = index_open(lfirst_oid(cell), AccessShareLock);
    BatchOrder order{};
    if (keys_of_index(index, &order)) {
      const double share = disorder(order, a, b, sample, sample_size);
      if (share > worst) {
        worst = share;
        best = order;
      }
    }
    index_close(index, AccessShareLock);
  }
  ExecDropSingleTupleTableSlot(a);
  ExecDropSingleTupleTableSlot(b);
  return best;
}

namespace {

struct Comparison {
  const BatchOrder* order;
  const RowSpan* rows;
  SortSupportData* keys;
  TupleDesc desc;
};

// A header before the row's own bytes, as tuplesort makes it: cheaper than a slot.
HeapTupleData tuple_of(const RowSpan& row) {
  HeapTupleData tuple{};
  tuple.t_len = reinterpret_cast<const MinimalTupleData*>(row.data)->t_len + MINIMAL_TUPLE_OFFSET;
  tuple.t_data =
      reinterpret_cast<HeapTupleHeader>(const_cast<std::byte*>(row.data) - MINIMAL_TUPLE_OFFSET);
  return tuple;
}

int compare_rows(const void* left, const void* right, void* argument) {
  const auto* a = static_cast<const OrderedRow*>(left);
  const auto* b = static_cast<const OrderedRow*>(right);
  const auto* with = static_cast<const Comparison*>(argument);
  int compared =
      ApplySortComparator(a->key, a->key_is_null, b->key, b->key_is_null, &with->keys[0]);
  if (compared != 0) return compared;
  const bool abbreviated = with->keys[0].abbrev_converter != nullptr;
  if (abbreviated || with->order->key_count > 1) {
    HeapTupleData a_tuple = tuple_of(with->rows[a->number]);
    HeapTupleData b_tuple = tuple_of(with->rows[b->number]);
    for (int k = abbreviated ? 0 : 1; k < with->order->key_count; ++k) {
      bool a_null;
      bool b_null;
      const Datum a_value = heap_getattr(&a_tuple, with->order->attributes[k], with->desc, &a_null);
      const Datum b_value = heap_getattr(&b_tuple, with->order->attributes[k], with->desc, &b_null);
      compared =
          k == 0 ? ApplySortAbbrevFullComparator(a_value, a_null, b_value, b_null, &with->keys[k])
                 : ApplySortComparator(a_value, a_null, b_value, b_null, &with->keys[k]);
      if (compared != 0) return compared;
    }
  }
  return a->number < b->number ? -1 : 1;
}

}  // namespace

OrderedRow* sort_rows(const BatchOrder& order, Relation relation, const RowSpan* rows,
                      std::size_t count) {
  auto* ordered = static_cast<OrderedRow*>(
      MemoryContextAllocHuge(CurrentMemoryContext, sizeof(OrderedRow) * count));
  SortSupportData keys[INDEX_MAX_KEYS] = {};
  prepare_keys(order, true, keys);
  TupleDesc desc = RelationGetDescr(relation);
  for (std::size_t i = 0; i < count; ++i) {
    ordered[i].number = static_cast<std::uint32_t>(i);
    HeapTupleData tuple = tuple_of(rows[i]);
    ordered[i].key = heap_getattr(&tuple, order.attributes[0], desc, &ordered[i].key_is_null);
    if (keys[0].abbrev_converter != nullptr && !ordered[i].key_is_null)
      ordered[i].key = keys[0].abbrev_converter(ordered[i].key, &keys[0]);
  }
  Comparison with{&order, rows, keys, desc};
  qsort_arg(ordered, count, sizeof(OrderedRow), compare_rows, &with);
  return ordered;
}

}  // namespace pgwc
