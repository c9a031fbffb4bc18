// Sequences of keys that caches are asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sim {

using Key = std::uint64_t;
using Trace = std::vector<Key>;

struct NamedTrace {
  const char* name;
  bool has_scans;
  Trace keys;
};

// For a cache of `capacity` objects: popular keys by Zipf's law (0.8, 1.0, 1.2), the second with
// scans in between, a loop larger than the cache, and a hot set that moves.
std::vector<NamedTrace> make_traces(std::size_t capacity);

}  // namespace sim
