#include "pg/tables/catalog.hpp"

#include <algorithm>

#include "pg/boundary/compat.hpp"

extern "C" {
#include "access/genam.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "commands/sequence.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/syscache.h"
}

namespace pgwc::catalog {

namespace {

constexpr char kAttached[] = "attached";
constexpr char kAttachedByRelation[] = "attached_pkey";
constexpr char kAttachedByNumber[] = "attached_attachment_key";
constexpr char kWatermark[] = "watermark";
constexpr char kWatermarkByNumber[] = "watermark_pkey";

enum WatermarkColumn : int {
  kWatermarkAttachment = 1,
  kIncarnation,
  kSeq,
  kWatermarkColumns = kSeq
};

// A look-up of at most one row by its key. Tables of the extension are few and small, but a session
// may hold no lock on them between two look-ups.
struct Lookup {
  Relation table;
  SysScanDesc scan;
  HeapTuple tuple;  // null if there is none
};

// False if the extension is not in this database.
bool try_begin(Lookup* lookup, const char* table_name, const char* index_name, ScanKey key,
               LOCKMODE lock) {
  const Oid table = relation_named(table_name);
  const Oid index = OidIsValid(table) ? relation_named(index_name) : InvalidOid;
  if (!OidIsValid(index)) return false;
  lookup->table = table_open(table, lock);
  lookup->scan = systable_beginscan(lookup->table, index, true, nullptr, 1, key);
  lookup->tuple = systable_getnext(lookup->scan);
  return true;
}

void end(const Lookup& lookup) {
  systable_endscan(lookup.scan);
  table_close(lookup.table, NoLock);
}

Lookup begin(const char* table_name, const char* index_name, ScanKey key, LOCKMODE lock) {
  Lookup lookup;
  if (!try_begin(&lookup, table_name, index_name, key, lock))
    ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE),
            errmsg("table writecache.%s is missing", table_name),
            errhint("Create the extension pg_writecache in this database."));
  return lookup;
}

ScanKeyData by_relation(Oid relation) {
  ScanKeyData key;
  ScanKeyInit(&key, kRelation, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relation));
  return key;
}

ScanKeyData by_number(AttrNumber column, std::int32_t number) {
  ScanKeyData key;
  ScanKeyInit(&key, column, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(number));
  return key;
}

HeapTuple form(Relation table, const AttachedRow& row) {
  return heap_form_tuple(RelationGetDescr(table), const_cast<Datum*>(row.values),
                         const_cast<bool*>(row.nulls));
}

}  // namespace

Relation open_named(Oid relation, LOCKMODE lock) {
  Relation opened = try_relation_open(relation, lock);
  if (opened == nullptr)
    ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE),
            errmsg("relation with OID %u does not exist", relation));
  return opened;
}

Relation open_owned(Oid relation, LOCKMODE lock) {
  const auto check = [&] {
    if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)) &&
        !compat::is_owner(RelationRelationId, relation, GetUserId()))
      aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relation)),
                     get_rel_name(relation));
  };
  check();
  Relation opened = open_named(relation, lock);
  check();  // it may have got another owner meanwhile
  return opened;
}

