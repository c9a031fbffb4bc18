// Foreign keys between attached tables: a row may refer to one that was acknowledged before it and
// is pending in another queue. The worker stores the referenced table first; for the sessions see
// committed_rows.hpp.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::referenced {

// Queues that a table's rows may refer to and that have rows pending.
struct Queues {
  static constexpr std::size_t kMost = 16;
  QueueNo at[kMost];
  std::size_t count = 0;
};

// Needs a transaction. May ERROR.
void find_pending(Relation relation, Queues* queues);

}  // namespace pgwc::referenced
