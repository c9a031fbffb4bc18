// SQL function pending: the rows of a table that are in the buffer and not in the table.
#include "pg/boundary/compat.hpp"
#include "pg/live_read/paths.hpp"
#include "pg/live_read/source_rows.hpp"
#include "pg/server/shmem.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/tables/row_type.hpp"
#include "pg/write_back/departures.hpp"

extern "C" {
#include "catalog/pg_inherits.h"
#include "funcapi.h"
#include "utils/rls.h"
}

using namespace pgwc;

namespace {

void require_no_policy(Oid relation) {
  if (check_enable_rls(relation, InvalidOid, false) != RLS_ENABLED) return;
  ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
          errmsg("pending rows of table \"%s\" cannot be shown alone where row security applies",
                 get_rel_name(relation)),
          errhint("SELECT from the table: its policies apply to pending rows, too."));
}

// The attached relations whose buffers hold rows of this one: itself, what it is a partition of,
// and its partitions.
List* sources_of(Relation relation) {
  List* sources = live_read::sources_of(RelationGetRelid(relation), false);
  if (relation->rd_rel->relkind != RELKIND_PARTITIONED_TABLE) return sources;
  ListCell* cell;
  foreach (cell, find_all_inheritors(RelationGetRelid(relation), AccessShareLock, nullptr))
    if (attachments::find_write_back(lfirst_oid(cell)) != nullptr)
      sources = list_append_unique_oid(sources, lfirst_oid(cell));
  return sources;
}

void put_rows(Relation relation, Oid source, TupleTableSlot* slot, EState* estate,
              Tuplestorestate* result) {
  departures::check(source, GetActiveSnapshot());
  live_read::SourceRows rows{};
  if (!live_read::open(&rows, relation, source, GetActiveSnapshot())) return;
  while (MinimalTuple tuple = live_read::next(&rows.reader)) {
    ResetPerTupleExprContext(estate);
    if (live_read::show(&rows, tuple, slot, estate)) tuplestore_puttupleslot(result, slot);
  }
  live_read::close(&rows);
}

}  // namespace

PGWC_FUNCTION(pgwc_pending) {
  require_buffer();
  const Oid relid = relation_of_type(fcinfo);
  require_select(relid);
  InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC | MAT_SRF_BLESS);
  auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
  Relation relation = relation_open(relid, AccessShareLock);
  require_no_policy(relid);
  List* sources = sources_of(relation);
  if (sources == NIL)
    ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
            errmsg("table \"%s\" is not attached as write_back", RelationGetRelationName(relation)),
            errhint("Attach it with writecache.attach()."));
  if (attachments::layout_fingerprint(result->setDesc) !=
      attachments::layout_fingerprint(RelationGetDescr(relation)))
    ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
            errmsg("columns of table \"%s\" have changed since the query was planned",
                   RelationGetRelationName(relation)),
            errhint("Prepare the query again."));
  EState* estate = CreateExecutorState();
  TupleTableSlot* slot = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsVirtual);
  MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);
  ListCell* cell;
  foreach (cell, sources) put_rows(relation, lfirst_oid(cell), slot, estate, result->setResult);
  MemoryContextSwitchTo(old);
  ExecDropSingleTupleTableSlot(slot);
  FreeExecutorState(estate);
  relation_close(relation, NoLock);
  PG_RETURN_VOID();
}
