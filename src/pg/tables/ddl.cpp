#include "pg/tables/ddl.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/row_cache/store.hpp"
#include "pg/server/settle.hpp"
#include "pg/server/shmem.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/tables/catalog.hpp"
#include "pg/tables/key_names.hpp"
#include "pg/write_back/barrier.hpp"
#include "pg/write_back/drain.hpp"
#include "pg/write_back/staging.hpp"

extern "C" {
#include "access/genam.h"
#include "catalog/dependency.h"
#include "catalog/heap.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/partition.h"
#include "catalog/pg_inherits.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "commands/tablecmds.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_type.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/syscache.h"
}

namespace pgwc::ddl {

namespace {

constinit object_access_hook_type previous_access = nullptr;

constexpr char kExtension[] = "pg_writecache";

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

bool may_refer_to(Oid relation) {
  return may_change(relation) ||
         pg_class_aclcheck(relation, GetUserId(), ACL_REFERENCES) == ACLCHECK_OK ||
         pg_attribute_aclcheck_all(relation, GetUserId(), ACL_REFERENCES, ACLMASK_ANY) ==
             ACLCHECK_OK;
}

// What an attached parent took for a partition belongs to it already. Locks go from the root
// downwards, as an INSERT's.
void drain_ancestors(Oid relation) {
  if (!get_rel_relispartition(relation)) return;
  List* ancestors = get_partition_ancestors(relation);
  for (int i = list_length(ancestors); i-- > 0;) {
    const Oid table = list_nth_oid(ancestors, i);
    if (attachments::find_write_back(table) == nullptr) continue;
    LockRelationOid(table, ShareRowExclusiveLock);
    drain_locked(table);
  }
}

// A partition goes, or becomes a table of its own: for older snapshots its rows in the queues of
// the tables above are nowhere to be read from, or would seem to be the default partition's.
void leave_queues(Oid partition) {
  if (!OidIsValid(partition) || !may_change(partition) || !get_rel_relispartition(partition))
    return;
  ListCell* cell;
  foreach (cell, get_partition_ancestors(partition))
    if (const Attachment* attachment = attachments::find_write_back(lfirst_oid(cell))) {
      const std::int32_t number = attachment->number;
      drain::leave_queue_at_commit(number, partition);
      drain::leave_queue_at_commit(number, lfirst_oid(cell));
    }
}

// Drains a table named by a command, and the attached tables above and below it.
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

// For a command that reads the table and leaves its rows as they are: what was acknowledged before
// is flushed first, by the worker, without a lock. A table that cannot be flushed now is read as it
// is.
void await_table(Oid relation) {
  (void)staging::spill(relation);
  Attachment* attachment = attachments::find_write_back(relation);
  if (attachment == nullptr || drain::holds_lock_against_worker(relation) ||
      !attachments::open_queue(attachment))
    return;
  ensure_settled();
  barrier::try_stored(attachment->queue, buffer().last_seq());
}

void await_named(const RangeVar* name) {
  if (name == nullptr) return;
  const Oid relation = RangeVarGetRelid(name, NoLock, true);
  if (OidIsValid(relation) && may_change(relation)) await_table(relation);
}

// A foreign key finds what it refers to in the table only, if the table's pending rows are not
// read.
void await_referenced(const RangeVar* name) {
  if (name == nullptr) return;
  const Oid relation = RangeVarGetRelid(name, NoLock, true);
  if (!OidIsValid(relation) || !may_refer_to(relation)) return;
  ListCell* cell;
  foreach (cell, find_all_inheritors(relation, NoLock, nullptr)) await_table(lfirst_oid(cell));
}

void await_referenced(const AlterTableStmt* alter) {
  ListCell* cell;
  foreach (cell, alter->cmds) {
    const auto* command = lfirst_node(AlterTableCmd, cell);
    if (command->subtype == AT_ValidateConstraint) {
      const Oid table = RangeVarGetRelid(alter->relation, NoLock, true);
      if (!OidIsValid(table) || !may_change(table)) continue;
      Relation relation = try_relation_open(table, AccessShareLock);
      if (relation == nullptr) continue;
      List* keys = static_cast<List*>(copyObjectImpl(RelationGetFKeyList(relation)));
      relation_close(relation, NoLock);
      ListCell* key;
      foreach (key, keys) await_table(lfirst_node(ForeignKeyCacheInfo, key)->confrelid);
    } else if (command->def != nullptr && IsA(command->def, Constraint)) {
      await_referenced(castNode(Constraint, command->def)->pktable);
    } else if (command->def != nullptr && IsA(command->def, ColumnDef)) {
      ListCell* constraint;
      foreach (constraint, castNode(ColumnDef, command->def)->constraints)
        if (IsA(lfirst(constraint), Constraint))
          await_referenced(lfirst_node(Constraint, constraint)->pktable);
    }
  }
}

void refuse_unlogged(const RangeVar* name) {
  const Oid relation = RangeVarGetRelid(name, NoLock, true);
  if (OidIsValid(relation) && attachments::find_write_back(relation) != nullptr)
    ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
            errmsg("cannot make table \"%s\" unlogged while it is attached", name->relname),
            errdetail("A crash would empty the table of rows that were acknowledged."),
            errhint("Call writecache.detach() first."));
}

// The extension goes, and with it everything that knows of the queues.
void drain_all() {
  if (const std::uint64_t rejected = catalog::count_rejections())
    ereport(WARNING,
            errmsg_plural("%llu rejected row is dropped with the extension",
                          "%llu rejected rows are dropped with the extension",
                          static_cast<unsigned long>(rejected),
                          static_cast<unsigned long long>(rejected)),
            errhint("Roll back and look into writecache.rejected if anybody needs them."));
  ListCell* cell;
  foreach (cell, catalog::all_attached()) {
    const Oid relation = lfirst_oid(cell);
    LockRelationOid(relation, ShareRowExclusiveLock);
    Relation opened = table_open(relation, NoLock);
    CheckTableNotInUse(opened, "DROP EXTENSION");
    table_close(opened, NoLock);
    drain_locked(relation);
    if (const Attachment* attachment = attachments::find(relation))
      drain::drop_queue_at_commit(attachment->number, relation);
  }
}

void drain_for_dropped_partitions(const DropStmt* drop) {
  if (drop->removeType != OBJECT_TABLE && drop->removeType != OBJECT_FOREIGN_TABLE) return;
  ListCell* cell;
  foreach (cell, drop->objects) {
    const Oid relation =
        RangeVarGetRelid(makeRangeVarFromNameList(lfirst_node(List, cell)), NoLock, true);
    if (OidIsValid(relation) && may_change(relation)) drain_ancestors(relation);
    leave_queues(relation);
  }
}

bool drops_the_extension(const DropStmt* drop) {
  if (drop->removeType != OBJECT_EXTENSION) return false;
  ListCell* cell;
  foreach (cell, drop->objects)
    if (strcmp(strVal(lfirst(cell)), kExtension) == 0) {
      // Others are told by PostgreSQL.
      const Oid extension = get_extension_oid(kExtension, true);
      return OidIsValid(extension) && compat::is_owner(ExtensionRelationId, extension, GetUserId());
    }
  return false;
}

Oid owner_of_the_extension() {
  ScanKeyData key;
  ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
              CStringGetDatum(kExtension));
  Relation catalog = table_open(ExtensionRelationId, AccessShareLock);
  SysScanDesc scan = systable_beginscan(catalog, ExtensionNameIndexId, true, nullptr, 1, &key);
  HeapTuple tuple = systable_getnext(scan);
  const Oid owner = HeapTupleIsValid(tuple)
                        ? reinterpret_cast<Form_pg_extension>(GETSTRUCT(tuple))->extowner
                        : InvalidOid;
  systable_endscan(scan);
  table_close(catalog, AccessShareLock);
  return owner;
}

