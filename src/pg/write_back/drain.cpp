#include "pg/write_back/drain.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/server/shmem.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/write_back/departures.hpp"
#include "pg/write_back/flush.hpp"
#include "pg/write_back/staging.hpp"

extern "C" {
#include "storage/lmgr.h"
#include "storage/lock.h"
}

namespace pgwc::drain {

namespace {

// A queue to be forgotten.
struct Dropped {
  Dropped* next;
  SubTransactionId owner;
  std::uint64_t queue_id;  // 0: it stays
  bool at_abort;           // else at commit
  Oid left_behind;         // a table that was in the queue, to be read without it; else none
  std::uint64_t flush;     // the newest transaction that stored its rows
};
Dropped* dropped = nullptr;  // in TopTransactionContext

void forget(std::uint64_t queue_id) noexcept {
  if (queue_id == 0) return;
  for (QueueNo q = 0; q < buffer().queue_count(); ++q)
    if (buffer().is_queue(q, queue_id)) buffer().drop_queue(q, queue_id);
}

void xact_callback(XactEvent event, void*) {
  if (dropped == nullptr) return;
  for (const Dropped* entry = dropped; entry != nullptr; entry = entry->next) {
    if (OidIsValid(entry->left_behind) &&
        (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE))
      departures::announce(entry->left_behind, entry->flush);
    // What is prepared has stored its rows, and opens the queue anew if it commits.
    if (entry->at_abort ? event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE
                        : event == XACT_EVENT_COMMIT)
      forget(entry->queue_id);
  }
  if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
    dropped = nullptr;
}

void subxact_callback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void*) {
  if (event == SUBXACT_EVENT_COMMIT_SUB) {
    for (Dropped* entry = dropped; entry != nullptr; entry = entry->next)
      if (entry->owner == mine) entry->owner = parent;
  } else if (event == SUBXACT_EVENT_ABORT_SUB) {
    for (Dropped** link = &dropped; *link != nullptr;) {
      if ((*link)->owner != mine) {
        link = &(*link)->next;
        continue;
      }
      if ((*link)->at_abort) forget((*link)->queue_id);
      *link = (*link)->next;
    }
  }
}

std::uint64_t queue_of(std::int32_t attachment) {
  return make_queue_id(MyDatabaseId, static_cast<std::uint32_t>(attachment));
}

void note(std::uint64_t queue_id, bool at_abort, Oid left_behind = InvalidOid,
          std::uint64_t flush = 0) {
  auto* entry = static_cast<Dropped*>(MemoryContextAlloc(TopTransactionContext, sizeof(Dropped)));
  *entry = {dropped, GetCurrentSubTransactionId(), queue_id, at_abort, left_behind, flush};
  dropped = entry;
}

std::uint64_t newest_flush(std::uint64_t queue_id) {
  return departures::newest_flush(buffer().find_queue(queue_id), queue_id);
}

}  // namespace

bool holds_lock_against_worker(Oid relation) {
  LOCKTAG tag;
  SET_LOCKTAG_RELATION(tag, MyDatabaseId, relation);
  // Those that conflict with ROW EXCLUSIVE.
  for (LOCKMODE mode : {ShareLock, ShareRowExclusiveLock, ExclusiveLock, AccessExclusiveLock})
    if (compat::holds_lock(tag, mode)) return true;
  return false;
}

std::uint64_t drain_table(Oid relid) {
  (void)staging::spill(relid);
  Attachment* attachment = attachments::find_write_back(relid);
  if (attachment == nullptr) return 0;
  const std::int32_t number = attachment->number;
  if (!attachments::open_queue(attachment)) return 0;
  const QueueNo queue = attachment->queue;
  Relation relation = table_open(relid, NoLock);
  const std::uint64_t rows = flush::drain_here(relation, number, queue);
  table_close(relation, NoLock);
  return rows;
}

void drop_queue_at_commit(std::int32_t attachment, Oid left_behind) {
  ForceSyncCommit();  // were the commit lost in a crash, the rows would be wanted again
  const std::uint64_t id = queue_of(attachment);
  note(id, false, left_behind, OidIsValid(left_behind) ? newest_flush(id) : 0);
}

void leave_queue_at_commit(std::int32_t attachment, Oid relation) {
  note(0, false, relation, newest_flush(queue_of(attachment)));
}

void drop_queue_at_abort(std::int32_t attachment) { note(queue_of(attachment), true); }

void init() {
  RegisterXactCallback(xact_callback, nullptr);
  RegisterSubXactCallback(subxact_callback, nullptr);
}

}  // namespace pgwc::drain
