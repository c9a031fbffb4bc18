// The order in which a batch is stored. Entries of a btree that arrive in its order touch each page
// once; arriving at random they touch one each. A batch can only be in one order, so it takes that
// of the index for which its arrival order is worst. (The idea of sorting before insertion is LSM's
// and COPY's old advice; choosing by measuring the batch itself needs no statistics and notices
// that a serial key or a time column is in order already.)
//
// The flush only. Functions may ERROR.
#pragma once

#include "pg/write_back/store.hpp"

extern "C" {
#include "access/attnum.h"
}

namespace pgwc {

struct BatchOrder {
  int key_count;  // 0: as they come
  AttrNumber attributes[INDEX_MAX_KEYS];
  Oid operators[INDEX_MAX_KEYS];
  Oid collations[INDEX_MAX_KEYS];
  bool nulls_first[INDEX_MAX_KEYS];
  Oid index;
};

BatchOrder choose_batch_order(Relation relation, const RowSpan* spans, std::size_t span_count);

struct OrderedRow {
  Datum key;
  std::uint32_t number;  // of the row, in the order of arrival
  bool key_is_null;
};

// Puts rows in this order; those with equal keys stay as they came. Each span is one row.
OrderedRow* sort_rows(const BatchOrder& order, Relation relation, const RowSpan* rows,
                      std::size_t count);

}  // namespace pgwc