// DROP OWNED takes the extension along if it names its owner.
bool drops_the_extension(const DropOwnedStmt* drop) {
  const Oid owner = owner_of_the_extension();
  ListCell* cell;
  foreach (cell, drop->roles) {
    const Oid role = get_rolespec_oid(lfirst_node(RoleSpec, cell), true);
    if (OidIsValid(role) && role == owner && has_privs_of_role(GetUserId(), role)) return true;
  }
  return false;
}

// A domain's new constraint is checked against the tables that use it, maybe by way of another
// domain.
void drain_for_domain(const AlterDomainStmt* alter) {
  if (alter->subtype == '\0' || strchr("COV", alter->subtype) == nullptr) return;
  const Oid domain = LookupTypeNameOid(nullptr, makeTypeNameFromNameList(alter->typeName), true);
  if (!OidIsValid(domain) || !compat::is_owner(TypeRelationId, domain, GetUserId())) return;
  ListCell* cell;
  foreach (cell, catalog::all_attached()) {
    const Oid table = lfirst_oid(cell);
    Relation relation = try_relation_open(table, AccessShareLock);
    if (relation == nullptr) continue;
    bool may_use = false;
    TupleDesc desc = RelationGetDescr(relation);
    for (int i = 0; i < desc->natts; ++i)
      if (TupleDescAttr(desc, i)->atttypid >= FirstNormalObjectId) may_use = true;
    relation_close(relation, NoLock);
    if (!may_use) continue;
    LockRelationOid(table, ShareRowExclusiveLock);
    drain_locked(table);
  }
}

