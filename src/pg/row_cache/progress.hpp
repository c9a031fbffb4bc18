// How far writecache.warm() is, for other sessions to look at: by PostgreSQL's own means for the
// progress of commands, under a number that it has not given to any. So it ends with the statement,
// however that ends, and costs no shared memory.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::row_cache::progress {

struct Warming {
  std::int64_t rows_expected;  // -1: not known
  std::int64_t rows_read;
  std::int64_t rows_cached;
};

void start(Oid relation, const Warming& warming);
void update(const Warming& warming);
void end();

}  // namespace pgwc::row_cache::progress
