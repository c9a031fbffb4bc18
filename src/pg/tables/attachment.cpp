#include "pg/tables/attachment.hpp"

#include <cstring>

#include "core/checksum.hpp"
#include "pg/server/settings.hpp"
#include "pg/server/shmem.hpp"
#include "pg/tables/catalog.hpp"
#include "pg/tables/triggers.hpp"

extern "C" {
#include "catalog/partition.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_inherits.h"
#include "rewrite/prs2lock.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

namespace pgwc::attachments {

namespace {

HTAB* cache = nullptr;
// The entry that was asked for last; a statement asks for the same table several times.
Attachment* latest = nullptr;
// What is known of the whole of writecache.attached.
enum class Known : std::uint8_t { kNothing, kNone, kSome, kPartitioned };
Known known = Known::kNothing;
Oid known_from = InvalidOid;  // writecache.attached
std::uint64_t invalidations = 0;

// Relations that are not attached and have no relatives, by the lower bits of their OID: nearly all
// that statements name, found without a hash look-up.
constexpr std::size_t kStrangers = 256;
Oid strangers[kStrangers];
// The same of relations that the write buffer has nothing to do with.
Oid unbuffered[kStrangers];

void forget_catalog(Datum, int, std::uint32_t) {
  ++invalidations;
  latest = nullptr;
  std::memset(strangers, 0, sizeof(strangers));
  std::memset(unbuffered, 0, sizeof(unbuffered));
  known = Known::kNothing;
  if (cache == nullptr) return;
  HASH_SEQ_STATUS scan;
  hash_seq_init(&scan, cache);
  while (auto* entry = static_cast<Attachment*>(hash_seq_search(&scan)))
    hash_search(cache, &entry->relation, HASH_REMOVE, nullptr);
}

void forget_relation(Datum, Oid relation) {
  if (relation == InvalidOid) {
    forget_catalog(0, 0, 0);
  } else {
    ++invalidations;
    latest = nullptr;
    if (is_stranger(relation)) strangers[relation % kStrangers] = InvalidOid;
    if (is_unbuffered(relation)) unbuffered[relation % kStrangers] = InvalidOid;
    if (relation == known_from) known = Known::kNothing;
    if (cache == nullptr) return;
    hash_search(cache, &relation, HASH_REMOVE, nullptr);
  }
}

bool may_have_relatives(Oid relation) {
  HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
  if (!HeapTupleIsValid(tuple)) return false;
  const auto* form = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple));
  const bool relatives = form->relispartition || form->relhastriggers;
  ReleaseSysCache(tuple);
  return relatives;
}

// Reads the catalog row of a relation; leaves the entry alone if there is none.
void look_up(Oid relation, Attachment* entry) {
  using namespace catalog;
  AttachedRow row;
  if (!read_attached(relation, &row)) return;
  entry->attached = true;
  entry->number = DatumGetInt32(row.values[kAttachment - 1]);
  entry->mode = mode_of(DatumGetObjectId(row.values[kMode - 1]));
  if (!row.nulls[kFlushInterval - 1])
    entry->policy.interval_us = interval_us(DatumGetIntervalP(row.values[kFlushInterval - 1]));
  if (!row.nulls[kFlushRows - 1])
    entry->policy.rows = static_cast<std::uint64_t>(DatumGetInt64(row.values[kFlushRows - 1]));
  if (!row.nulls[kFlushBytes - 1])
    entry->policy.bytes = static_cast<std::uint64_t>(DatumGetInt64(row.values[kFlushBytes - 1]));
  const char* when_full = TextDatumGetCString(row.values[kWhenFull - 1]);
  entry->when_full = std::strcmp(when_full, "error") == 0           ? WhenFull::kError
                     : std::strcmp(when_full, "write_through") == 0 ? WhenFull::kWriteThrough
                                                                    : WhenFull::kWait;
  entry->read_pending = DatumGetBool(row.values[kReadPending - 1]);
  entry->ignore_conflicts =
      std::strcmp(TextDatumGetCString(row.values[kOnConflict - 1]), "ignore") == 0;
  entry->allow_triggers = DatumGetBool(row.values[kAllowTriggers - 1]);
  entry->max_staleness_us = row.nulls[kMaxStaleness - 1]
                                ? -1
                                : interval_us(DatumGetIntervalP(row.values[kMaxStaleness - 1]));
}

}  // namespace

