#include "pg/row_cache/computed.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/row_cache/claim.hpp"
#include "pg/row_cache/fill.hpp"
#include "pg/row_cache/flight.hpp"
#include "pg/row_cache/row_query.hpp"
#include "pg/row_cache/store.hpp"
#include "pg/server/settings.hpp"
#include "pg/write_back/staging.hpp"

extern "C" {
#include "common/hashfn.h"
#include "parser/parsetree.h"
#include "storage/ipc.h"
#include "storage/proc.h"
}

namespace pgwc::row_cache {

namespace {

// From this part of its allowed age on, one reader computes a row anew while the others go on
// reading the one that is there.
constexpr double kEarly = 0.8;
constexpr int kTimesToWait = 2;
constexpr std::size_t kFirstRoom = 8192;

constinit LocalTransactionId wrote_elsewhere = InvalidLocalTransactionId;

struct Request {
  const CachedKey& key;
  const KeyArguments& arguments;
  const Datum* values;
  Relation relation;
  CacheKey place;
  std::uint32_t layout;
  std::int64_t max_age_us;
};

enum class Found : std::uint8_t { kNothing, kRow, kNoRow };
struct Cached {
  Found found;
  std::int64_t age_us;
  Datum row;
};

// An entry says in its claim's `item` whether it stands for a row or for there being none; then it
// has the key's columns only.
constexpr OffsetNumber kIsRow = 1;
constexpr OffsetNumber kIsNone = 2;

Cached look(const Request& request) {
  Cached result{Found::kNothing, 0, 0};
  std::size_t room = kFirstRoom;
  auto* bytes = static_cast<std::byte*>(palloc(room));
  Stamp stamp;
  std::size_t size = 0;
  RowCache::Found found;
  while ((found = cache().find(request.place, &stamp, {bytes, room}, &size)) ==
         RowCache::Found::kTooSmall) {
    pfree(bytes);
    room = size + size / 4;
    bytes = static_cast<std::byte*>(palloc(room));
  }
  if (found == RowCache::Found::kNo) return result;
  const Claim claim = claim_of(stamp);
  if (claim.spare != request.layout) return result;
  TupleTableSlot* slot =
      MakeSingleTupleTableSlot(RelationGetDescr(request.relation), &TTSOpsMinimalTuple);
  ExecStoreMinimalTuple(reinterpret_cast<MinimalTuple>(bytes), slot, false);
  if (has_key(request.arguments.parts, request.arguments.count, slot, request.values)) {
    result.found = claim.item == kIsRow ? Found::kRow : Found::kNoRow;
    result.age_us = GetCurrentTimestamp() - static_cast<TimestampTz>(claim.made_at);
    if (result.age_us < 0) result.age_us = PG_INT64_MAX;  // the clock was set back
    if (result.found == Found::kRow) result.row = ExecFetchSlotHeapTupleDatum(slot);
  }
  ExecDropSingleTupleTableSlot(slot);
  return result;
}

// As of now, whatever snapshot the calling statement has.
bool compute(const Request& request, Datum* row) {
  PushActiveSnapshot(GetLatestSnapshot());
  const bool found = query_row(request.key, request.arguments, request.values, row);
  PopActiveSnapshot();
  return found;
}

// The key as the row that is not there would have it.
void store_absent(const Request& request, TupleTableSlot* slot) {
  ExecStoreAllNullTuple(slot);
  for (int i = 0; i < request.arguments.count; ++i) {
    const KeyArgument& argument = request.arguments.arguments[i];
    const int at = request.key.columns[i].attribute - 1;
    if (argument.type != request.key.columns[i].type) return;  // cannot be told from others
    slot->tts_values[at] = request.values[i];
    slot->tts_isnull[at] = false;
  }
}

void remember(const Request& request, bool found, Datum row, TimestampTz made_at,
              std::uint64_t epoch) {
  TupleDesc desc = RelationGetDescr(request.relation);
  TupleTableSlot* slot;
  HeapTupleData tuple{};
  if (found) {
    HeapTupleHeader header = DatumGetHeapTupleHeader(row);
    tuple.t_len = HeapTupleHeaderGetDatumLength(header);
    ItemPointerSetInvalid(&tuple.t_self);
    tuple.t_data = header;
    slot = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
    ExecStoreHeapTuple(&tuple, slot, false);
  } else {
    slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
    store_absent(request, slot);
  }
  if (MinimalTuple flat = flatten(slot)) {
    Claim claim{};
    claim.item = found ? kIsRow : kIsNone;
    claim.spare = request.layout;
    claim.made_at = static_cast<std::uint64_t>(made_at);
    (void)cache().put(request.place, stamp_of(claim),
                      {reinterpret_cast<const std::byte*>(flat), flat->t_len}, epoch, use_of_fills);
  }
  ExecDropSingleTupleTableSlot(slot);
}

bool compute_and_remember(const Request& request, Datum* row) {
  const std::uint64_t epoch = cache().epoch(request.place.space);
  const TimestampTz now = GetCurrentTimestamp();
  const bool found = compute(request, row);
  // Foreign servers show what they had when the transaction first asked them.
  const TimestampTz made_at =
      query_is_remote(request.key.relation) ? GetCurrentTransactionStartTimestamp() : now;
  remember(request, found, found ? *row : 0, made_at, epoch);
  return found;
}

void give_up(int, Datum argument) {
  (void)flight::land(*reinterpret_cast<const CacheKey*>(DatumGetPointer(argument)));
}

bool lead(const Request& request, Datum* row) {
  volatile bool found = false;
  CacheKey place = request.place;
  PG_ENSURE_ERROR_CLEANUP(give_up, PointerGetDatum(&place));
  { found = compute_and_remember(request, row); }
  PG_END_ENSURE_ERROR_CLEANUP(give_up, PointerGetDatum(&place));
  if (flight::land(place)) (void)cache().erase(place);
  return found;
}

// Waits for whoever computes the row. True if it is there now.
bool follow(const Request& request, Cached* cached, CacheCounters* counters) {
  ++counters->waits;
  (void)flight::await(request.place, std::int64_t{1000} * settings::compute_wait_ms);
  *cached = look(request);
  return cached->found != Found::kNothing && cached->age_us <= request.max_age_us;
}

bool get_shared(const Request& request, Datum* row, CacheCounters* counters) {
  Cached cached = look(request);
  const bool usable = cached.found != Found::kNothing && cached.age_us <= request.max_age_us;
  const auto take = [&](const Cached& from) {
    *row = from.row;
    return from.found == Found::kRow;
  };
  if (usable &&
      static_cast<double>(cached.age_us) < kEarly * static_cast<double>(request.max_age_us)) {
    ++counters->hits_by_age;
    return take(cached);
  }
  for (int i = 0; i < kTimesToWait; ++i) {
    switch (flight::board(request.place)) {
      case flight::Role::kLeads:
        ++counters->misses;
        return lead(request, row);
      case flight::Role::kAlone:
        ++counters->misses;
        return compute(request, row);
      case flight::Role::kFollows:
        if (usable || follow(request, &cached, counters)) {
          ++counters->hits_by_age;
          return take(cached);
        }
    }
  }
  ++counters->misses;
  return compute(request, row);
}

CacheKey place_of(const CachedKey& key, const KeyArguments& arguments, const Datum* values) {
  return {space_of(key.relation), hash_combine64(hash_key(arguments.parts, arguments.count, values),
                                                 hash_bytes_uint32_extended(GetUserId(), 0))};
}

}  // namespace

void note_writes() { wrote_elsewhere = compat::local_transaction(); }

void note_writes(const PlannedStmt* statement) {
  const ListCell* cell;
  foreach (cell, statement->resultRelations) {
    const char kind = rt_fetch(static_cast<Index>(lfirst_int(cell)), statement->rtable)->relkind;
    if (kind == RELKIND_FOREIGN_TABLE || kind == RELKIND_PARTITIONED_TABLE) note_writes();
  }
}

// A query that reads a table has this transaction's staged rows stored there first, and reads them.
bool may_keep_computed() {
  return settings::read_cache && !IsolationUsesXactSnapshot() &&
         wrote_elsewhere != compat::local_transaction() && !staging::any() &&
         !TransactionIdIsValid(GetTopTransactionIdIfAny()) && !IsInParallelMode();
}

bool get_computed(const CachedKey& key, const KeyArguments& arguments, const Datum* values,
                  Datum* row) {
  const Attachment* attachment = attachments::find_cached(key.relation);
  if (attachment == nullptr || !may_keep_computed()) return query_row(key, arguments, values, row);
  const std::int64_t max_age_us = attachment->max_staleness_us;
  Relation relation = relation_open(key.relation, AccessShareLock);
  const Request request{key,
                        arguments,
                        values,
                        relation,
                        place_of(key, arguments, values),
                        attachments::layout_fingerprint(RelationGetDescr(relation)),
                        max_age_us};
  CacheCounters counters{};
  const bool found = get_shared(request, row, &counters);
  count(request.place.space, counters);
  relation_close(relation, NoLock);
  return found;
}

bool evict_computed(const CachedKey& key, const KeyArguments& arguments, const Datum* values) {
  const CacheKey place = place_of(key, arguments, values);
  flight::evicted(place);
  return cache().erase(place);
}

}  // namespace pgwc::row_cache