// Called before the object goes.
void dropped(Oid object, int sub) {
  if (sub != 0) {
    // A column that goes by way of another object, its type for example; the table is locked
    // already.
    drain_locked(object);
    return;
  }
  catalog::delete_rejections(object);
  row_cache::drop(object);
  const Attachment* attachment = attachments::find(object);
  if (attachment == nullptr || !OidIsValid(catalog::relation_named("attached"))) return;
  const std::int32_t number = attachment->number;
  catalog::delete_attached(object);
  catalog::delete_watermark(number);
  drain::drop_queue_at_commit(number);
}

void accessed(ObjectAccessType access, Oid class_id, Oid object, int sub, void* argument) {
  if (previous_access) previous_access(access, class_id, object, sub, argument);
  if (class_id != RelationRelationId || !buffer_ready()) return;
  if (access == OAT_DROP) dropped(object, sub);
  if (access == OAT_POST_ALTER && sub > 0) key_names::follow(object, static_cast<AttrNumber>(sub));
}

// ALTER TYPE ... CASCADE changes the tables made OF the type.
void drain_typed(const RangeVar* name) {
  const Oid type_relation = RangeVarGetRelid(name, NoLock, true);
  if (!OidIsValid(type_relation) || !may_change(type_relation)) return;
  const Oid type = get_rel_type_id(type_relation);
  ListCell* cell;
  foreach (cell, catalog::all_attached()) {
    const Oid table = lfirst_oid(cell);
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
    if (!HeapTupleIsValid(tuple)) continue;
    const Oid of_type = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->reloftype;
    ReleaseSysCache(tuple);
    if (of_type != type) continue;
    LockRelationOid(table, AccessExclusiveLock);
    drain_locked(table);
  }
}

bool only_switches_triggers(const AlterTableStmt* alter) {
  ListCell* cell;
  foreach (cell, alter->cmds) {
    switch (lfirst_node(AlterTableCmd, cell)->subtype) {
      case AT_EnableTrig:
      case AT_EnableAlwaysTrig:
      case AT_EnableReplicaTrig:
      case AT_DisableTrig:
      case AT_EnableTrigAll:
      case AT_DisableTrigAll:
      case AT_EnableTrigUser:
      case AT_DisableTrigUser:
        break;
      default:
        return false;
    }
  }
  return true;
}

void before_alter(const AlterTableStmt* alter) {
  if (alter->objtype == OBJECT_TYPE) {
    drain_typed(alter->relation);
    return;
  }
  await_referenced(alter);
  const LOCKMODE lock = AlterTableGetLockLevel(alter->cmds);
  // What leaves writers alone leaves the rows as they are. Triggers do too, and a trigger may be
  // why rows cannot be stored.
  if (lock < ShareRowExclusiveLock || only_switches_triggers(alter))
    await_named(alter->relation);
  else
    drain_named(alter->relation, lock);
  ListCell* cell;
  foreach (cell, alter->cmds) {
    const auto* command = lfirst_node(AlterTableCmd, cell);
    if (command->subtype == AT_SetUnLogged) refuse_unlogged(alter->relation);
    // ATTACH and DETACH PARTITION name the other table in the command.
    if (command->def == nullptr || !IsA(command->def, PartitionCmd)) continue;
    const auto* partition = castNode(PartitionCmd, command->def);
    // The partition is not the parent's any more once the first of the command's transactions has
    // committed, which is ours.
    if (partition->concurrent) {
      drain_named(alter->relation, ShareRowExclusiveLock);
      await_named(partition->name);
    } else {
      drain_named(partition->name, AccessExclusiveLock);
    }
    if (command->subtype == AT_DetachPartition)
      leave_queues(RangeVarGetRelid(partition->name, NoLock, true));
  }
}

