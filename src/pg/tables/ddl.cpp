#include "pg/tables/ddl.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/row_cache/store.hpp"
#include "pg/server/settle.hpp"
#include "pg/server/shmem.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/tables/catalog.hpp"
#include "pg/tables/ddl_drain.hpp"
#include "pg/tables/drops.hpp"
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

bool may_refer_to(Oid relation) {
  return may_change(relation) ||
         pg_class_aclcheck(relation, GetUserId(), ACL_REFERENCES) == ACLCHECK_OK ||
         pg_attribute_aclcheck_all(relation, GetUserId(), ACL_REFERENCES, ACLMASK_ANY) ==
             ACLCHECK_OK;
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

bool has_foreign(Oid table) {
  const ListCell* cell;
  foreach (cell, find_all_inheritors(table, NoLock, nullptr))
    if (get_rel_relkind(lfirst_oid(cell)) == RELKIND_FOREIGN_TABLE) return true;
  return false;
}

// What foreign tables stand for changes: what is pending was meant for what they stand for now.
void await_foreign() {
  const ListCell* cell;
  foreach (cell, catalog::all_attached())
    if (has_foreign(lfirst_oid(cell))) await_table(lfirst_oid(cell));
}

// A new partition: none of the default partition's rows may belong to it. PostgreSQL looks at those
// in the table.
void before_create(const CreateStmt* create) {
  if (create->partbound == nullptr || list_length(create->inhRelations) != 1) return;
  const Oid parent = RangeVarGetRelid(linitial_node(RangeVar, create->inhRelations), NoLock, true);
  if (!OidIsValid(parent) || !may_change(parent)) return;
  const Oid rest = get_default_partition_oid(parent);
  if (!OidIsValid(rest)) return;
  ListCell* cell;
  foreach (cell, get_partition_ancestors(rest)) await_table(lfirst_oid(cell));
  List* tables = find_all_inheritors(rest, NoLock, nullptr);
  bool any = false;
  foreach (cell, tables) any = any || attachments::find_write_back(lfirst_oid(cell)) != nullptr;
  if (!any) return;
  // As the command will, and in its order.
  LockRelationOid(parent, ShareUpdateExclusiveLock);
  foreach (cell, tables) {
    LockRelationOid(lfirst_oid(cell), AccessExclusiveLock);
    drain_locked(lfirst_oid(cell));
  }
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
    if (command->subtype != AT_DetachPartition) continue;
    const Oid leaving = RangeVarGetRelid(partition->name, NoLock, true);
    if (OidIsValid(leaving) && may_change(leaving)) leave_queues(leaving);
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
    case T_CreateStmt:
      before_create(castNode(CreateStmt, statement));
      break;
    case T_CreateForeignTableStmt:
      before_create(&castNode(CreateForeignTableStmt, statement)->base);
      break;
    case T_AlterForeignServerStmt:
    case T_AlterFdwStmt:
    case T_AlterUserMappingStmt:
    case T_DropUserMappingStmt:
      await_foreign();
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
      before_drop_owned(castNode(DropOwnedStmt, statement));
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
      before_drop(castNode(DropStmt, statement));
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
