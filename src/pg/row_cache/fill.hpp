// Putting rows into the cache.
#pragma once

#include "pg/row_cache/fetcher.hpp"

namespace pgwc::row_cache {

// The row as it is cached: a MinimalTuple in the current memory context, every value fetched from
// where it is kept and decompressed. Null if it is too large for the cache.
MinimalTuple flatten(TupleTableSlot* row);
// The same of a row taken apart.
MinimalTuple flatten(TupleDesc desc, HeapTuple row, const Datum* values, const bool* nulls);

// Caches the row in `row`, for which `claim` holds. `epoch` was read before the row.
void fill(Fetcher* fetcher, CacheKey place, TupleTableSlot* row, const Claim& claim,
          std::uint64_t epoch);

// What the rows that this process caches from now on are worth; kUnknown unless it says otherwise.
extern RowCache::Use use_of_fills;

}  // namespace pgwc::row_cache
