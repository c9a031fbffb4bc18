// Where C++ exceptions and PostgreSQL's errors meet.
//
// PostgreSQL reports an error by longjmp, which skips destructors; an exception that reaches one of
// its frames ends the server. So: code of ours that can throw runs inside no_throw(), which turns
// an exception into an ERROR after the catch block has ended; and code that can ERROR runs with no
// destructor waiting on the stack. The layer above the core is written in PostgreSQL's own style
// (palloc, plain structs) and needs the guard only around the core's allocations.
#pragma once

#include <exception>
#include <new>

#include "pg/boundary/pg.hpp"

namespace pgwc {

// Runs `body`, which calls no PostgreSQL, and raises an ERROR for an exception of it.
template <class Body>
void no_throw(Body&& body) {
  enum { kFine, kMemory, kOther } outcome = kFine;
  try {
    body();
  } catch (const std::bad_alloc&) {
    outcome = kMemory;
  } catch (...) {
    outcome = kOther;
  }
  if (outcome == kMemory) ereport(ERROR, errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"));
  if (outcome == kOther)
    ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR), errmsg("pg_writecache: unexpected exception"));
}

}  // namespace pgwc
