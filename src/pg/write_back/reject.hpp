// Rows that a table refuses. A batch is stored in a few parts. One that cannot be stored whole is
// cut up until the rows that cannot are alone, and those go to writecache.rejected_rows, in the
// same transaction as their neighbours go to the table. So a bad row neither blocks nor drops
// anything, and is itself never dropped. (Bisection as bulk loaders do it, with a fan-out of 16.
// Parts from the start, or a bad row at the end would cost all of the batch a second time, and that
// among the dead entries of the first.)
#pragma once

#include "pg/write_back/store.hpp"

namespace pgwc::reject {

enum class ErrorKind : std::uint8_t {
  kData,       // this row will never do as it is: reject it
  kTransient,  // the same row may do later: try the batch again
  kBroken,     // nothing will do until somebody mends the table: pause
};
ErrorKind kind_of(int sqlerrcode);

struct Outcome {
  std::uint64_t stored;
  std::uint64_t rejected;
};

// Stores every row it can of the spans, and rejects the others, in the current transaction. ERRORs
// for reasons that are not the data's. The relation is locked; runs as the current user, who should
// be the table's owner.
Outcome store_or_reject(Relation relation, const RowSpan* spans, std::size_t span_count);

// Rejects them all with this error.
Outcome reject_all(Relation relation, const RowSpan* spans, std::size_t span_count,
                   const ErrorData* error);

}  // namespace pgwc::reject