Oid relation_named(const char* name) {
  const Oid schema = get_namespace_oid("writecache", true);
  return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

bool read_attached(Oid relation, AttachedRow* row) {
  ScanKeyData key = by_relation(relation);
  Lookup lookup;
  if (!try_begin(&lookup, kAttached, kAttachedByRelation, &key, AccessShareLock)) return false;
  const bool found = HeapTupleIsValid(lookup.tuple);
  if (found)
    heap_deform_tuple(heap_copytuple(lookup.tuple), RelationGetDescr(lookup.table), row->values,
                      row->nulls);
  end(lookup);
  return found;
}

void insert_attached(const AttachedRow& row) {
  Relation table = table_open(relation_named(kAttached), RowExclusiveLock);
  CatalogTupleInsert(table, form(table, row));
  CacheInvalidateRelcache(table);  // sessions remember whether there are attached tables
  table_close(table, NoLock);
}

void update_attached(Oid relation, const AttachedRow& row) {
  ScanKeyData key = by_relation(relation);
  Lookup lookup = begin(kAttached, kAttachedByRelation, &key, RowExclusiveLock);
  if (HeapTupleIsValid(lookup.tuple))
    CatalogTupleUpdate(lookup.table, &lookup.tuple->t_self, form(lookup.table, row));
  end(lookup);
}

void delete_attached(Oid relation) {
  ScanKeyData key = by_relation(relation);
  Lookup lookup = begin(kAttached, kAttachedByRelation, &key, RowExclusiveLock);
  if (HeapTupleIsValid(lookup.tuple)) CatalogTupleDelete(lookup.table, &lookup.tuple->t_self);
  CacheInvalidateRelcache(lookup.table);
  end(lookup);
}

Oid relation_of(std::int32_t attachment) {
  ScanKeyData key = by_number(kAttachment, attachment);
  Lookup lookup;
  if (!try_begin(&lookup, kAttached, kAttachedByNumber, &key, AccessShareLock)) return InvalidOid;
  Oid relation = InvalidOid;
  if (HeapTupleIsValid(lookup.tuple)) {
    bool is_null;
    relation = DatumGetObjectId(
        heap_getattr(lookup.tuple, kRelation, RelationGetDescr(lookup.table), &is_null));
  }
  end(lookup);
  return relation;
}

List* all_attached() {
  List* result = NIL;
  const Oid table_oid = relation_named(kAttached);
  if (!OidIsValid(table_oid)) return NIL;
  Relation table = table_open(table_oid, AccessShareLock);
  SysScanDesc scan = systable_beginscan(table, InvalidOid, false, nullptr, 0, nullptr);
  while (HeapTuple tuple = systable_getnext(scan)) {
    bool is_null;
    result = lappend_oid(result, DatumGetObjectId(heap_getattr(tuple, kRelation,
                                                               RelationGetDescr(table), &is_null)));
  }
  systable_endscan(scan);
  table_close(table, AccessShareLock);
  return result;
}

std::uint64_t read_watermark(std::int32_t attachment, std::uint64_t incarnation) {
  ScanKeyData key = by_number(kWatermarkAttachment, attachment);
  Lookup lookup = begin(kWatermark, kWatermarkByNumber, &key, AccessShareLock);
  std::uint64_t seq = 0;
  if (HeapTupleIsValid(lookup.tuple)) {
    Datum values[kWatermarkColumns];
    bool nulls[kWatermarkColumns];
    heap_deform_tuple(lookup.tuple, RelationGetDescr(lookup.table), values, nulls);
    if (static_cast<std::uint64_t>(DatumGetInt64(values[kIncarnation - 1])) == incarnation)
      seq = static_cast<std::uint64_t>(DatumGetInt64(values[kSeq - 1]));
  }
  end(lookup);
  return seq;
}

void write_watermark(std::int32_t attachment, std::uint64_t incarnation, std::uint64_t seq) {
  Datum values[kWatermarkColumns] = {Int32GetDatum(attachment),
                                     Int64GetDatum(static_cast<std::int64_t>(incarnation)),
                                     Int64GetDatum(static_cast<std::int64_t>(seq))};
  bool nulls[kWatermarkColumns] = {};
  ScanKeyData key = by_number(kWatermarkAttachment, attachment);
  Lookup lookup = begin(kWatermark, kWatermarkByNumber, &key, RowExclusiveLock);
  HeapTuple tuple = heap_form_tuple(RelationGetDescr(lookup.table), values, nulls);
  if (HeapTupleIsValid(lookup.tuple))
    CatalogTupleUpdate(lookup.table, &lookup.tuple->t_self, tuple);
  else
    CatalogTupleInsert(lookup.table, tuple);
  heap_freetuple(tuple);
  end(lookup);
}

void delete_watermark(std::int32_t attachment) {
  ScanKeyData key = by_number(kWatermarkAttachment, attachment);
  Lookup lookup = begin(kWatermark, kWatermarkByNumber, &key, RowExclusiveLock);
  if (HeapTupleIsValid(lookup.tuple)) CatalogTupleDelete(lookup.table, &lookup.tuple->t_self);
  end(lookup);
}

namespace {

enum RejectedColumn : int {
  kId = 1,
  kTable,
  kRow,
  kExact,
  kLayout,
  kSqlstate,
  kMessage,
  kDetail,
  kConstraint,
  kAttempts,
  kFirst,
  kLast,
  kStagedBy,
  kColumns = kStagedBy,
};

Datum text_or_null(const char* text, bool* is_null) {
  *is_null = text == nullptr;
  return text == nullptr ? Datum{0} : CStringGetTextDatum(text);
}

void put_error(Datum* values, bool* nulls, const ErrorData* error) {
  values[kSqlstate - 1] = CStringGetTextDatum(unpack_sql_state(error->sqlerrcode));
  values[kMessage - 1] = text_or_null(error->message, &nulls[kMessage - 1]);
  values[kDetail - 1] = text_or_null(error->detail, &nulls[kDetail - 1]);
  values[kConstraint - 1] = text_or_null(error->constraint_name, &nulls[kConstraint - 1]);
  values[kLast - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
}

}  // namespace

void insert_rejection(const Rejection& rejection) {
  const Oid table_oid = relation_named("rejected_rows");
  if (!OidIsValid(table_oid))
    ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE),
            errmsg("table writecache.rejected_rows is missing"));
  Datum values[kColumns] = {};
  bool nulls[kColumns] = {};
  values[kId - 1] = Int64GetDatum(nextval_internal(relation_named("rejected_rows_id_seq"), false));
  values[kTable - 1] = ObjectIdGetDatum(rejection.relation);
  values[kRow - 1] = rejection.as_jsonb;
  nulls[kRow - 1] = !rejection.has_jsonb;
  auto* exact = static_cast<bytea*>(palloc(VARHDRSZ + rejection.row_bytes));
  SET_VARSIZE(exact, VARHDRSZ + rejection.row_bytes);
  memcpy(VARDATA(exact), rejection.row, rejection.row_bytes);
  values[kExact - 1] = PointerGetDatum(exact);
  values[kLayout - 1] = Int64GetDatum(rejection.layout);
  put_error(values, nulls, rejection.error);
  values[kAttempts - 1] = Int32GetDatum(1);
  values[kFirst - 1] = values[kLast - 1];
  values[kStagedBy - 1] = ObjectIdGetDatum(rejection.staged_by);
  nulls[kStagedBy - 1] = !OidIsValid(rejection.staged_by);
  Relation table = table_open(table_oid, RowExclusiveLock);
  CatalogTupleInsert(table, heap_form_tuple(RelationGetDescr(table), values, nulls));
  table_close(table, NoLock);
}

