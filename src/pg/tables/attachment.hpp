// What a backend knows about attached tables: the rows of writecache.attached, cached per relation
// and dropped on relcache invalidation. The negative answer is cached too, so that a table that is
// not attached costs one hash look-up.
//
// Any backend. find() may read the catalog and so may ERROR; it needs a transaction.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc {

enum class Mode : std::uint8_t { kWriteBack, kWriteAround, kWriteThrough, kCacheAside };
enum class WhenFull : std::uint8_t { kWait, kWriteThrough, kError };

struct Attachment {
  Oid relation;  // hash key
  bool attached;
  bool relatives;
  Mode mode;
  WhenFull when_full;
  bool read_pending;
  bool ignore_conflicts;
  bool allow_triggers;
  std::int32_t number;            // writecache.attached.attachment
  FlushPolicy policy;             // own options only; 0 stands for the setting
  std::int64_t max_staleness_us;  // of cached rows that cannot be proved; -1: not given
  // Derived from the relation; filled by layout_of_relation.
  bool shape_known;
  bool insert_triggers;  // user triggers that an INSERT would fire, here or in a partition
  bool insert_rules;
  char relkind;
  std::uint32_t generation;  // fingerprint of the row layout
  // Where this database's buffer has it; kNoQueueNo until first used.
  QueueNo queue;
  std::uint64_t no_queue_since;  // the buffer's slot_changes() plus one when it had none

  std::uint64_t queue_id() const {
    return make_queue_id(MyDatabaseId, static_cast<std::uint32_t>(number));
  }
};

namespace attachments {

// Registers the invalidation callback; from _PG_init.
void init();

// Hears of tables that have been attached meanwhile and have rows in the buffer. Whoever has locked
// a table before it was attached need not have heard of it otherwise. Cheap if there are none.
void catch_up();

// Reads everything anew when it is asked for next: what a commit has changed is in the catalog a
// moment before it is announced. Entries that somebody holds are gone.
void forget();
// The attachment of a relation, or null. The pointer is valid until the next catalog access: copy
// what must last.
const Attachment* find(Oid relation);
// Whether it is known without any look-up that the relation is neither attached nor has relatives.
bool is_stranger(Oid relation);
// Whether it is known without any look-up that rows of the relation are not in the write buffer,
// and not concerned by those of relatives.
bool is_unbuffered(Oid relation);
// Whether that holds for all of a range table, as it does for most statements.
bool names_unbuffered_only(const List* range_table);
// Whether the relation, attached or not, is a partition or has triggers, those of foreign keys
// among them.
bool has_relatives(Oid relation);
// The attachment, only when mode is write_back and the buffer is usable.
Attachment* find_write_back(Oid relation);
// The attachment, its own or that of a table above a partition, whose mode caches rows; null if
// none.
const Attachment* find_cached(Oid relation);

// Whether the database has attached tables at all, and partitioned ones among them. Remembered
// until that changes.
bool any();
bool any_partitioned();

// Fills the derived part from the open relation.
void learn_shape(Attachment* attachment, Relation relation);
// A number that changes when a column is added, dropped or retyped.
std::uint32_t layout_fingerprint(TupleDesc desc);

// Effective limits: the table's, else the settings.
FlushPolicy effective_policy(const Attachment& attachment);

// The mode that a label of writecache.mode stands for.
Mode mode_of(Oid label);

// In microseconds, a month as 30 days; what is too long is the longest there is.
std::int64_t interval_us(const Interval* interval);

// The queue of the attachment if it has one, else kNoQueueNo: nothing was ever staged for it.
QueueNo find_queue(Attachment* attachment);
// Gives the attachment its queue in the buffer. False if there is no slot.
bool open_queue(Attachment* attachment);

}  // namespace attachments
}  // namespace pgwc
