#include "pg/tables/drops.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/row_cache/store.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/tables/catalog.hpp"
#include "pg/tables/ddl_drain.hpp"
#include "pg/write_back/drain.hpp"

extern "C" {
#include "access/genam.h"
#include "catalog/namespace.h"
#include "catalog/dependency.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "commands/extension.h"
#include "foreign/foreign.h"
#include "commands/tablecmds.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/syscache.h"
}

namespace pgwc::ddl {

namespace {

constexpr char kExtension[] = "pg_writecache";

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
    if (!OidIsValid(relation) || !may_change(relation)) continue;
    drain_ancestors(relation);
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

// Drains the attached tables that stay when partitions of theirs go with something else.
template <class Goes>
void drain_above_dropped(const Goes& goes) {
  ListCell* cell;
  foreach (cell, catalog::all_attached()) {
    const Oid table = lfirst_oid(cell);
    if (get_rel_relkind(table) != RELKIND_PARTITIONED_TABLE || goes(table) ||
        attachments::find_write_back(table) == nullptr)
      continue;
    List* leaving = NIL;
    ListCell* heir;
    foreach (heir, find_all_inheritors(table, NoLock, nullptr))
      if (goes(lfirst_oid(heir))) leaving = lappend_oid(leaving, lfirst_oid(heir));
    if (leaving == NIL) continue;
    LockRelationOid(table, ShareRowExclusiveLock);
    drain_locked(table);
    foreach (heir, leaving) leave_queues(lfirst_oid(heir));
  }
}

void drain_for_dropped_schemas(const DropStmt* drop) {
  if (drop->removeType != OBJECT_SCHEMA || drop->behavior != DROP_CASCADE) return;
  List* schemas = NIL;
  ListCell* cell;
  foreach (cell, drop->objects) {
    const Oid schema = get_namespace_oid(strVal(lfirst(cell)), true);
    if (OidIsValid(schema) && compat::is_owner(NamespaceRelationId, schema, GetUserId()))
      schemas = lappend_oid(schemas, schema);
  }
  if (schemas == NIL) return;
  drain_above_dropped(
      [&](Oid table) { return list_member_oid(schemas, get_rel_namespace(table)); });
}

bool may_drop(ObjectType type, const char* name) {
  const auto is_owned = [](Oid catalog, Oid object) {
    return OidIsValid(object) && compat::is_owner(catalog, object, GetUserId());
  };
  switch (type) {
    case OBJECT_FOREIGN_SERVER:
      return is_owned(ForeignServerRelationId, get_foreign_server_oid(name, true));
    case OBJECT_FDW:
      return is_owned(ForeignDataWrapperRelationId, get_foreign_data_wrapper_oid(name, true));
    case OBJECT_EXTENSION:
      return is_owned(ExtensionRelationId, get_extension_oid(name, true));
    default:
      return false;
  }
}

// Foreign tables go with their servers, and tables with extensions: any of those may be meant.
void drain_for_dropped_servers(const DropStmt* drop) {
  bool any = false;
  ListCell* cell;
  if (drop->removeType == OBJECT_FOREIGN_SERVER || drop->removeType == OBJECT_FDW ||
      drop->removeType == OBJECT_EXTENSION)
    foreach (cell, drop->objects) any = any || may_drop(drop->removeType, strVal(lfirst(cell)));
  if (!any) return;
  drain_above_dropped([](Oid table) {
    return get_rel_relkind(table) == RELKIND_FOREIGN_TABLE ||
           OidIsValid(getExtensionOfObject(RelationRelationId, table));
  });
}

Oid owner_of(Oid table) {
  HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
  if (!HeapTupleIsValid(tuple)) return InvalidOid;
  const Oid owner = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relowner;
  ReleaseSysCache(tuple);
  return owner;
}

void drain_for_dropped_owners(const DropOwnedStmt* drop) {
  List* owners = NIL;
  ListCell* cell;
  foreach (cell, drop->roles) {
    const Oid role = get_rolespec_oid(lfirst_node(RoleSpec, cell), true);
    if (OidIsValid(role) && has_privs_of_role(GetUserId(), role))
      owners = lappend_oid(owners, role);
  }
  if (owners == NIL) return;
  drain_above_dropped([&](Oid table) { return list_member_oid(owners, owner_of(table)); });
}

}  // namespace

void before_drop(const DropStmt* drop) {
  if (drops_the_extension(drop)) drain_all();
  drain_for_dropped_partitions(drop);
  drain_for_dropped_schemas(drop);
  drain_for_dropped_servers(drop);
}

void before_drop_owned(const DropOwnedStmt* drop) {
  if (drops_the_extension(drop)) drain_all();
  drain_for_dropped_owners(drop);
}

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

}  // namespace pgwc::ddl
