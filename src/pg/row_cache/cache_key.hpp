// By which columns a relation's rows are cached, and how their values are hashed and compared.
//
// A key is the columns of a unique, immediate, valid btree index without predicate and expressions.
// Values that the index takes for equal have the same hash (1.0 and 1.00; 'A' and 'a' under a
// collation that says so), because the hash functions are those of a hash operator family that has
// the index's equality. A type without one is hashed by its bytes if its btree says that equal
// values have equal bytes; else all its values share one place.
#pragma once

#include "pg/boundary/pg.hpp"
#include "pg/tables/attachment.hpp"

namespace pgwc::row_cache {

enum class HashBy : std::uint8_t { kFunction, kImage, kNothing };

// One key column.
struct KeyColumn {
  AttrNumber attribute;
  std::int16_t place;  // in the order in which users name the columns
  Oid opfamily;        // of the index, else of the type
  Oid type;            // of the values, domains taken off
  Oid collation;
  Oid equal_op;  // of the type with itself
};

struct CachedKey {
  Oid relation;  // the backend's hash table finds it by this
  bool cached;   // else nothing below means anything
  Mode mode;
  Oid attached;  // the relation itself, or the table above this partition
  char relkind;
  Oid index;                 // InvalidOid for partitioned tables, views and foreign tables
  TransactionId index_xmin;  // older snapshots may see two rows with one key
  int count;
  KeyColumn columns[INDEX_MAX_KEYS];  // in the index's order
};

namespace cache_key {

// Registers the invalidation callback; from _PG_init.
void init();

// The key of a relation whose rows are cached now, or null. May ERROR. The pointer is valid until
// the next catalog access.
const CachedKey* find(Oid relation);
// The same, or an ERROR that says why there is none. Locks the relation ACCESS SHARE for the rest
// of the transaction: what others have changed is known then.
const CachedKey& require(Oid relation);
// find() for what can be read through an index: an ordinary table, a partition, a materialized
// view.
const CachedKey* find_indexed(Oid relation);

// The unique index by which rows of the relation can be cached: the primary key if `names` (a
// text[] or 0) is 0, else the index over just these columns. Null if there is none, and then
// `reason` says why. The index is open without a lock of its own; the relation is locked.
Relation open_index(Relation relation, Datum names, const char** reason);

// How to hash values of `type` so that they meet the key column's. False if they cannot be.
bool hash_function(const KeyColumn& column, Oid type, HashBy* by, Oid* function);

// The relations under whose numbers rows of this one are cached, a List of Oid: itself, or the
// partitions of a partitioned table.
List* spaces_of(const CachedKey& key);

}  // namespace cache_key

// A key column and the type of the values that it is compared with: all that finding needs.
struct KeyPart {
  AttrNumber attribute;
  HashBy hash_by;
  bool by_value;
  std::int16_t length;
  Oid collation;
  Oid subtype;     // of the values if it is not the column's; for the index
  FmgrInfo equal;  // column = value
  FmgrInfo hash;
};

// Fills what follows from the OIDs of its functions. May ERROR.
void make_key_part(KeyPart* part, AttrNumber attribute, Oid collation, Oid type, bool cross_type,
                   Oid equal_function, HashBy hash_by, Oid hash_function);

// The same for values of the column's own type.
void make_key_part(KeyPart* part, const KeyColumn& column);

// The hash of a key, no value of it null. May ERROR, as the types' functions may.
std::uint64_t hash_key(KeyPart* parts, int count, const Datum* values);
// Whether the row has this key.
bool has_key(KeyPart* parts, int count, TupleTableSlot* row, const Datum* values);

}  // namespace pgwc::row_cache
