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
  kOnConflict,
  kAllowTriggers,
  kKey,
  kMaxStaleness,
  kAttachedColumns = kMaxStaleness,
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

// A row that its table refused.
struct Rejection {
  Oid relation;
  const std::byte* row;  // a MinimalTuple
  std::size_t row_bytes;
  std::uint32_t layout;
  Oid staged_by;
  bool has_jsonb;
  Datum as_jsonb;
  const ErrorData* error;
};
void insert_rejection(const Rejection& rejection);

// Forgets what a table refused, because it is dropped.
void delete_rejections(Oid relation);
// How many rejected rows there are, of all tables.
std::uint64_t count_rejections();

// What a visitor wants done with a rejected row.
enum class RejectedFate : std::uint8_t { kKeep, kDelete, kCountAttempt };
struct RejectedRow {
  const std::byte* row;
  std::size_t row_bytes;
  std::uint32_t layout;
  const ErrorData* error;  // set by the visitor with kCountAttempt
};
using RejectedVisitor = RejectedFate (*)(RejectedRow* row, void* context);
std::uint64_t visit_rejected(Oid relation, const std::int64_t* id, RejectedVisitor visit,
                             void* context);
// Visits a table's rejected rows in the order they were rejected, only the one that `id` names if
// it is not null. Returns how many were deleted. `visit` may ERROR.
template <class Visit>
std::uint64_t for_each_rejected(Oid relation, const std::int64_t* id, Visit&& visit) {
  using Called = std::remove_reference_t<Visit>;
  RejectedVisitor call = [](RejectedRow* row, void* context) {
    return (*static_cast<Called*>(context))(row);
  };
  return visit_rejected(relation, id, call, &visit);
}

// Opens the relation that a user named by its OID, which may be any number. ERROR if there is none.
Relation open_named(Oid relation, LOCKMODE lock);
// The same for its owner only. Who is not gets an ERROR, and no lock that others would wait for.
Relation open_owned(Oid relation, LOCKMODE lock);

// Oid of a table or index of the schema writecache; InvalidOid if the extension is not in this
// database.
Oid relation_named(const char* name);

}  // namespace pgwc::catalog
