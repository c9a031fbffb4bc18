#include "pg/row_cache/fetcher.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/row_cache/fill.hpp"
#include "pg/row_cache/store.hpp"
#include "pg/server/settings.hpp"

extern "C" {
#include "access/tableam.h"
#include "storage/bufmgr.h"
}

namespace pgwc::row_cache {

namespace {

constexpr std::size_t kFirstRoom = 1024;

// What is found under the key's hash, in the slot for cached rows.
bool find_cached(Fetcher* f, CacheKey place, Stamp* stamp) {
  if (f->room == nullptr) {
    MemoryContext old = MemoryContextSwitchTo(f->memory);
    f->room = static_cast<std::byte*>(palloc(kFirstRoom));
    f->room_size = kFirstRoom;
    f->cached = MakeSingleTupleTableSlot(RelationGetDescr(f->relation), &TTSOpsMinimalTuple);
    MemoryContextSwitchTo(old);
  }
  // Its tuple is about to be overwritten.
  ExecClearTuple(f->cached);
  for (;;) {
    std::size_t size = 0;
    switch (cache().find(place, stamp, {f->room, f->room_size}, &size)) {
      case RowCache::Found::kNo:
        return false;
      case RowCache::Found::kYes:
        ExecStoreMinimalTuple(reinterpret_cast<MinimalTuple>(f->room), f->cached, false);
        return true;
      case RowCache::Found::kTooSmall:
        pfree(f->room);
        f->room = nullptr;
        f->room = static_cast<std::byte*>(MemoryContextAlloc(f->memory, size + size / 2));
        f->room_size = size + size / 2;
    }
  }
}

void make_stored_slot(Fetcher* f) {
  if (f->stored != nullptr) return;
  MemoryContext old = MemoryContextSwitchTo(f->memory);
  f->stored = MakeSingleTupleTableSlot(RelationGetDescr(f->relation), &TTSOpsBufferHeapTuple);
  MemoryContextSwitchTo(old);
}

// Step 2. Null if the entry's place has no visible row with this key.
TupleTableSlot* fetch_by_place(Fetcher* f, CacheKey place, const Stamp& stamp, const Datum* key) {
  const Claim old = claim_of(stamp);
  if (old.block >= f->blocks) {
    f->blocks = RelationGetNumberOfBlocks(f->relation);
    if (old.block >= f->blocks) return nullptr;
  }
  make_stored_slot(f);
  if (f->by_place == nullptr) {
    MemoryContext outer = MemoryContextSwitchTo(f->memory);
    f->by_place = table_index_fetch_begin(f->relation);
    MemoryContextSwitchTo(outer);
  }
  ItemPointerData tid;
  ItemPointerSet(&tid, old.block, old.root);
  bool again = false;
  if (!table_index_fetch_tuple(f->by_place, &tid, f->snapshot, f->stored, &again, nullptr) ||
      !has_key(f->parts, f->count, f->stored, key))
    return nullptr;
  Claim now;
  if (!make_claim(f->relation, f->stored, old.root, &now)) return f->stored;
  if (!same_version(old, now)) {
    fill(f, place, f->stored, now, cache().epoch(f->space));
    return f->stored;
  }
  if (now.page_lsn != old.page_lsn || now.buffer != old.buffer)
    (void)cache().restamp(place, stamp, stamp_of(now));
  return f->cached;
}

TupleTableSlot* next_of_scan(Fetcher* f, OffsetNumber* root) {
  const ScanDirection direction = f->backward ? BackwardScanDirection : ForwardScanDirection;
  while (ItemPointer tid = index_getnext_tid(f->scan, direction)) {
    *root = ItemPointerGetOffsetNumber(tid);
    if (!index_fetch_heap(f->scan, f->stored)) continue;
    f->place = f->stored->tts_tid;
    return f->stored;
  }
  return nullptr;
}

// In a memory context that lives as long as the scan, which keeps notes in it.
TupleTableSlot* scan_index(Fetcher* f, const Datum* key, OffsetNumber* root) {
  make_stored_slot(f);
  if (f->scan == nullptr) {
    f->index = index_open(f->index_id, AccessShareLock);
    f->scan = compat::begin_index_scan(f->relation, f->index, f->snapshot, f->count);
  }
  ScanKeyData keys[INDEX_MAX_KEYS];
  for (int i = 0; i < f->count; ++i)
    ScanKeyEntryInitializeWithInfo(&keys[i], 0, static_cast<AttrNumber>(i + 1),
                                   BTEqualStrategyNumber, f->parts[i].subtype,
                                   f->parts[i].collation, &f->parts[i].equal, key[i]);
  index_rescan(f->scan, keys, f->count, nullptr, 0);
  return next_of_scan(f, root);
}

// Step 3.
TupleTableSlot* fetch_by_index(Fetcher* f, const Datum* key, OffsetNumber* root) {
  MemoryContext old = MemoryContextSwitchTo(f->memory);
  TupleTableSlot* row = scan_index(f, key, root);
  MemoryContextSwitchTo(old);
  return row;
}

}  // namespace

void require_populated(Relation relation) {
  if (RelationIsScannable(relation)) return;
  ereport(
      ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
      errmsg("materialized view \"%s\" has not been populated", RelationGetRelationName(relation)),
      errhint("Use the REFRESH MATERIALIZED VIEW command."));
}

bool may_use_cache(Snapshot snapshot, TransactionId index_xmin) {
  return enabled() && settings::read_cache && snapshot != nullptr &&
         snapshot->snapshot_type == SNAPSHOT_MVCC && !IsolationIsSerializable() &&
         TransactionIdPrecedes(index_xmin, snapshot->xmin);
}

TupleTableSlot* fetch(Fetcher* f, const Datum* key) {
  return fetch(f, f->use_cache ? hash_key(f->parts, f->count, key) : 0, key);
}

TupleTableSlot* fetch(Fetcher* f, std::uint64_t hash, const Datum* key) {
  if (f->stored != nullptr) ExecClearTuple(f->stored);
  const CacheKey place{f->space, hash};
  if (f->use_cache) {
    Stamp stamp;
    if (!find_cached(f, place, &stamp)) {
      ++f->counters.misses;
    } else if (claim_of(stamp).storage != compat::storage_number(f->relation)) {
      // Its columns may be others: the row cannot even be looked at.
      ++f->counters.failed_proofs;
    } else if (has_key(f->parts, f->count, f->cached, key)) {
      if (proved_by_page(claim_of(stamp), f->relation, f->snapshot)) {
        ++f->counters.hits_by_page;
        ItemPointerSet(&f->place, claim_of(stamp).block, claim_of(stamp).item);
        return f->cached;
      }
      if (TupleTableSlot* row = fetch_by_place(f, place, stamp, key)) {
        ++f->counters.hits_by_tid;
        f->place = f->stored->tts_tid;
        return row;
      }
      ++f->counters.failed_proofs;
    } else {
      ++f->counters.misses;
    }
  }
  const std::uint64_t epoch = f->use_cache ? cache().epoch(f->space) : 0;
  OffsetNumber root = InvalidOffsetNumber;
  TupleTableSlot* row = fetch_by_index(f, key, &root);
  Claim claim;
  if (row != nullptr && f->use_cache && make_claim(f->relation, row, root, &claim))
    fill(f, place, row, claim, epoch);
  return row;
}

TupleTableSlot* fetch_another(Fetcher* f) {
  MemoryContext old = MemoryContextSwitchTo(f->memory);
  OffsetNumber root;
  TupleTableSlot* row = next_of_scan(f, &root);
  MemoryContextSwitchTo(old);
  return row;
}

void close(Fetcher* f) {
  if (f->cached != nullptr) ExecDropSingleTupleTableSlot(f->cached);
  if (f->stored != nullptr) ExecDropSingleTupleTableSlot(f->stored);
  if (f->by_place != nullptr) table_index_fetch_end(f->by_place);
  if (f->scan != nullptr) index_endscan(f->scan);
  if (f->index != nullptr) index_close(f->index, NoLock);
  if (f->use_cache) count(f->space, f->counters);
  f->cached = f->stored = nullptr;
  f->by_place = nullptr;
  f->scan = nullptr;
  f->index = nullptr;
}

}  // namespace pgwc::row_cache
