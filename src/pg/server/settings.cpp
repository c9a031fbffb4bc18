#include "pg/server/settings.hpp"

#include <climits>

extern "C" {
#include "replication/walsender.h"
#include "utils/guc.h"
}

namespace pgwc::settings {

int buffer_size_kb = kDefaultBufferSizeKb;
int cache_size_kb = 64 * 1024;
char* directory = nullptr;
int max_tables = 256;

int flush_interval_ms = 500;
int flush_rows = 100000;
int flush_bytes_kb = 32 * 1024;
int flush_workers = 4;
int pass_through_failures = 5;
int shutdown_timeout_s = 60;
int sync_interval_ms = 1000;

int bulk_bypass_kb = 16 * 1024;
bool capture = true;
int compute_wait_ms = 5000;
bool read_cache = true;
bool read_pending = true;
int wait_timeout_ms = 10000;

bool reads_pending() { return read_pending && !am_walsender; }

void define() {
  DefineCustomIntVariable("writecache.buffer_size", "Size of the write buffer.",
                          "The buffer is a file of this size, mapped into every process. A file "
                          "with pending rows keeps the size it has, until a start finds it empty.",
                          &buffer_size_kb, kDefaultBufferSizeKb, kMinBufferSizeKb, kMaxBufferSizeKb,
                          PGC_POSTMASTER, GUC_UNIT_KB, nullptr, nullptr, nullptr);
  DefineCustomIntVariable(
      "writecache.bulk_bypass",
      "A transaction that stages more than this for a table writes to the table instead.",
      "0 sends every transaction straight to the table, -1 none.", &bulk_bypass_kb, 16 * 1024, -1,
      MAX_KILOBYTES, PGC_USERSET, GUC_UNIT_KB, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("writecache.cache_size", "Size of the row cache in shared memory.",
                          "0: no rows are cached.", &cache_size_kb, 64 * 1024, 0, INT_MAX,
                          PGC_POSTMASTER, GUC_UNIT_KB, nullptr, nullptr, nullptr);
  DefineCustomBoolVariable("writecache.capture", "Lets attached tables capture INSERT and COPY.",
                           "Off: every statement does what it would do without the extension.",
                           &capture, true, PGC_USERSET, 0, nullptr, nullptr, nullptr);
  DefineCustomIntVariable(
      "writecache.compute_wait",
      "How long a reader waits for another session that computes the same row of a view.",
      "Then it computes the row itself. 0 never waits.", &compute_wait_ms, 5000, 0, INT_MAX,
      PGC_USERSET, GUC_UNIT_MS, nullptr, nullptr, nullptr);
  DefineCustomStringVariable(
      "writecache.directory", "Directory of the buffer file.",
      "Empty: pg_dynshmem in the data directory, which base backups leave out.", &directory, "",
      PGC_POSTMASTER, GUC_SUPERUSER_ONLY, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("writecache.flush_bytes", "Flushes a table when this much is pending.",
                          "A table's own option takes precedence.", &flush_bytes_kb, 32 * 1024, 1,
                          MAX_KILOBYTES, PGC_SIGHUP, GUC_UNIT_KB, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("writecache.flush_interval",
                          "Flushes a table when its oldest pending row is this old.",
                          "A table's own option takes precedence.", &flush_interval_ms, 500, 1,
                          24 * 60 * 60 * 1000, PGC_SIGHUP, GUC_UNIT_MS, nullptr, nullptr, nullptr);
  DefineCustomIntVariable(
      "writecache.flush_rows", "Flushes a table when this many rows are pending.",
      "A table's own option takes precedence. The flush stores all that is pending.", &flush_rows,
      100000, 1, INT_MAX, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("writecache.flush_workers",
                          "How many databases are flushed at the same time.",
                          "Each takes one of max_worker_processes.", &flush_workers, 4, 1, 64,
                          PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("writecache.max_tables",
                          "How many write-back tables can have rows in the buffer.",
                          "A table that finds no place is written directly.", &max_tables, 256, 1,
                          65536, PGC_POSTMASTER, 0, nullptr, nullptr, nullptr);
  DefineCustomIntVariable(
      "writecache.pass_through_failures",
      "New rows go straight to a table whose flushes failed this many times in a row.",
      "Or which is paused; until a flush succeeds. They overtake what is pending. 0 never lets "
      "them.",
      &pass_through_failures, 5, 0, INT_MAX, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
  DefineCustomBoolVariable("writecache.read_cache", "Lets queries read rows from the row cache.",
                           "Off: the same plans read the table by its index.", &read_cache, true,
                           PGC_USERSET, 0, nullptr, nullptr, nullptr);
  DefineCustomBoolVariable("writecache.read_pending", "Lets queries see buffered rows.", nullptr,
                           &read_pending, true, PGC_USERSET, 0, nullptr, nullptr, nullptr);
  DefineCustomIntVariable(
      "writecache.shutdown_timeout", "How long a smart or fast shutdown goes on flushing.",
      "What remains stays in the buffer file and is stored after the next start.",
      &shutdown_timeout_s, 60, 0, INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S, nullptr, nullptr,
      nullptr);
  DefineCustomIntVariable(
      "writecache.sync_interval", "How often the buffer file is forced to stable storage.",
      "A power loss can cost the rows of this time. A crash of PostgreSQL costs none. 0 never "
      "forces it.",
      &sync_interval_ms, 1000, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("writecache.wait_timeout",
                          "How long a commit waits for room in the buffer.",
                          "0 waits without limit.", &wait_timeout_ms, 30000, 0, INT_MAX,
                          PGC_USERSET, GUC_UNIT_MS, nullptr, nullptr, nullptr);
  MarkGUCPrefixReserved("writecache");
}

}  // namespace pgwc::settings
