// What differs between the supported versions of PostgreSQL (15 to 18). Nothing else in the tree
// asks for the version.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "access/genam.h"
#include "access/tupconvert.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/copy.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/plannodes.h"
#include "optimizer/appendinfo.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/sinvaladt.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/fmgroids.h"
#include "utils/selfuncs.h"
#if PG_VERSION_NUM >= 160000
#include "parser/parse_relation.h"
#endif
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#endif
}

namespace pgwc::compat {

inline int my_proc_number() {
#if PG_VERSION_NUM >= 170000
  return MyProcNumber;
#else
  return MyProc->pgprocno;
#endif
}

// Null if it has ended.
inline PGPROC* process_of(const VirtualTransactionId& transaction) {
#if PG_VERSION_NUM >= 170000
  return ProcNumberGetProc(transaction.procNumber);
#else
  return BackendIdGetProc(transaction.backendId);
#endif
}

// The i-th entry, from 1, of this process's copy of what all sessions are doing.
inline LocalPgBackendStatus* local_status(int i) {
#if PG_VERSION_NUM >= 160000
  return pgstat_get_local_beentry_by_index(i);
#else
  return pgstat_fetch_stat_local_beentry(i);
#endif
}

inline Latch* latch_of(int proc_number) { return &ProcGlobal->allProcs[proc_number].procLatch; }

// The oldest transaction whose fate the commit log still knows.
inline TransactionId oldest_clog_xid() {
#if PG_VERSION_NUM >= 170000
  return TransamVariables->oldestClogXid;
#else
  return ShmemVariableCache->oldestClogXid;
#endif
}

inline void check_valid_result_rel(ResultRelInfo* relation) {
#if PG_VERSION_NUM >= 180000
  CheckValidResultRel(relation, CMD_INSERT, ONCONFLICT_NONE, NIL);
#elif PG_VERSION_NUM >= 170000
  CheckValidResultRel(relation, CMD_INSERT, NIL);
#else
  CheckValidResultRel(relation, CMD_INSERT);
#endif
}

inline bool is_owner(Oid catalog, Oid object, Oid user) {
#if PG_VERSION_NUM >= 160000
  return object_ownercheck(catalog, object, user);
#else
  switch (catalog) {
    case RelationRelationId:
      return pg_class_ownercheck(object, user);
    case ExtensionRelationId:
      return pg_extension_ownercheck(object, user);
    case DatabaseRelationId:
      return pg_database_ownercheck(object, user);
    case NamespaceRelationId:
      return pg_namespace_ownercheck(object, user);
    case ForeignServerRelationId:
      return pg_foreign_server_ownercheck(object, user);
    case ForeignDataWrapperRelationId:
      return pg_foreign_data_wrapper_ownercheck(object, user);
    default:
      Assert(catalog == TypeRelationId);
      return pg_type_ownercheck(object, user);
  }
#endif
}

inline MinimalTuple form_minimal_tuple(TupleDesc desc, Datum* values, bool* nulls) {
#if PG_VERSION_NUM >= 180000
  return heap_form_minimal_tuple(desc, values, nulls, 0);
#else
  return heap_form_minimal_tuple(desc, values, nulls);
#endif
}

inline MinimalTuple copy_minimal_tuple(HeapTuple tuple) {
#if PG_VERSION_NUM >= 180000
  return minimal_tuple_from_heap_tuple(tuple, 0);
#else
  return minimal_tuple_from_heap_tuple(tuple);
#endif
}

inline LocalTransactionId local_transaction() {
#if PG_VERSION_NUM >= 170000
  return MyProc->vxid.lxid;
#else
  return MyProc->lxid;
#endif
}

// The first columns only; without defaults and constraints.
inline TupleDesc first_columns(TupleDesc desc, int count) {
#if PG_VERSION_NUM >= 180000
  return CreateTupleDescTruncatedCopy(desc, count);
#else
  TupleDesc copy = CreateTupleDescCopy(desc);
  copy->natts = count;
  return copy;
#endif
}

// An expression over the topmost parent of a partition, or of a join of partitions, becomes one
// over these.
inline Node* translate_to_child(PlannerInfo* root, Node* node, RelOptInfo* child) {
#if PG_VERSION_NUM >= 160000
  return adjust_appendrel_attrs_multilevel(root, node, child, child->top_parent);
#else
  return adjust_appendrel_attrs_multilevel(root, node, child->relids, child->top_parent_relids);
#endif
}

inline bool holds_lock(const LOCKTAG& tag, LOCKMODE mode) {
#if PG_VERSION_NUM >= 170000
  return LockHeldByMe(&tag, mode, false);
#else
  return LockHeldByMe(&tag, mode);
#endif
}

// Null if the columns are the same.
inline AttrMap* attribute_map(TupleDesc from, TupleDesc to) {
#if PG_VERSION_NUM >= 160000
  return build_attrmap_by_name_if_req(from, to, false);
#else
  return build_attrmap_by_name_if_req(from, to);
#endif
}

inline TupleConversionMap* root_to_child_map(ResultRelInfo* leaf, EState* estate) {
#if PG_VERSION_NUM >= 160000
  return ExecGetRootToChildMap(leaf, estate);
#else
  (void)estate;
  return leaf->ri_RootToPartitionMap;
#endif
}

// Whether the query names the relation itself; else it comes by inheritance.
inline bool is_named(const RangeTblEntry* entry) {
#if PG_VERSION_NUM >= 160000
  return entry->perminfoindex != 0;
#else
  return entry->requiredPerms != 0;
#endif
}

// The columns that the statement sets in a relation that it names.
inline const Bitmapset* updated_columns(const PlannedStmt* statement, RangeTblEntry* entry) {
#if PG_VERSION_NUM >= 160000
  return getRTEPermissionInfo(statement->permInfos, entry)->updatedCols;
#else
  (void)statement;
  return entry->updatedCols;
#endif
}

inline bool walk_expression(Node* node, bool (*walker)(Node*, void*), void* context) {
#if PG_VERSION_NUM >= 160000
  return expression_tree_walker(node, walker, context);
#else
  return expression_tree_walker(
      node, reinterpret_cast<bool (*)()>(reinterpret_cast<void (*)()>(walker)), context);
#endif
}

inline Node* mutate_expression(Node* node, Node* (*mutator)(Node*, void*), void* context) {
#if PG_VERSION_NUM >= 160000
  return expression_tree_mutator(node, mutator, context);
#else
  return expression_tree_mutator(
      node, reinterpret_cast<Node* (*)()>(reinterpret_cast<void (*)()>(mutator)), context);
#endif
}

#if PG_VERSION_NUM >= 170000
inline constexpr bool kMergeReturns = true;
#else
inline constexpr bool kMergeReturns = false;
#endif

// The subtransaction that gave the relation another file, of those that are not undone.
inline SubTransactionId first_storage_change(Relation relation) {
#if PG_VERSION_NUM >= 160000
  return relation->rd_firstRelfilelocatorSubid;
#else
  return relation->rd_firstRelfilenodeSubid;
#endif
}

inline bool walk_query(Query* query, bool (*walker)(Node*, void*), void* context) {
#if PG_VERSION_NUM >= 160000
  return query_tree_walker(query, walker, context, 0);
#else
  return query_tree_walker(
      query, reinterpret_cast<bool (*)()>(reinterpret_cast<void (*)()>(walker)), context, 0);
#endif
}

// Whether the function says how a value is stored.
inline bool tells_storage(Oid function) {
#if PG_VERSION_NUM >= 170000
  if (function == F_PG_COLUMN_TOAST_CHUNK_ID) return true;
#endif
  return function == F_PG_COLUMN_SIZE || function == F_PG_COLUMN_COMPRESSION;
}

// Whether rows have columns that are computed when they are read.
inline bool has_virtual_columns(TupleDesc desc) {
#if PG_VERSION_NUM >= 180000
  return desc->constr != nullptr && desc->constr->has_generated_virtual;
#else
  (void)desc;
  return false;
#endif
}

inline bool sorts_down(const PathKey* key) {
#if PG_VERSION_NUM >= 180000
  return key->pk_cmptype == COMPARE_GT;
#else
  return key->pk_strategy == BTGreaterStrategyNumber;
#endif
}

// The operator by which values of the type are in the order of the key.
inline Oid sort_operator(const PathKey* key, Oid type) {
#if PG_VERSION_NUM >= 180000
  return get_opfamily_member_for_cmptype(key->pk_opfamily, type, type, key->pk_cmptype);
#else
  return get_opfamily_member(key->pk_opfamily, type, type,
                             static_cast<std::int16_t>(key->pk_strategy));
#endif
}

inline Relation target_relation(EState* estate, Index index) {
#if PG_VERSION_NUM >= 180000
  return ExecGetRangeTableRelation(estate, index, true);
#else
  return ExecGetRangeTableRelation(estate, index);
#endif
}

inline List* insert_index_tuples(ResultRelInfo* relation, TupleTableSlot* slot, EState* estate) {
#if PG_VERSION_NUM >= 160000
  return ExecInsertIndexTuples(relation, slot, estate, false, false, nullptr, NIL, false);
#else
  return ExecInsertIndexTuples(relation, slot, estate, false, false, nullptr, NIL);
#endif
}

// Whether an expression asks for OLD or NEW rows, which only the executor's own INSERT can give.
inline bool is_plain_var(const Var* var) {
#if PG_VERSION_NUM >= 180000
  return var->varreturningtype == VAR_RETURNING_DEFAULT;
#else
  (void)var;
  return true;
#endif
}

// Gives an executor state the range table of a parse.
inline void init_range_table(EState* estate, ParseState* pstate) {
#if PG_VERSION_NUM >= 180000
  ExecInitRangeTable(estate, pstate->p_rtable, pstate->p_rteperminfos, bms_make_singleton(1));
#elif PG_VERSION_NUM >= 160000
  ExecInitRangeTable(estate, pstate->p_rtable, pstate->p_rteperminfos);
#else
  ExecInitRangeTable(estate, pstate->p_rtable);
#endif
}

// The permissions that COPY into a table needs, as COPY itself asks for them: INSERT, before a
// WHERE clause adds the columns it reads; then on the columns that are given.
inline void require_insert(ParseNamespaceItem* item) {
#if PG_VERSION_NUM >= 160000
  item->p_perminfo->requiredPerms = ACL_INSERT;
#else
  item->p_rte->requiredPerms = ACL_INSERT;
#endif
}

inline void check_insert_permissions(ParseState* pstate, ParseNamespaceItem* item, List* attnums) {
#if PG_VERSION_NUM >= 160000
  RTEPermissionInfo* info = item->p_perminfo;
#else
  RangeTblEntry* info = item->p_rte;
#endif
  ListCell* cell;
  foreach (cell, attnums)
    info->insertedCols =
        bms_add_member(info->insertedCols, lfirst_int(cell) - FirstLowInvalidHeapAttributeNumber);
#if PG_VERSION_NUM >= 160000
  ExecCheckPermissions(pstate->p_rtable, list_make1(info), true);
#else
  ExecCheckRTPerms(pstate->p_rtable, true);
#endif
}

// Makes a planned statement ask for no permissions on tables.
inline void ask_no_permissions(const PlannedStmt* statement) {
  ListCell* cell;
#if PG_VERSION_NUM >= 160000
  foreach (cell, statement->permInfos) lfirst_node(RTEPermissionInfo, cell)->requiredPerms = 0;
#else
  foreach (cell, statement->rtable) lfirst_node(RangeTblEntry, cell)->requiredPerms = 0;
#endif
}

// Where a relation is stored, and the number of its file.
inline auto storage_of(Relation relation) {
#if PG_VERSION_NUM >= 160000
  return relation->rd_locator;
#else
  return relation->rd_node;
#endif
}

inline std::uint32_t storage_number(Relation relation) {
#if PG_VERSION_NUM >= 160000
  return relation->rd_locator.relNumber;
#else
  return relation->rd_node.relNode;
#endif
}

inline IndexScanDesc begin_index_scan(Relation table, Relation index, Snapshot snapshot,
                                      int key_count) {
#if PG_VERSION_NUM >= 180000
  return index_beginscan(table, index, snapshot, nullptr, key_count, 0);
#else
  return index_beginscan(table, index, snapshot, key_count, 0);
#endif
}

// The session with this number, of those that there are; 1 is the first.
inline const PgBackendStatus* session_status(int number) {
#if PG_VERSION_NUM >= 160000
  return &pgstat_get_local_beentry_by_index(number)->backendStatus;
#else
  return &pgstat_fetch_stat_local_beentry(number)->backendStatus;
#endif
}

// How many elements an array expression is expected to have.
inline double array_length(PlannerInfo* root, Node* array) {
#if PG_VERSION_NUM >= 170000
  return estimate_array_length(root, array);
#else
  (void)root;
  return estimate_array_length(array);
#endif
}

// COPY's own words for who may not read the server's files or run programs on it.
[[noreturn]] inline void raise_copy_denied(const char* role, const char* what) {
  constexpr char kHint[] =
      "Anyone can COPY to stdout or from stdin. psql's \\copy command also works for anyone.";
#if PG_VERSION_NUM >= 160000
  ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
          errmsg("permission denied to COPY %s", what),
          errdetail("Only roles with privileges of the \"%s\" role may COPY %s.", role, what),
          errhint("%s", kHint));
#else
  ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
          errmsg("must be superuser or have privileges of the %s role to COPY %s", role, what),
          errhint("%s", kHint));
#endif
  pg_unreachable();
}

}  // namespace pgwc::compat
