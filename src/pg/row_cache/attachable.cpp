#include "pg/row_cache/attachable.hpp"

#include "pg/row_cache/cache_key.hpp"
#include "pg/row_cache/store.hpp"

extern "C" {
#include "access/genam.h"
#include "catalog/catalog.h"
#include "catalog/pg_am.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
}

namespace pgwc::row_cache {

namespace {

[[noreturn]] void refuse(Relation relation, const char* detail, const char* hint) {
  ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
          errmsg("cannot cache rows of \"%s\"", RelationGetRelationName(relation)),
          errdetail("%s", detail), errhint("%s", hint));
  pg_unreachable();
}

void check_table(Relation relation, Datum key, bool has_staleness) {
  constexpr char kHint[] = "Attach an ordinary, unlogged or partitioned table.";
  const Form_pg_class form = relation->rd_rel;
  if (form->relpersistence == RELPERSISTENCE_TEMP)
    refuse(relation, "It is a temporary table.", kHint);
  if (form->relkind != RELKIND_PARTITIONED_TABLE && form->relam != HEAP_TABLE_AM_OID)
    refuse(relation, "Its access method is not heap.", kHint);
  if (has_staleness)
    ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("option \"max_staleness\" is for views and foreign tables"),
            errdetail("Cached rows of a table are never stale."));
  const char* reason;
  Relation index = cache_key::open_index(relation, key, &reason);
  if (index == nullptr)
    refuse(relation, reason, "Add one, or name the columns of a unique index with option \"key\".");
  index_close(index, NoLock);
}

// Rows that no place in a table stands behind.
void check_computed(Relation relation, Mode mode, Datum key, bool has_staleness) {
  if (mode == Mode::kWriteThrough)
    ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
            errmsg("mode write_through is for tables"),
            errhint("Use mode write_around or cache_aside."));
  if (!has_staleness)
    ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("option \"max_staleness\" is required to cache rows of \"%s\"",
                   RelationGetRelationName(relation)),
            errdetail("Nothing tells when the rows of a view or a foreign table change."),
            errhint("State how old a cached row may be, for example max_staleness => '5 s'."));
  if (key == 0)
    ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("option \"key\" is required to cache rows of \"%s\"",
                   RelationGetRelationName(relation)),
            errhint("Name the columns that at most one row has the same values of."));
  Datum* names;
  int count;
  deconstruct_array(DatumGetArrayTypeP(key), TEXTOID, -1, false, TYPALIGN_INT, &names, nullptr,
                    &count);
  for (int i = 0; i < count; ++i) {
    const char* name = TextDatumGetCString(names[i]);
    if (get_attnum(RelationGetRelid(relation), name) <= 0)
      ereport(ERROR, errcode(ERRCODE_UNDEFINED_COLUMN),
              errmsg("column \"%s\" of relation \"%s\" does not exist", name,
                     RelationGetRelationName(relation)));
  }
}

}  // namespace

void check_attachable(Relation relation, Mode mode, Datum key, bool has_staleness) {
  require();
  if (IsCatalogRelation(relation) || RelationGetRelid(relation) < FirstNormalObjectId)
    refuse(relation, "It is a system catalog.", "Attach a table of your own.");
  if (strcmp(get_namespace_name(RelationGetNamespace(relation)), "writecache") == 0)
    refuse(relation, "It is a table of the extension.", "Attach a table of your own.");
  switch (relation->rd_rel->relkind) {
    case RELKIND_RELATION:
    case RELKIND_PARTITIONED_TABLE:
    case RELKIND_MATVIEW:
      check_table(relation, key, has_staleness);
      break;
    case RELKIND_VIEW:
    case RELKIND_FOREIGN_TABLE:
      check_computed(relation, mode, key, has_staleness);
      break;
    default:
      refuse(relation, "It is neither a table nor a view.",
             "Attach a table, a view or a foreign table.");
  }
}

}  // namespace pgwc::row_cache
