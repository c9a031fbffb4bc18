// The row cache in this server: its part of shared memory, its locks, and what this process has
// counted and not yet added to the shared counters.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::row_cache {

// Hooks of _PG_init: memory is asked for and prepared.
void install_shmem_hooks();
// Counts reach the shared counters at the end of transactions.
void init();

// Whether this process has a cache to use: the library was preloaded, cache_size is not 0.
bool enabled();
// The same, or an ERROR with a hint.
void require();
RowCache& cache();

// The number under which a relation of this database is cached.
inline std::uint64_t space_of(Oid relation) { return std::uint64_t{MyDatabaseId} << 32 | relation; }
inline Oid relation_of(std::uint64_t space) { return static_cast<Oid>(space); }
inline Oid database_of(std::uint64_t space) { return static_cast<Oid>(space >> 32); }

// Adds to the counters of a relation; other sessions see it within a second or at the end of this
// one. Does not fail.
void count(std::uint64_t space, const CacheCounters& delta) noexcept;
// Makes them visible now.
void publish_counts() noexcept;

// Forgets what is cached of a relation that is dropped or detached. Losing entries is never wrong,
// so a rollback needs nothing.
void drop(Oid relation) noexcept;

}  // namespace pgwc::row_cache
