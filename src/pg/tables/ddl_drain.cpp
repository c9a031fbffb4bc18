#include "pg/tables/ddl_drain.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/write_back/drain.hpp"

extern "C" {
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_inherits.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
}

namespace pgwc::ddl {

void drain_locked(Oid relation) {
  if (attachments::find_write_back(relation) == nullptr) return;
  // Rows that are acknowledged afterwards, for the table as it is then, survive a crash; the change
  // of the table must too.
  ForceSyncCommit();
  (void)drain::drain_table(relation);
}

bool may_change(Oid relation) {
  return compat::is_owner(RelationRelationId, relation, GetUserId()) ||
         pg_class_aclmask(relation, GetUserId(), ACL_TRUNCATE | ACL_TRIGGER, ACLMASK_ANY) != 0;
}

void drain_ancestors(Oid relation) {
  if (!get_rel_relispartition(relation)) return;
  // Locks go from the root downwards, as an INSERT's.
  List* ancestors = get_partition_ancestors(relation);
  for (int i = list_length(ancestors); i-- > 0;) {
    const Oid table = list_nth_oid(ancestors, i);
    if (attachments::find_write_back(table) == nullptr) continue;
    LockRelationOid(table, ShareRowExclusiveLock);
    drain_locked(table);
  }
}

void leave_queues(Oid partition) {
  if (!OidIsValid(partition) || !get_rel_relispartition(partition)) return;
  ListCell* cell;
  foreach (cell, get_partition_ancestors(partition))
    if (const Attachment* attachment = attachments::find_write_back(lfirst_oid(cell))) {
      const std::int32_t number = attachment->number;
      drain::leave_queue_at_commit(number, partition);
      drain::leave_queue_at_commit(number, lfirst_oid(cell));
    }
}

void drain_named(const RangeVar* name, LOCKMODE lock) {
  if (name == nullptr) return;
  const Oid relation = RangeVarGetRelid(name, NoLock, true);
  // The command says itself what does not exist or is not allowed; it must not cost anybody a lock
  // before.
  if (!OidIsValid(relation) || !may_change(relation)) return;
  drain_ancestors(relation);
  List* tables = find_all_inheritors(relation, NoLock, nullptr);
  bool any = false;
  ListCell* cell;
  foreach (cell, tables)
    if (attachments::find_write_back(lfirst_oid(cell)) != nullptr) any = true;
  if (!any) return;
  // A lower lock than the worker's conflicts with would let rows slip in behind the drain.
  LockRelationOid(relation, lock < ShareRowExclusiveLock ? ShareRowExclusiveLock : lock);
  foreach (cell, tables) {
    const Oid table = lfirst_oid(cell);
    if (attachments::find_write_back(table) == nullptr) continue;
    LockRelationOid(table, lock < ShareRowExclusiveLock ? ShareRowExclusiveLock : lock);
    drain_locked(table);
  }
}

}  // namespace pgwc::ddl