Mode mode_of(Oid label) {
  HeapTuple tuple = SearchSysCache1(ENUMOID, ObjectIdGetDatum(label));
  if (!HeapTupleIsValid(tuple)) elog(ERROR, "cache lookup failed for enum value %u", label);
  const char* name = NameStr(reinterpret_cast<Form_pg_enum>(GETSTRUCT(tuple))->enumlabel);
  Mode mode = Mode::kWriteBack;
  if (std::strcmp(name, "write_around") == 0) mode = Mode::kWriteAround;
  if (std::strcmp(name, "write_through") == 0) mode = Mode::kWriteThrough;
  if (std::strcmp(name, "cache_aside") == 0) mode = Mode::kCacheAside;
  ReleaseSysCache(tuple);
  return mode;
}

bool is_stranger(Oid relation) {
  return relation < FirstNormalObjectId || strangers[relation % kStrangers] == relation;
}

bool is_unbuffered(Oid relation) {
  return relation < FirstNormalObjectId || unbuffered[relation % kStrangers] == relation;
}

std::int64_t interval_us(const Interval* interval) {
  const std::int64_t days = interval->day + std::int64_t{30} * interval->month;
  std::int64_t us;
  if (__builtin_mul_overflow(days, USECS_PER_DAY, &us) ||
      __builtin_add_overflow(us, interval->time, &us))
    return days < 0 ? PG_INT64_MIN : PG_INT64_MAX;
  return us;
}

void init() {
  CacheRegisterRelcacheCallback(forget_relation, 0);
  CacheRegisterSyscacheCallback(NAMESPACEOID, forget_catalog, 0);
}

namespace {

Known know() {
  if (known != Known::kNothing || !IsTransactionState()) return known;
  Known found;
  std::uint64_t before;
  do {
    before = invalidations;
    known_from = catalog::relation_named("attached");
    found = Known::kNone;
    ListCell* cell;
    foreach (cell, catalog::all_attached()) {
      if (found == Known::kNone) found = Known::kSome;
      if (get_rel_relkind(lfirst_oid(cell)) == RELKIND_PARTITIONED_TABLE)
        found = Known::kPartitioned;
    }
  } while (before != invalidations);
  return known = found;
}

}  // namespace

bool any() { return know() >= Known::kSome; }
bool any_partitioned() { return know() == Known::kPartitioned; }

namespace {

// What is known of the relation, attached or not; null if nothing can be.
Attachment* entry_of(Oid relation) {
  // Catalogs are never attached, and looking one up here could recurse.
  if (relation < FirstNormalObjectId) return nullptr;
  if (latest != nullptr && latest->relation == relation) return latest;
  if (cache == nullptr) {
    HASHCTL control{};
    control.keysize = sizeof(Oid);
    control.entrysize = sizeof(Attachment);
    cache = hash_create("pg_writecache attachments", 64, &control, HASH_ELEM | HASH_BLOBS);
  }
  auto* entry = static_cast<Attachment*>(hash_search(cache, &relation, HASH_FIND, nullptr));
  if (entry == nullptr) {
    if (!IsTransactionState()) return nullptr;
    // An invalidation that arrives while the catalog is read finds no entry to drop.
    Attachment fresh;
    std::uint64_t before;
    do {
      before = invalidations;
      fresh = {};
      fresh.relation = relation;
      fresh.queue = kNoQueueNo;
      fresh.relatives = may_have_relatives(relation);
      look_up(relation, &fresh);
    } while (before != invalidations);
    entry = static_cast<Attachment*>(hash_search(cache, &relation, HASH_ENTER, nullptr));
    *entry = fresh;
    const bool buffered = fresh.attached && fresh.mode == Mode::kWriteBack;
    if (!buffered && !fresh.relatives) unbuffered[relation % kStrangers] = relation;
    if (!fresh.attached && !fresh.relatives) strangers[relation % kStrangers] = relation;
  }
  return latest = entry;
}

}  // namespace

void forget() { forget_catalog(0, 0, 0); }

void catch_up() {
  static std::uint64_t heard_of = 0;
  // Its first row gives a table's queue a slot.
  const std::uint64_t changes = buffer().slot_changes();
  if (changes == heard_of) return;
  AcceptInvalidationMessages();
  heard_of = changes;
}

const Attachment* find(Oid relation) {
  if (is_stranger(relation)) return nullptr;
  const Attachment* entry = entry_of(relation);
  return entry != nullptr && entry->attached ? entry : nullptr;
}

