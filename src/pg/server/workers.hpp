// The background processes.
//
//   launcher   one, static, no database: settles the buffer after a start, starts a worker for each
//   database that wants
//              one, forces the buffer file to disk every sync_interval
//   worker     one per database with pending rows, dynamic: flushes the database's queues; leaves
//   when idle
//
// Both sleep on their latch without a timeout when there is nothing to do. PostgreSQL never
// restarts a worker; the launcher does.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::workers {

// Registers the launcher; from _PG_init.
void register_launcher();

// Makes the database's worker leave and keeps others from starting until end_keep_away or the end
// of the transaction. For commands that want a database to themselves. Waits; interruptible.
// `to_drop`: at commit the database is gone, and what is pending for it is thrown away.
void keep_away(Oid database, bool to_drop);

// Whether this process is a flush worker: it cannot wait for what only it can do.
bool is_worker();

// Callback that ends keep_away; from _PG_init.
void init();

}  // namespace pgwc::workers

extern "C" {
PGDLLEXPORT void pgwc_launcher_main(Datum argument);
PGDLLEXPORT void pgwc_worker_main(Datum database);
}
