// The rows that this transaction wrote to tables of the modes write_through and cache_aside, and
// what becomes of them in the cache: when it commits, new rows of write_through are put in, and
// entries of changed rows of cache_aside are taken out.
//
// No reader relies on this. An entry is a claim that readers prove, so whatever is forgotten here
// (rows beyond a limit, prepared transactions, tables made or emptied in the same transaction)
// costs a miss and nothing else.
//
// Rows are noted by their place and read again just before the commit, as far as they are still
// there then. At the commit itself nothing allocates and nothing fails.
#pragma once

#include "pg/boundary/pg.hpp"

extern "C" {
#include "storage/itemptr.h"
}

namespace pgwc::row_cache::written {

// Registers the transaction callbacks; from _PG_init.
void init();

enum class Fate : std::uint8_t { kPut, kErase };
// Notes a row version. The relation is locked until the end of the transaction. May ERROR (out of
// memory). Beyond a thousand rows it does nothing.
void note(Oid relation, const ItemPointerData& place, Fate fate);

}  // namespace pgwc::row_cache::written
