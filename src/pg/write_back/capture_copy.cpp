#include "pg/write_back/capture_copy.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/server/settings.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/tables/utility.hpp"
#include "pg/write_back/check_row.hpp"
#include "pg/write_back/staging.hpp"

extern "C" {
#include "access/sysattr.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "commands/copy.h"
#include "commands/progress.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/backend_progress.h"
#include "utils/rls.h"
}

namespace pgwc::capture_copy {

namespace {

// Options that change what happens to a row that cannot be read, or how rows are stored; the plain
// path knows them.
bool has_foreign_options(const CopyStmt* statement) {
  ListCell* cell;
  foreach (cell, statement->options) {
    const char* name = lfirst_node(DefElem, cell)->defname;
    if (strcmp(name, "freeze") == 0 || strcmp(name, "on_error") == 0 ||
        strcmp(name, "reject_limit") == 0)
      return true;
  }
  return false;
}

Attachment* captured_target(const CopyStmt* statement) {
  if (!statement->is_from || statement->relation == nullptr || !settings::capture ||
      settings::bulk_bypass_kb == 0 || IsolationIsSerializable() || IsInParallelMode() ||
      XactReadOnly || stores_for_replication() || utility::is_ddl_running() ||
      has_foreign_options(statement))
    return nullptr;
  const Oid relation = RangeVarGetRelid(statement->relation, RowExclusiveLock, true);
  return OidIsValid(relation) ? attachments::find_write_back(relation) : nullptr;
}

// As COPY itself: files and programs are for those who may read them.
void check_source(const CopyStmt* statement) {
  if (statement->filename == nullptr) return;
  if (statement->is_program && !has_privs_of_role(GetUserId(), ROLE_PG_EXECUTE_SERVER_PROGRAM))
    compat::raise_copy_denied("pg_execute_server_program", "to or from an external program");
  if (!statement->is_program && !has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
    compat::raise_copy_denied("pg_read_server_files", "from a file");
}

// The WHERE clause as COPY transforms it.
List* transform_where(ParseState* pstate, ParseNamespaceItem* item, Node* clause) {
  if (clause == nullptr) return NIL;
  addNSItemToQuery(pstate, item, false, true, true);
  Node* expression = transformExpr(pstate, clause, EXPR_KIND_COPY_WHERE);
  expression = coerce_to_boolean(pstate, expression, "WHERE");
  assign_expr_collations(pstate, expression);
  expression = eval_const_expressions(nullptr, expression);
  expression =
      reinterpret_cast<Node*>(canonicalize_qual(reinterpret_cast<Expr*>(expression), false));
  return make_ands_implicit(reinterpret_cast<Expr*>(expression));
}

// WHERE over generated columns, and everything else unusual, is refused or handled by the plain
// path.
bool where_needs_plain_path(Relation relation, const List* where) {
  Bitmapset* columns = nullptr;
  pull_varattnos(reinterpret_cast<Node*>(const_cast<List*>(where)), 1, &columns);
  int member = -1;
  while ((member = bms_next_member(columns, member)) >= 0) {
    const int column = member + FirstLowInvalidHeapAttributeNumber;
    if (column < 0) return true;
    if (column == 0 ||
        TupleDescAttr(RelationGetDescr(relation), column - 1)->attgenerated != '\0') {
      const TupleConstr* constraints = RelationGetDescr(relation)->constr;
      if (column > 0 || (constraints != nullptr && constraints->has_generated_stored)) return true;
    }
  }
  return false;
}

std::uint64_t copy_rows(CopyFromState source, Relation relation, ParseState* pstate,
                        const List* where, Stage* stage, bool allow_triggers) {
  EState* estate = CreateExecutorState();
  compat::init_range_table(estate, pstate);
  auto* target = makeNode(ResultRelInfo);
  ExecInitResultRelation(estate, target, 1);
  compat::check_valid_result_rel(target);
  RowCheck check;
  begin_check(&check, estate, target);
  ExprContext* context = GetPerTupleExprContext(estate);
  ExprState* filter = ExecInitQual(const_cast<List*>(where), nullptr);
  TupleTableSlot* row = ExecInitExtraTupleSlot(estate, RelationGetDescr(relation), &TTSOpsVirtual);

  ErrorContextCallback line{error_context_stack, CopyFromErrorCallback, source};
  error_context_stack = &line;
  std::uint64_t rows = 0;
  std::uint64_t excluded = 0;
  for (;;) {
    CHECK_FOR_INTERRUPTS();
    ResetPerTupleExprContext(estate);
    MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
    ExecClearTuple(row);
    const bool more = NextCopyFrom(source, context, row->tts_values, row->tts_isnull);
    if (more) {
      ExecStoreVirtualTuple(row);
      row->tts_tableOid = RelationGetRelid(relation);
      context->ecxt_scantuple = row;
      if (where != NIL && !ExecQual(filter, context)) {
        pgstat_progress_update_param(PROGRESS_COPY_TUPLES_EXCLUDED,
                                     static_cast<std::int64_t>(++excluded));
      } else {
        check_row(&check, row);
        if (check.triggers_met && !allow_triggers) staging::write_through(stage);
        staging::append(stage, relation, row);
        pgstat_progress_update_param(PROGRESS_COPY_TUPLES_PROCESSED,
                                     static_cast<std::int64_t>(++rows));
      }
    }
    MemoryContextSwitchTo(old);
    if (!more) break;
  }
  error_context_stack = line.previous;
  staging::end_statement(stage, relation);
  end_check(&check);
  ExecResetTupleTable(estate->es_tupleTable, false);
  ExecCloseResultRelations(estate);
  ExecCloseRangeTableRelations(estate);
  FreeExecutorState(estate);
  return rows;
}

}  // namespace

bool try_copy(CopyStmt* statement, const char* query, QueryCompletion* completion) {
  Attachment* attachment = captured_target(statement);
  if (attachment == nullptr) return false;
  const Oid relid = attachment->relation;
  Relation relation = table_open(relid, NoLock);
  while (attachment != nullptr && !attachment->shape_known) {
    attachments::learn_shape(attachment, relation);
    attachment = attachments::find_write_back(relid);
  }
  ParseState* pstate = make_parsestate(nullptr);
  pstate->p_sourcetext = query;
  ParseNamespaceItem* item =
      addRangeTableEntryForRelation(pstate, relation, RowExclusiveLock, nullptr, false, false);
  compat::require_insert(item);
  // What must be decided before anything is read from the client.
  bool plain = attachment == nullptr || attachment->insert_rules ||
               (attachment->insert_triggers && !attachment->allow_triggers) ||
               check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED;
  List* where = NIL;
  if (!plain) {
    where =
        transform_where(pstate, item, static_cast<Node*>(copyObjectImpl(statement->whereClause)));
    plain = where_needs_plain_path(relation, where);
  }
  // Looked up again: what the WHERE clause needed of the catalog may have moved it.
  attachment = attachments::find_write_back(relid);
  if (attachment == nullptr) plain = true;
  if (plain) {
    table_close(relation, NoLock);
    return false;
  }
  check_source(statement);
  compat::check_insert_permissions(
      pstate, item, CopyGetAttnums(RelationGetDescr(relation), relation, statement->attlist));
  const bool allow_triggers = attachment->allow_triggers;
  Stage* stage = staging::open(relation, attachment);
  if (stage == nullptr) {
    table_close(relation, NoLock);
    return false;
  }
  CopyFromState source =
      BeginCopyFrom(pstate, relation, reinterpret_cast<Node*>(where), statement->filename,
                    statement->is_program, nullptr, statement->attlist, statement->options);
  const std::uint64_t rows = copy_rows(source, relation, pstate, where, stage, allow_triggers);
  EndCopyFrom(source);
  table_close(relation, NoLock);
  free_parsestate(pstate);
  if (completion != nullptr) SetQueryCompletion(completion, CMDTAG_COPY, rows);
  return true;
}

}  // namespace pgwc::capture_copy
