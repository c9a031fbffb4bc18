#include "pg/row_cache/cache_key.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/tables/catalog.hpp"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "catalog/pg_am.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
}

namespace pgwc::row_cache {

namespace {

HTAB* known = nullptr;
const CachedKey* last_found = nullptr;  // statements and commits ask for the same one several times
std::uint64_t invalidations = 0;

void forget_all() {
  last_found = nullptr;
  if (known == nullptr) return;
  HASH_SEQ_STATUS scan;
  hash_seq_init(&scan, known);
  while (auto* entry = static_cast<CachedKey*>(hash_seq_search(&scan)))
    hash_search(known, &entry->relation, HASH_REMOVE, nullptr);
}

void forget(Datum, Oid relation) {
  ++invalidations;
  // A table's options concern its partitions, which are not named.
  (void)relation;
  forget_all();
}

void forget_operators(Datum, int, std::uint32_t) {
  ++invalidations;
  forget_all();
}

bool is_usable(Relation index) {
  const Form_pg_index form = index->rd_index;
  return index->rd_rel->relam == BTREE_AM_OID && form->indisunique && form->indimmediate &&
         form->indisvalid && form->indisready && form->indislive &&
         heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, nullptr) &&
         heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, nullptr);
}

// Whether the index's key columns are just those named, in any order, and compared as they are
// compared where no collation is named.
bool covers(Relation relation, Relation index, const Datum* names, int count) {
  const Form_pg_index form = index->rd_index;
  if (form->indnkeyatts != count) return false;
  Bitmapset* wanted = nullptr;
  for (int i = 0; i < count; ++i) {
    char* name = TextDatumGetCString(names[i]);
    const AttrNumber attribute = get_attnum(RelationGetRelid(relation), name);
    pfree(name);
    if (attribute > 0) wanted = bms_add_member(wanted, attribute);
  }
  for (int k = 0; k < count; ++k) {
    const AttrNumber attribute = form->indkey.values[k];
    if (!bms_is_member(attribute, wanted) ||
        index->rd_indcollation[k] !=
            TupleDescAttr(RelationGetDescr(relation), attribute - 1)->attcollation)
      return false;
    wanted = bms_del_member(wanted, attribute);
  }
  return true;
}

// The type whose values are hashed: an operator class for all enums, arrays, ranges or composite
// types does not name it.
Oid value_type(Relation relation, AttrNumber attribute, Oid input_type) {
  return IsPolymorphicType(input_type) || input_type == RECORDOID
             ? getBaseType(TupleDescAttr(RelationGetDescr(relation), attribute - 1)->atttypid)
             : input_type;
}

void describe(Relation relation, Relation index, CachedKey* key) {
  const Form_pg_index form = index->rd_index;
  key->index = RelationGetRelid(index);
  HeapTupleHeader header = index->rd_indextuple->t_data;
  key->index_xmin = HeapTupleHeaderGetXmin(header);
  key->count = form->indnkeyatts;
  for (int i = 0; i < key->count; ++i) {
    KeyColumn& column = key->columns[i];
    column.attribute = form->indkey.values[i];
    column.place = static_cast<std::int16_t>(i);
    column.opfamily = index->rd_opfamily[i];
    column.type = value_type(relation, column.attribute, index->rd_opcintype[i]);
    column.collation = index->rd_indcollation[i];
    column.equal_op = get_opfamily_member(column.opfamily, index->rd_opcintype[i],
                                          index->rd_opcintype[i], BTEqualStrategyNumber);
  }
}

void place_columns(Relation relation, Datum names, CachedKey* key) {
  Datum* named;
  int count;
  deconstruct_array(DatumGetArrayTypeP(names), TEXTOID, -1, false, TYPALIGN_INT, &named, nullptr,
                    &count);
  for (int n = 0; n < count; ++n) {
    const AttrNumber attribute =
        get_attnum(RelationGetRelid(relation), TextDatumGetCString(named[n]));
    for (int i = 0; i < key->count; ++i)
      if (key->columns[i].attribute == attribute)
        key->columns[i].place = static_cast<std::int16_t>(n);
  }
}

void describe_indexed(Relation relation, Datum names, CachedKey* key) {
  const char* reason;
  Relation index = cache_key::open_index(relation, names, &reason);
  if (index == nullptr) return;
  describe(relation, index, key);
  if (names != 0) place_columns(relation, names, key);
  key->cached = true;
  index_close(index, NoLock);
}

