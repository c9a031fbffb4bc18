// Who may still have to read stored rows from the buffer.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::snapshots {

// Sessions of this database with a snapshot that may not see the flush, this one left out.
VirtualTransactionId* holders_of(TransactionId flush_xid, int* count);

// Whether a session of this database has a snapshot that may not see the flush `flush_xid`, which
// committed and was seen to by `finished`. `short_only`: room is wanted, and a snapshot that is
// held for hours must not stop the writers; only what statements and transactions need that have
// not taken long yet.
bool need(TransactionId flush_xid, TimestampTz finished, bool short_only);

}  // namespace pgwc::snapshots