bool names_unbuffered_only(const List* range_table) {
  const ListCell* cell;
  foreach (cell, range_table) {
    const auto* entry = lfirst_node(RangeTblEntry, cell);
    if (entry->rtekind == RTE_RELATION && !is_unbuffered(entry->relid)) return false;
  }
  return true;
}

bool has_relatives(Oid relation) {
  if (is_stranger(relation)) return false;
  const Attachment* entry = entry_of(relation);
  return entry != nullptr && entry->relatives;
}

Attachment* find_write_back(Oid relation) {
  if (!buffer_ready()) return nullptr;
  auto* entry = const_cast<Attachment*>(find(relation));
  return entry != nullptr && entry->mode == Mode::kWriteBack ? entry : nullptr;
}

const Attachment* find_cached(Oid relation) {
  const Attachment* own = find(relation);
  if (own != nullptr) return own->mode == Mode::kWriteBack ? nullptr : own;
  if (!any_partitioned() || !has_relatives(relation) || !get_rel_relispartition(relation))
    return nullptr;
  ListCell* cell;
  foreach (cell, get_partition_ancestors(relation)) {
    const Attachment* parent = find(lfirst_oid(cell));
    if (parent != nullptr) return parent->mode == Mode::kWriteBack ? nullptr : parent;
  }
  return nullptr;
}

std::uint32_t layout_fingerprint(TupleDesc desc) {
  std::uint32_t print = static_cast<std::uint32_t>(desc->natts);
  for (int i = 0; i < desc->natts; ++i) {
    const FormData_pg_attribute* attribute = TupleDescAttr(desc, i);
    const std::uint32_t parts[] = {print, attribute->atttypid,
                                   static_cast<std::uint32_t>(attribute->attlen),
                                   static_cast<std::uint32_t>(attribute->attalign)};
    print = crc32c(parts, sizeof(parts));
  }
  return print;
}

namespace {

bool reaches_insert_triggers(Relation relation) {
  if (has_user_insert_triggers(relation)) return true;
  if (relation->rd_rel->relkind != RELKIND_PARTITIONED_TABLE) return false;
  bool found = false;
  ListCell* cell;
  foreach (cell, find_all_inheritors(RelationGetRelid(relation), AccessShareLock, nullptr)) {
    Relation member = relation_open(lfirst_oid(cell), NoLock);
    found = found || has_user_insert_triggers(member);
    relation_close(member, NoLock);
  }
  return found;
}

bool has_insert_rules(Relation relation) {
  const RuleLock* rules = relation->rd_rules;
  for (int i = 0; rules != nullptr && i < rules->numLocks; ++i)
    if (rules->rules[i]->event == CMD_INSERT) return true;
  return false;
}

}  // namespace

void learn_shape(Attachment* attachment, Relation relation) {
  attachment->relkind = relation->rd_rel->relkind;
  attachment->insert_triggers = reaches_insert_triggers(relation);
  attachment->insert_rules = has_insert_rules(relation);
  attachment->generation = layout_fingerprint(RelationGetDescr(relation));
  attachment->shape_known = true;
}

FlushPolicy effective_policy(const Attachment& attachment) {
  FlushPolicy policy = attachment.policy;
  if (policy.rows == 0) policy.rows = static_cast<std::uint64_t>(settings::flush_rows);
  if (policy.bytes == 0)
    policy.bytes = std::uint64_t{1024} * static_cast<unsigned>(settings::flush_bytes_kb);
  if (policy.interval_us == 0)
    policy.interval_us = std::int64_t{1000} * settings::flush_interval_ms;
  return policy;
}

QueueNo find_queue(Attachment* attachment) {
  const std::uint64_t id = attachment->queue_id();
  if (attachment->queue != kNoQueueNo && buffer().is_queue(attachment->queue, id))
    return attachment->queue;
  const std::uint64_t changes = buffer().slot_changes();
  if (attachment->no_queue_since == changes + 1) return kNoQueueNo;
  attachment->queue = buffer().find_queue(id);
  if (attachment->queue == kNoQueueNo) attachment->no_queue_since = changes + 1;
  return attachment->queue;
}

bool open_queue(Attachment* attachment) {
  const std::uint64_t id = attachment->queue_id();
  if (attachment->queue != kNoQueueNo && buffer().is_queue(attachment->queue, id)) return true;
  if (buffer().open_queue(id, attachment->relation, &attachment->queue) != Status::kOk) {
    attachment->queue = kNoQueueNo;
    return false;
  }
  buffer().set_policy(attachment->queue, effective_policy(*attachment));
  return true;
}

}  // namespace pgwc::attachments