// Of a relation without indexes: the columns as their types compare them.
void describe_named(Relation relation, Datum names, CachedKey* key) {
  if (names == 0) return;
  Datum* wanted;
  int count;
  deconstruct_array(DatumGetArrayTypeP(names), TEXTOID, -1, false, TYPALIGN_INT, &wanted, nullptr,
                    &count);
  if (count > INDEX_MAX_KEYS) return;
  for (int i = 0; i < count; ++i) {
    KeyColumn& column = key->columns[i];
    column.attribute = get_attnum(RelationGetRelid(relation), TextDatumGetCString(wanted[i]));
    column.place = static_cast<std::int16_t>(i);
    if (column.attribute <= 0) return;
    const FormData_pg_attribute* attribute =
        TupleDescAttr(RelationGetDescr(relation), column.attribute - 1);
    const TypeCacheEntry* type = lookup_type_cache(getBaseType(attribute->atttypid),
                                                   TYPECACHE_EQ_OPR | TYPECACHE_BTREE_OPFAMILY);
    if (!OidIsValid(type->btree_opf) || !OidIsValid(type->eq_opr)) return;
    column.opfamily = type->btree_opf;
    column.type = IsPolymorphicType(type->btree_opintype) || type->btree_opintype == RECORDOID
                      ? type->type_id
                      : type->btree_opintype;
    column.collation = attribute->attcollation;
    column.equal_op = type->eq_opr;
  }
  key->count = count;
  key->cached = true;
}

void look_up(Oid relation, CachedKey* key) {
  const Attachment* attachment = attachments::find_cached(relation);
  if (attachment == nullptr) return;
  key->mode = attachment->mode;
  key->attached = attachment->relation;
  catalog::AttachedRow row;
  if (!catalog::read_attached(key->attached, &row)) return;
  Relation opened = try_relation_open(relation, AccessShareLock);
  if (opened == nullptr) return;
  const Datum names = row.nulls[catalog::kKey - 1] ? Datum{0} : row.values[catalog::kKey - 1];
  key->relkind = opened->rd_rel->relkind;
  switch (key->relkind) {
    case RELKIND_RELATION:
    case RELKIND_MATVIEW:
      if (opened->rd_rel->relam == HEAP_TABLE_AM_OID) describe_indexed(opened, names, key);
      break;
    case RELKIND_PARTITIONED_TABLE:
      describe_indexed(opened, names, key);
      key->index = InvalidOid;
      break;
    default:
      describe_named(opened, names, key);
  }
  relation_close(opened, AccessShareLock);
}

// Values that the type calls equal have equal bytes.
bool has_equal_images(const KeyColumn& column) {
  const Oid function =
      get_opfamily_proc(column.opfamily, column.type, column.type, BTEQUALIMAGE_PROC);
  return OidIsValid(function) && DatumGetBool(OidFunctionCall1Coll(function, column.collation,
                                                                   ObjectIdGetDatum(column.type)));
}

std::uint64_t hash_image(const KeyPart& part, Datum value) {
  if (part.by_value)
    return hash_bytes_uint32_extended(static_cast<std::uint32_t>(value), value >> 32);
  if (part.length > 0)
    return hash_bytes_extended(reinterpret_cast<const unsigned char*>(DatumGetPointer(value)),
                               part.length, 0);
  if (part.length == -2) {
    const char* text = DatumGetCString(value);
    return hash_bytes_extended(reinterpret_cast<const unsigned char*>(text),
                               static_cast<int>(strlen(text)), 0);
  }
  struct varlena* plain = PG_DETOAST_DATUM_PACKED(value);
  return hash_bytes_extended(reinterpret_cast<const unsigned char*>(VARDATA_ANY(plain)),
                             static_cast<int>(VARSIZE_ANY_EXHDR(plain)), 0);
}

}  // namespace

namespace cache_key {

void init() {
  CacheRegisterRelcacheCallback(forget, 0);
  CacheRegisterSyscacheCallback(AMOPOPID, forget_operators, 0);
}

const CachedKey* find(Oid relation) {
  if (last_found != nullptr && last_found->relation == relation) return last_found;
  if (attachments::is_stranger(relation)) return nullptr;
  if (known == nullptr) {
    HASHCTL control{};
    control.keysize = sizeof(Oid);
    control.entrysize = sizeof(CachedKey);
    known = hash_create("pg_writecache keys", 64, &control, HASH_ELEM | HASH_BLOBS);
  }
  auto* entry = static_cast<CachedKey*>(hash_search(known, &relation, HASH_FIND, nullptr));
  if (entry == nullptr) {
    auto* fresh = static_cast<CachedKey*>(palloc(sizeof(CachedKey)));
    std::uint64_t before;
    do {
      before = invalidations;
      *fresh = {};
      fresh->relation = relation;
      look_up(relation, fresh);
    } while (before != invalidations);
    entry = static_cast<CachedKey*>(hash_search(known, &relation, HASH_ENTER, nullptr));
    *entry = *fresh;
    pfree(fresh);
  }
  if (!entry->cached) return nullptr;
  last_found = entry;
  return entry;
}

const CachedKey& require(Oid relation) {
  LockRelationOid(relation, AccessShareLock);
  const CachedKey* key = find(relation);
  if (key == nullptr) {
    const bool attached = attachments::find_cached(relation) != nullptr;
    ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
            errmsg("rows of \"%s\" are not cached", get_rel_name(relation)),
            attached ? errdetail("It is attached, but has no usable unique index over the columns "
                                 "of its key any more.")
                     : 0,
            attached ? errhint("Make one, or name other columns with writecache.alter().")
                     : errhint("Attach it with writecache.attach() in mode write_around, "
                               "write_through or cache_aside."));
  }
  return *key;
}

