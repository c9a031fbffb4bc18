#include "pg/write_back/batch_order.hpp"

#include "core/layout.hpp"

extern "C" {
#include "access/genam.h"
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

// The share of sampled neighbours that stand the wrong way round.
double disorder(const BatchOrder& order, TupleTableSlot* a, TupleTableSlot* b, MinimalTuple* sample,
                int sample_size) {
  SortSupportData keys[INDEX_MAX_KEYS] = {};
  for (int k = 0; k < order.key_count; ++k) {
    keys[k].ssup_cxt = CurrentMemoryContext;
    keys[k].ssup_collation = order.collations[k];
    keys[k].ssup_nulls_first = order.nulls_first[k];
    keys[k].ssup_attno = order.attributes[k];
    PrepareSortSupportFromOrderingOp(order.operators[k], &keys[k]);
  }
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

void begin_sort(BatchOrder* order, Relation relation) {
  order->in = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsMinimalTuple);
  order->out = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsMinimalTuple);
  order->sort = tuplesort_begin_heap(
      RelationGetDescr(relation), order->key_count, order->attributes, order->operators,
      order->collations, order->nulls_first, maintenance_work_mem, nullptr, TUPLESORT_NONE);
}

void put_sorted(BatchOrder* order, MinimalTuple tuple) {
  ExecStoreMinimalTuple(tuple, order->in, false);
  tuplesort_puttupleslot(order->sort, order->in);
}

void finish_sort(BatchOrder* order) { tuplesort_performsort(order->sort); }

MinimalTuple next_sorted(BatchOrder* order) {
  if (!tuplesort_gettupleslot(order->sort, true, false, order->out, nullptr)) return nullptr;
  bool should_free;
  return ExecFetchSlotMinimalTuple(order->out, &should_free);
}

void end_sort(BatchOrder* order) {
  ExecDropSingleTupleTableSlot(order->in);
  ExecDropSingleTupleTableSlot(order->out);
  tuplesort_end(order->sort);
}

}  // namespace pgwc
