#include "pg/row_cache/written.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/row_cache/cache_key.hpp"
#include "pg/row_cache/claim.hpp"
#include "pg/row_cache/fill.hpp"
#include "pg/row_cache/store.hpp"

extern "C" {
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "storage/bufmgr.h"
#include "utils/snapmgr.h"
}

namespace pgwc::row_cache::written {

namespace {

constexpr int kMaxRows = 1000;
constexpr std::size_t kMaxBytes = 4 << 20;

struct Note {
  Oid relation;
  ItemPointerData place;
  Fate fate;
  SubTransactionId made_in;
};

// What is left to do at the commit. Without a row: erase.
struct Change {
  CacheKey key;
  Stamp stamp;
  MinimalTuple row;
  std::uint64_t epoch;
};

// Both in the transaction's memory.
constinit Note* notes = nullptr;
constinit int note_count = 0;
constinit int note_room = 0;
constinit Change* changes = nullptr;
constinit int change_count = 0;

void forget() noexcept {
  notes = nullptr;
  changes = nullptr;
  note_count = note_room = change_count = 0;
}

// How the keys of the table that was written to last are hashed; from one transaction to the next.
struct Hasher {
  Oid relation;
  Oid index;
  TransactionId index_xmin;
  int count;
  bool may_query;  // functions of users do, and so may those that call them
  MemoryContext memory;
  KeyPart parts[INDEX_MAX_KEYS];
};
Hasher hasher;

void learn(const CachedKey& key) {
  if (hasher.relation == key.relation && hasher.index == key.index &&
      hasher.index_xmin == key.index_xmin)
    return;
  hasher.relation = InvalidOid;
  if (hasher.memory == nullptr)
    hasher.memory =
        AllocSetContextCreate(TopMemoryContext, "pg_writecache key parts", ALLOCSET_SMALL_SIZES);
  MemoryContextReset(hasher.memory);
  MemoryContext old = MemoryContextSwitchTo(hasher.memory);
  memset(hasher.parts, 0, sizeof(hasher.parts));
  hasher.may_query = false;
  for (int i = 0; i < key.count; ++i) {
    make_key_part(&hasher.parts[i], key.columns[i]);
    hasher.may_query = hasher.may_query || key.columns[i].type >= FirstNormalObjectId ||
                       hasher.parts[i].hash.fn_oid >= FirstNormalObjectId;
  }
  MemoryContextSwitchTo(old);
  hasher.index = key.index;
  hasher.index_xmin = key.index_xmin;
  hasher.count = key.count;
  hasher.relation = key.relation;
}

// A table that rows of this transaction are read from again. By hand: most transactions write few
// rows, and what executors and table access methods prepare for many would be most of the work.
struct Source {
  Relation relation;
  Buffer buffer;
  // Of the row that was read last.
  Datum* values;
  bool* nulls;
  std::uint64_t space;
  std::uint64_t epoch;
};

// Places noted in a storage that is no more may lie beyond the end of the new one.
bool keeps_places(Relation relation) {
  return relation->rd_createSubid == InvalidSubTransactionId &&
         compat::first_storage_change(relation) == InvalidSubTransactionId;
}

void close(Source* source) {
  if (BufferIsValid(source->buffer)) ReleaseBuffer(source->buffer);
  if (source->relation != nullptr) RelationClose(source->relation);
  *source = {};
}

// False if its rows are not cached.
bool open(Source* source, Oid relid) {
  *source = {};
  const CachedKey* key = cache_key::find_indexed(relid);
  if (key == nullptr) return false;
  learn(*key);
  source->relation = RelationIdGetRelation(relid);  // it is locked
  if (source->relation == nullptr || !keeps_places(source->relation)) return false;
  const auto columns = static_cast<std::size_t>(RelationGetDescr(source->relation)->natts);
  source->values = static_cast<Datum*>(palloc(columns * (sizeof(Datum) + sizeof(bool))));
  source->nulls = reinterpret_cast<bool*>(source->values + columns);
  source->space = space_of(relid);
  source->epoch = cache().epoch(source->space);
  return true;
}

// Finds what was noted in its page, which stays pinned; a claim about it if it is to be put.
bool read(Source* source, const Note& note, HeapTuple row, Claim* claim) {
  source->buffer = ReleaseAndReadBuffer(source->buffer, source->relation,
                                        ItemPointerGetBlockNumber(&note.place));
  LockBuffer(source->buffer, BUFFER_LOCK_SHARE);
  Page page = BufferGetPage(source->buffer);
  const OffsetNumber number = ItemPointerGetOffsetNumber(&note.place);
  bool found = false;
  if (number <= PageGetMaxOffsetNumber(page) && ItemIdIsNormal(PageGetItemId(page, number))) {
    ItemId item = PageGetItemId(page, number);
    row->t_data = reinterpret_cast<HeapTupleHeader>(PageGetItem(page, item));
    row->t_len = ItemIdGetLength(item);
    row->t_tableOid = RelationGetRelid(source->relation);
    row->t_self = note.place;
    // What was changed or deleted again by this transaction is not to be put.
    found = note.fate == Fate::kErase ||
            (HeapTupleSatisfiesVisibility(row, SnapshotSelf, source->buffer) &&
             make_claim_at_commit(source->relation, row, source->buffer, claim));
  }
  LockBuffer(source->buffer, BUFFER_LOCK_UNLOCK);
  return found;
}

// False if a column of the key is null.
bool hash_of(const Source& source, std::uint64_t* hash) {
  Datum values[INDEX_MAX_KEYS];
  for (int i = 0; i < hasher.count; ++i) {
    const int column = hasher.parts[i].attribute - 1;
    if (source.nulls[column]) return false;
    values[i] = source.values[column];
  }
  *hash = hash_key(hasher.parts, hasher.count, values);
  return true;
}

// Queries and values that are kept elsewhere are read with one; at this time there is none.
void take_snapshot_for(HeapTuple row) {
  if ((hasher.may_query || HeapTupleHasExternal(row)) && !ActiveSnapshotSet())
    PushActiveSnapshot(GetTransactionSnapshot());
}

// What is known about the row that has the key's place in the cache.
const Claim* find_older(const CacheKey& key, Claim* older) {
  Stamp stamp;
  std::size_t size;
  if (cache().find(key, &stamp, {}, &size) == RowCache::Found::kNo) return nullptr;
  *older = claim_of(stamp);
  return older;
}

void prepare(Source* source, const Note& note, std::size_t* bytes) {
  HeapTupleData row;
  Claim claim{};
  if (!read(source, note, &row, &claim)) return;
  take_snapshot_for(&row);
  TupleDesc desc = RelationGetDescr(source->relation);
  heap_deform_tuple(&row, desc, source->values, source->nulls);
  Change change{};
  change.key.space = source->space;
  change.epoch = source->epoch;
  if (!hash_of(*source, &change.key.hash)) return;
  if (note.fate == Fate::kPut) {
    Claim older;
    const bool has_root = OffsetNumberIsValid(claim.root);
    if (!find_root(has_root ? nullptr : find_older(change.key, &older), &claim)) return;
    change.stamp = stamp_of(claim);
    change.row = flatten(desc, &row, source->values, source->nulls);
    if (change.row == nullptr) return;
    *bytes += change.row->t_len;
  }
  changes[change_count++] = change;
}

// The last chance to fail.
void prepare_all() {
  if (note_count == 0) return;
  changes = static_cast<Change*>(MemoryContextAlloc(
      TopTransactionContext, static_cast<std::size_t>(note_count) * sizeof(Change)));
  change_count = 0;
  MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
  Source source{};
  Oid opened = InvalidOid;
  bool usable = false;
  const bool had_snapshot = ActiveSnapshotSet();
  std::size_t bytes = 0;
  for (int i = 0; i < note_count && bytes < kMaxBytes; ++i) {
    CHECK_FOR_INTERRUPTS();
    const Note note = notes[i];
    if (note.relation != opened) {
      close(&source);
      usable = open(&source, note.relation);
      opened = note.relation;
    }
    if (usable) prepare(&source, note, &bytes);
  }
  close(&source);
  if (ActiveSnapshotSet() && !had_snapshot) PopActiveSnapshot();
  MemoryContextSwitchTo(old);
  note_count = 0;
}

void apply() noexcept {
  for (int i = 0; i < change_count; ++i) {
    const Change& change = changes[i];
    if (change.row == nullptr)
      (void)cache().erase(change.key);
    else
      (void)cache().put(change.key, change.stamp,
                        {reinterpret_cast<const std::byte*>(change.row), change.row->t_len},
                        change.epoch);
  }
}

void at_transaction(XactEvent event, void*) {
  switch (event) {
    case XACT_EVENT_PRE_COMMIT:
      prepare_all();
      break;
    case XACT_EVENT_COMMIT:
      apply();
      forget();
      break;
    case XACT_EVENT_PRE_PREPARE:
    case XACT_EVENT_PREPARE:
    case XACT_EVENT_ABORT:
      forget();
      break;
    default:
      break;
  }
}

void at_subtransaction(SubXactEvent event, SubTransactionId id, SubTransactionId, void*) {
  if (event != SUBXACT_EVENT_ABORT_SUB) return;
  // Those of its children that committed have larger numbers.
  while (note_count > 0 && notes[note_count - 1].made_in >= id) --note_count;
}

}  // namespace

void init() {
  RegisterXactCallback(at_transaction, nullptr);
  RegisterSubXactCallback(at_subtransaction, nullptr);
}

void note(Oid relation, const ItemPointerData& place, Fate fate) {
  if (note_count >= kMaxRows) return;
  if (note_count == note_room) {
    const int room = note_room == 0 ? 8 : note_room * 4;
    const std::size_t size = static_cast<std::size_t>(room) * sizeof(Note);
    notes = static_cast<Note*>(notes == nullptr ? MemoryContextAlloc(TopTransactionContext, size)
                                                : repalloc(notes, size));
    note_room = room;
  }
  notes[note_count++] = {relation, place, fate, GetCurrentSubTransactionId()};
}

}  // namespace pgwc::row_cache::written