const CachedKey* find_indexed(Oid relation) {
  const CachedKey* key = find(relation);
  return key != nullptr && OidIsValid(key->index) ? key : nullptr;
}

Relation open_index(Relation relation, Datum names, const char** reason) {
  Datum* wanted = nullptr;
  int count = 0;
  if (names != 0)
    deconstruct_array(DatumGetArrayTypeP(names), TEXTOID, -1, false, TYPALIGN_INT, &wanted, nullptr,
                      &count);
  List* indexes = RelationGetIndexList(relation);
  Relation found = nullptr;
  *reason = names == 0 ? "It has no primary key."
                       : "It has no unique, immediate, valid btree index over just these columns, "
                         "of the columns' collations, without predicate and expressions.";
  ListCell* cell;
  foreach (cell, indexes) {
    if (names == 0 && lfirst_oid(cell) != relation->rd_pkindex) continue;
    // The relation's lock keeps it.
    Relation index = index_open(lfirst_oid(cell), AccessShareLock);
    if (is_usable(index) && (names == 0 || covers(relation, index, wanted, count))) {
      found = index;
      break;
    }
    if (names == 0) *reason = "Its primary key is deferrable or not valid.";
    index_close(index, NoLock);
  }
  list_free(indexes);
  return found;
}

bool hash_function(const KeyColumn& column, Oid type, HashBy* by, Oid* function) {
  *function = InvalidOid;
  TypeCacheEntry* entry =
      lookup_type_cache(column.type, TYPECACHE_EQ_OPR | TYPECACHE_HASH_EXTENDED_PROC);
  // Containers have a hash function if what they contain has.
  if (OidIsValid(entry->hash_extended_proc) && entry->eq_opr == column.equal_op) {
    *by = HashBy::kFunction;
    *function = type == column.type
                    ? entry->hash_extended_proc
                    : get_opfamily_proc(entry->hash_opf, type, type, HASHEXTENDED_PROC);
    return OidIsValid(*function);
  }
  if (type != column.type) return false;
  *by = has_equal_images(column) ? HashBy::kImage : HashBy::kNothing;
  return true;
}

List* spaces_of(const CachedKey& key) {
  return key.relkind == RELKIND_PARTITIONED_TABLE
             ? find_all_inheritors(key.relation, AccessShareLock, nullptr)
             : list_make1_oid(key.relation);
}

}  // namespace cache_key

void make_key_part(KeyPart* part, AttrNumber attribute, Oid collation, Oid type, bool cross_type,
                   Oid equal_function, HashBy hash_by, Oid hash_function) {
  part->attribute = attribute;
  part->hash_by = hash_by;
  part->collation = collation;
  part->subtype = cross_type ? type : InvalidOid;
  get_typlenbyval(type, &part->length, &part->by_value);
  fmgr_info(equal_function, &part->equal);
  if (hash_by == HashBy::kFunction) fmgr_info(hash_function, &part->hash);
}

void make_key_part(KeyPart* part, const KeyColumn& column) {
  HashBy by;
  Oid function;
  (void)cache_key::hash_function(column, column.type, &by, &function);
  make_key_part(part, column.attribute, column.collation, column.type, false,
                get_opcode(column.equal_op), by, function);
}

std::uint64_t hash_key(KeyPart* parts, int count, const Datum* values) {
  std::uint64_t hash = 0;
  for (int i = 0; i < count; ++i) {
    std::uint64_t one = 0;
    if (parts[i].hash_by == HashBy::kFunction)
      one = DatumGetUInt64(
          FunctionCall2Coll(&parts[i].hash, parts[i].collation, values[i], UInt64GetDatum(0)));
    else if (parts[i].hash_by == HashBy::kImage)
      one = hash_image(parts[i], values[i]);
    hash = i == 0 ? one : hash_combine64(hash, one);
  }
  return hash;
}

bool has_key(KeyPart* parts, int count, TupleTableSlot* row, const Datum* values) {
  for (int i = 0; i < count; ++i) {
    bool is_null;
    const Datum value = slot_getattr(row, parts[i].attribute, &is_null);
    if (is_null ||
        !DatumGetBool(FunctionCall2Coll(&parts[i].equal, parts[i].collation, value, values[i])))
      return false;
  }
  return true;
}

}  // namespace pgwc::row_cache
