// Rows of one table by key, in one snapshot: from the cache if what is found there can be proved,
// else from the table, and then into the cache.
//
//   1. the entry's page still has the LSN of the claim        -> the cached bytes
//   2. else the row version at the entry's place, if the snapshot sees it and it has the key
//   3. else the unique index
//
// One backend, one table, which stays locked ACCESS SHARE or more. All functions may ERROR.
#pragma once

#include "pg/row_cache/cache_key.hpp"
#include "pg/row_cache/claim.hpp"

extern "C" {
#include "access/genam.h"
#include "access/relscan.h"
}

namespace pgwc::row_cache {

struct Fetcher {
  Relation relation;
  Snapshot snapshot;
  Oid index_id;
  std::uint64_t space;
  bool use_cache;  // else only 3, and nothing is cached
  bool backward;   // the rows that fetch_another() finds come in the other order
  int count;
  KeyPart* parts;
  MemoryContext memory;    // lives as long as the fetcher
  CacheCounters counters;  // since it was opened
  ItemPointerData place;   // of the row that was found last

  // Made when first needed.
  TupleTableSlot* cached;  // holds what was found in the cache
  TupleTableSlot* stored;  // holds what was found in the table
  std::byte* room;         // of the cached row
  std::size_t room_size;
  Relation index;
  IndexScanDesc scan;
  IndexFetchTableData* by_place;
  BlockNumber blocks;  // of the relation; it does not shrink while it is locked
  MemoryContext fill_memory;
};

// An ERROR if the relation is a materialized view without rows, as a query would raise it.
void require_populated(Relation relation);

// Whether rows may come from the cache in this snapshot, which is no historic one of logical
// decoding. Serializable transactions have to leave their traces in the table and its index; an
// index that is younger than the snapshot may hold two rows with one key for it.
bool may_use_cache(Snapshot snapshot, TransactionId index_xmin);

// The row with this key, no value of it null; null if the snapshot sees none. It is valid until the
// next call. Runs in a memory context that is reset between calls.
TupleTableSlot* fetch(Fetcher* fetcher, const Datum* key);
// The same, for a caller that has the key's hash already.
TupleTableSlot* fetch(Fetcher* fetcher, std::uint64_t hash, const Datum* key);

// One more row with the key of the last fetch(), which found one without the cache; null if there
// is none. A snapshot that is older than the unique index may see several.
TupleTableSlot* fetch_another(Fetcher* fetcher);

// Closes what was opened, and counts for the statistics. Not needed after an error.
void close(Fetcher* fetcher);

}  // namespace pgwc::row_cache