// TRUNCATE ... CASCADE empties the tables that refer to those named, too.
void drain_referencing(const List* names) {
  List* tables = NIL;
  const ListCell* cell;
  foreach (cell, names) {
    const Oid relation = RangeVarGetRelid(lfirst_node(RangeVar, cell), NoLock, true);
    if (!OidIsValid(relation) || !may_change(relation)) return;
    tables = list_concat_unique_oid(tables, find_all_inheritors(relation, NoLock, nullptr));
  }
  List* more = heap_truncate_find_FKs(tables);
  while (more != NIL) {
    foreach (cell, more) {
      const Oid table = lfirst_oid(cell);
      if (!may_change(table)) return;
      if (attachments::find_write_back(table) == nullptr) continue;
      LockRelationOid(table, AccessExclusiveLock);
      drain_locked(table);
    }
    tables = list_concat(tables, more);
    more = heap_truncate_find_FKs(tables);
  }
}

// A trigger that is allowed runs at the flush, as the owner of the table.
void refuse_trigger_of_others(const RangeVar* name) {
  const Oid relation = RangeVarGetRelid(name, NoLock, true);
  if (!OidIsValid(relation)) return;
  List* tables = list_make1_oid(relation);
  if (get_rel_relispartition(relation))
    tables = list_concat(tables, get_partition_ancestors(relation));
  ListCell* cell;
  foreach (cell, tables) {
    const Attachment* attachment = attachments::find_write_back(lfirst_oid(cell));
    if (attachment != nullptr && attachment->allow_triggers &&
        !compat::is_owner(RelationRelationId, lfirst_oid(cell), GetUserId()))
      ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
              errmsg("must be owner of table \"%s\" to create a trigger on it",
                     get_rel_name(lfirst_oid(cell))),
              errdetail("It is attached with allow_triggers, and its triggers run as its owner."));
  }
}

}  // namespace

void before(Node* statement) {
  ListCell* cell;
  switch (nodeTag(statement)) {
    case T_AlterTableStmt:
      before_alter(castNode(AlterTableStmt, statement));
      break;
    case T_TruncateStmt:
      foreach (cell, castNode(TruncateStmt, statement)->relations)
        drain_named(lfirst_node(RangeVar, cell), AccessExclusiveLock);
      if (castNode(TruncateStmt, statement)->behavior == DROP_CASCADE)
        drain_referencing(castNode(TruncateStmt, statement)->relations);
      break;
    case T_AlterDomainStmt:
      drain_for_domain(castNode(AlterDomainStmt, statement));
      break;
    case T_DropOwnedStmt:
      if (drops_the_extension(castNode(DropOwnedStmt, statement))) drain_all();
      break;
    case T_ClusterStmt:
      await_named(castNode(ClusterStmt, statement)->relation);
      break;
    case T_IndexStmt:
      await_named(castNode(IndexStmt, statement)->relation);
      break;
    case T_VacuumStmt:
      foreach (cell, castNode(VacuumStmt, statement)->rels)
        await_named(lfirst_node(VacuumRelation, cell)->relation);
      break;
    case T_CreateTrigStmt:
      refuse_trigger_of_others(castNode(CreateTrigStmt, statement)->relation);
      drain_named(castNode(CreateTrigStmt, statement)->relation, ShareRowExclusiveLock);
      break;
    case T_RuleStmt:
      drain_named(castNode(RuleStmt, statement)->relation, AccessExclusiveLock);
      break;
    case T_DropStmt:
      if (drops_the_extension(castNode(DropStmt, statement))) drain_all();
      drain_for_dropped_partitions(castNode(DropStmt, statement));
      break;
    default:
      break;
  }
}

void after(Node* statement) {
  const RangeVar* name = nullptr;
  if (IsA(statement, CreateTrigStmt)) name = castNode(CreateTrigStmt, statement)->relation;
  if (IsA(statement, AlterTableStmt)) name = castNode(AlterTableStmt, statement)->relation;
  const Oid relation = name == nullptr ? InvalidOid : RangeVarGetRelid(name, NoLock, true);
  if (!OidIsValid(relation) || !get_rel_relispartition(relation)) return;
  ListCell* cell;
  foreach (cell, get_partition_ancestors(relation))
    if (attachments::find_write_back(lfirst_oid(cell)) != nullptr)
      CacheInvalidateRelcacheByRelid(lfirst_oid(cell));
}

void install_hook() {
  previous_access = object_access_hook;
  object_access_hook = accessed;
}

}  // namespace pgwc::ddl