void delete_rejections(Oid relation) {
  ScanKeyData key;
  ScanKeyInit(&key, kTable, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relation));
  Lookup lookup;
  if (!try_begin(&lookup, "rejected_rows", "rejected_rows_by_relation", &key, RowExclusiveLock))
    return;
  for (; HeapTupleIsValid(lookup.tuple); lookup.tuple = systable_getnext(lookup.scan))
    CatalogTupleDelete(lookup.table, &lookup.tuple->t_self);
  end(lookup);
}

std::uint64_t count_rejections() {
  const Oid table_oid = relation_named("rejected_rows");
  if (!OidIsValid(table_oid)) return 0;
  Relation table = table_open(table_oid, AccessShareLock);
  SysScanDesc scan = systable_beginscan(table, InvalidOid, false, nullptr, 0, nullptr);
  std::uint64_t count = 0;
  while (HeapTupleIsValid(systable_getnext(scan))) ++count;
  systable_endscan(scan);
  table_close(table, AccessShareLock);
  return count;
}

std::uint64_t visit_rejected(Oid relation, const std::int64_t* id, RejectedVisitor visit,
                             void* context) {
  Relation table = table_open(relation_named("rejected_rows"), RowExclusiveLock);
  ScanKeyData keys[2];
  ScanKeyInit(&keys[0], kTable, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relation));
  ScanKeyInit(&keys[1], kId, BTEqualStrategyNumber, F_INT8EQ,
              Int64GetDatum(id == nullptr ? 0 : *id));
  Relation index = index_open(relation_named("rejected_rows_by_relation"), AccessShareLock);
  // A fixed snapshot: an updated row is not met again.
  Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
  SysScanDesc scan =
      systable_beginscan_ordered(table, index, snapshot, id == nullptr ? 1 : 2, keys);
  std::uint64_t deleted = 0;
  while (HeapTuple tuple = systable_getnext_ordered(scan, ForwardScanDirection)) {
    Datum values[kColumns];
    bool nulls[kColumns];
    heap_deform_tuple(tuple, RelationGetDescr(table), values, nulls);
    // The bytes were aligned in the buffer; a short varlena's are not.
    const bytea* exact = DatumGetByteaPCopy(values[kExact - 1]);
    RejectedRow row{reinterpret_cast<const std::byte*>(VARDATA(exact)), VARSIZE(exact) - VARHDRSZ,
                    static_cast<std::uint32_t>(DatumGetInt64(values[kLayout - 1])), nullptr};
    auto* aligned = static_cast<std::byte*>(palloc(row.row_bytes));
    memcpy(aligned, row.row, row.row_bytes);
    row.row = aligned;
    switch (visit(&row, context)) {
      case RejectedFate::kKeep:
        break;
      case RejectedFate::kDelete:
        CatalogTupleDelete(table, &tuple->t_self);
        ++deleted;
        break;
      case RejectedFate::kCountAttempt:
        put_error(values, nulls, row.error);
        values[kAttempts - 1] = Int32GetDatum(DatumGetInt32(values[kAttempts - 1]) + 1);
        CatalogTupleUpdate(table, &tuple->t_self,
                           heap_form_tuple(RelationGetDescr(table), values, nulls));
        break;
    }
  }
  systable_endscan_ordered(scan);
  UnregisterSnapshot(snapshot);
  index_close(index, AccessShareLock);
  table_close(table, NoLock);
  return deleted;
}

}  // namespace pgwc::catalog
