#include "pg/tables/utility.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/live_read/copy_out.hpp"
#include "pg/row_cache/computed.hpp"
#include "pg/server/settle.hpp"
#include "pg/server/shmem.hpp"
#include "pg/server/workers.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/tables/ddl.hpp"
#include "pg/write_back/barrier.hpp"
#include "pg/write_back/capture_copy.hpp"

extern "C" {
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/syscache.h"
}

namespace pgwc::utility {

namespace {

constinit ProcessUtility_hook_type previous_utility = nullptr;
constinit int running_ddl = 0;

bool may_copy(Oid database) {
  if (superuser()) return true;
  HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
  if (!HeapTupleIsValid(tuple)) return false;
  const bool may_create = reinterpret_cast<Form_pg_authid>(GETSTRUCT(tuple))->rolcreatedb;
  ReleaseSysCache(tuple);
  tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
  if (!HeapTupleIsValid(tuple)) return false;
  const bool is_template = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple))->datistemplate;
  ReleaseSysCache(tuple);
  return may_create && (is_template || compat::is_owner(DatabaseRelationId, database, GetUserId()));
}

// The copy is one of files: what is pending would not be in it.
void store_before_copy(Oid database, const char* name) {
  ensure_settled();
  if (!barrier::try_stored_in(database))
    ereport(WARNING,
            errmsg("buffered rows of database \"%s\" could not be stored and are not in the copy",
                   name),
            errhint("See writecache.stat_write_back there."));
}

// These fail, or wait, while anybody else is connected to the database; a flush worker can
// reconnect later.
void send_worker_away(Node* statement) {
  const char* name = nullptr;
  switch (nodeTag(statement)) {
    case T_DropdbStmt:
      name = castNode(DropdbStmt, statement)->dbname;
      break;
    case T_RenameStmt:
      if (castNode(RenameStmt, statement)->renameType == OBJECT_DATABASE)
        name = castNode(RenameStmt, statement)->subname;
      break;
    case T_AlterDatabaseStmt:
      name = castNode(AlterDatabaseStmt, statement)->dbname;
      break;
    case T_CreatedbStmt: {
      name = "template1";
      ListCell* cell;
      foreach (cell, castNode(CreatedbStmt, statement)->options) {
        auto* option = lfirst_node(DefElem, cell);
        if (strcmp(option->defname, "template") == 0 && option->arg != nullptr &&
            IsA(option->arg, String))
          name = strVal(option->arg);
      }
      break;
    }
    default:
      break;
  }
  if (name == nullptr) return;
  const Oid database = get_database_oid(name, true);
  const bool copies = IsA(statement, CreatedbStmt);
  if (!OidIsValid(database) || (database == MyDatabaseId && !copies)) return;
  // Who is not allowed to must not hold up the flush of that database. PostgreSQL tells them.
  const bool allowed =
      copies ? may_copy(database) : compat::is_owner(DatabaseRelationId, database, GetUserId());
  if (!allowed) return;
  if (copies) store_before_copy(database, name);
  workers::keep_away(database, IsA(statement, DropdbStmt));
}

// Everything finds the extension's tables by this name; what is pending would have no table.
void refuse_to_rename_schema(Node* statement) {
  if (!IsA(statement, RenameStmt)) return;
  const auto* rename = castNode(RenameStmt, statement);
  if (rename->renameType == OBJECT_SCHEMA && strcmp(rename->subname, "writecache") == 0 &&
      OidIsValid(get_extension_oid("pg_writecache", true)))
    ereport(
        ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
        errmsg("cannot rename schema \"%s\" of extension \"%s\"", "writecache", "pg_writecache"));
}

// DDL whose rows are looked after by ddl::before.
bool is_ddl(const Node* statement) {
  switch (nodeTag(statement)) {
    case T_AlterDomainStmt:
    case T_AlterTableStmt:
    case T_TruncateStmt:
    case T_ClusterStmt:
    case T_IndexStmt:
    case T_CreateTrigStmt:
    case T_RuleStmt:
    case T_DropStmt:
      return true;
    default:
      return false;
  }
}

void pass_on(PlannedStmt* planned, const char* query, bool read_only_tree,
             ProcessUtilityContext context, ParamListInfo parameters, QueryEnvironment* environment,
             DestReceiver* destination, QueryCompletion* completion) {
  const auto next = previous_utility ? previous_utility : standard_ProcessUtility;
  next(planned, query, read_only_tree, context, parameters, environment, destination, completion);
}

void process(PlannedStmt* planned, const char* query, bool read_only_tree,
             ProcessUtilityContext context, ParamListInfo parameters, QueryEnvironment* environment,
             DestReceiver* destination, QueryCompletion* completion) {
  Node* statement = planned->utilityStmt;
  if (buffer_ready() && IsUnderPostmaster) {
    if (IsTransactionState()) attachments::catch_up();
    if (IsA(statement, TruncateStmt) ||
        (IsA(statement, CopyStmt) && castNode(CopyStmt, statement)->is_from))
      row_cache::note_writes();
    if (IsA(statement, CopyStmt)) {
      // PostgreSQL's own checks for a COPY in a read-only or parallel context come with its own
      // path.
      if (capture_copy::try_copy(castNode(CopyStmt, statement), query, completion)) return;
      pass_on(copy_out::read_pending(planned), query, read_only_tree, context, parameters,
              environment, destination, completion);
      return;
    } else {
      send_worker_away(statement);
      if (IsTransactionState()) {
        refuse_to_rename_schema(statement);
        ddl::before(statement);
      }
      if (is_ddl(statement)) {
        ++running_ddl;
        PG_TRY();
        {
          pass_on(planned, query, read_only_tree, context, parameters, environment, destination,
                  completion);
          ddl::after(statement);
        }
        PG_FINALLY();
        { --running_ddl; }
        PG_END_TRY();
        return;
      }
    }
  }
  pass_on(planned, query, read_only_tree, context, parameters, environment, destination,
          completion);
}

}  // namespace

bool is_ddl_running() { return running_ddl > 0; }

void install_hook() {
  previous_utility = ProcessUtility_hook;
  ProcessUtility_hook = process;
  ddl::install_hook();
}

}  // namespace pgwc::utility
