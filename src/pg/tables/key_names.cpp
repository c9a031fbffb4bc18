#include "pg/tables/key_names.hpp"

#include "pg/tables/attachment.hpp"
#include "pg/tables/catalog.hpp"

extern "C" {
#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
}

namespace pgwc::key_names {

namespace {

// As it will be; null if the column has gone.
char* new_name(Oid relation, AttrNumber column) {
  ScanKeyData keys[2];
  ScanKeyInit(&keys[0], Anum_pg_attribute_attrelid, BTEqualStrategyNumber, F_OIDEQ,
              ObjectIdGetDatum(relation));
  ScanKeyInit(&keys[1], Anum_pg_attribute_attnum, BTEqualStrategyNumber, F_INT2EQ,
              Int16GetDatum(column));
  Relation catalog = table_open(AttributeRelationId, AccessShareLock);
  SysScanDesc scan =
      systable_beginscan(catalog, AttributeRelidNumIndexId, true, SnapshotSelf, 2, keys);
  const HeapTuple tuple = systable_getnext(scan);
  char* name =
      HeapTupleIsValid(tuple)
          ? pstrdup(NameStr(reinterpret_cast<Form_pg_attribute>(GETSTRUCT(tuple))->attname))
          : nullptr;
  systable_endscan(scan);
  table_close(catalog, AccessShareLock);
  return name;
}

// The names with one replaced; 0 if it is not among them.
Datum replaced(Datum names, const char* before, const char* after) {
  Datum* each;
  int count;
  deconstruct_array(DatumGetArrayTypeP(names), TEXTOID, -1, false, TYPALIGN_INT, &each, nullptr,
                    &count);
  for (int i = 0; i < count; ++i) {
    if (strcmp(TextDatumGetCString(each[i]), before) != 0) continue;
    each[i] = CStringGetTextDatum(after);
    return PointerGetDatum(construct_array(each, count, TEXTOID, -1, false, TYPALIGN_INT));
  }
  return 0;
}

}  // namespace

void follow(Oid relation, AttrNumber column) {
  const Attachment* attachment = attachments::find(relation);
  if (attachment == nullptr || attachment->mode == Mode::kWriteBack) return;
  catalog::AttachedRow row;
  if (!catalog::read_attached(relation, &row) || row.nulls[catalog::kKey - 1]) return;
  const char* before = get_attname(relation, column, true);
  const char* after = new_name(relation, column);
  if (before == nullptr || after == nullptr || strcmp(before, after) == 0) return;
  const Datum names = replaced(row.values[catalog::kKey - 1], before, after);
  if (names == 0) return;
  row.values[catalog::kKey - 1] = names;
  catalog::update_attached(relation, row);
}

}  // namespace pgwc::key_names
