// Writing the extension's own tables, as the server's catalogs are written: directly, whoever the
// user is. Each function runs in the caller's transaction, may ERROR, and takes RowExclusiveLock on
// the table concerned.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::catalog {

// Columns of writecache.attached.
enum AttachedColumn : int {
  kRelation = 1,
  kAttachment,
  kMode,
  kFlushInterval,
  kFlushRows,
  kFlushBytes,
  kWhenFull,
  kReadPending,
  kAllowTriggers,
  kAttachedColumns = kAllowTriggers,
};

// A row of writecache.attached, by column number less one.
struct AttachedRow {
  Datum values[kAttachedColumns];
  bool nulls[kAttachedColumns];
};

// Reads a relation's row into `row`, copied into the current memory context. False if it is not
// attached.
bool read_attached(Oid relation, AttachedRow* row);
void insert_attached(const AttachedRow& row);
void update_attached(Oid relation, const AttachedRow& row);
void delete_attached(Oid relation);
// The relation that an attachment number stands for, InvalidOid if none.
Oid relation_of(std::int32_t attachment);
// All attached relations, a List of Oid.
List* all_attached();

// How far the rows of an attachment are stored, by the table's own word; 0 if nothing is known for
// this buffer file.
std::uint64_t read_watermark(std::int32_t attachment, std::uint64_t incarnation);
void write_watermark(std::int32_t attachment, std::uint64_t incarnation, std::uint64_t seq);
void delete_watermark(std::int32_t attachment);

// Oid of a table or index of the schema writecache; InvalidOid if the extension is not in this
// database.
Oid relation_named(const char* name);

}  // namespace pgwc::catalog
