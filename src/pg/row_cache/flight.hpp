// Single flight: of the sessions that miss the same key at once, one computes the row and the
// others wait for it, so that an expired hot row is not computed a hundred times.
//
// A fixed number of places in shared memory. Where none is free a session computes without telling
// anybody. A session that fails or leaves gives its place back; whoever waits takes over.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::row_cache::flight {

// Hooks of _PG_init.
void install_shmem_hooks();

enum class Role : std::uint8_t {
  kLeads,    // nobody else computes it: do, then land()
  kAlone,    // compute it for yourself only: no place is free, or this session leads it already
  kFollows,  // somebody else is computing it
};
// Asks to compute the key. kLeads must be followed by land(), in an error clean-up if need be.
Role board(CacheKey key);
// Returns whether the key was evicted meanwhile: what was computed is not to be kept.
bool land(CacheKey key);
// Somebody evicts the key, and will erase it after this call.
void evicted(CacheKey key);

// Waits until whoever computes the key has landed, at most this long. Interruptible. False if the
// time is up.
bool await(CacheKey key, std::int64_t timeout_us);

}  // namespace pgwc::row_cache::flight
