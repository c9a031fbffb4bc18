// The extension's settings (GUCs). Units are in the names of the variables.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::settings {

inline constexpr int kMinBufferSizeKb = 1024;
inline constexpr int kMaxBufferSizeKb = kMaxBlocks * (kBlockSize / 1024);
inline constexpr int kDefaultBufferSizeKb = 256 * 1024;

// Fixed at server start.
extern int buffer_size_kb;
extern int cache_size_kb;
extern char* directory;
extern int max_tables;

// Changed by reload.
extern int flush_interval_ms;
extern int flush_rows;
extern int flush_bytes_kb;
extern int flush_workers;
extern int pass_through_failures;
extern int shutdown_timeout_s;
extern int sync_interval_ms;

// Per session.
extern int bulk_bypass_kb;
extern bool capture;
extern int compute_wait_ms;
extern bool read_cache;
extern bool read_pending;
extern int wait_timeout_ms;

// Whether queries of this session see buffered rows. Connections for replication do not: the copy
// that a logical subscription begins with would have rows that come once more when they are
// flushed.
bool reads_pending();

// Defines them all; from _PG_init only.
void define();

}  // namespace pgwc::settings
