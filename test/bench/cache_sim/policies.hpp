// Caches of so many objects, written from the literature and not from src/core, to compare with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "traces.hpp"

namespace sim {

class Policy {
 public:
  virtual ~Policy() = default;
  // Looks up a key and, if it is not there, brings it in. Whether it was there.
  virtual bool access(Key key) = 0;
};

std::unique_ptr<Policy> make_fifo(std::size_t capacity);
std::unique_ptr<Policy> make_lru(std::size_t capacity);
// Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023, algorithm 1.
std::unique_ptr<Policy> make_s3fifo(std::size_t capacity);
// Evicts what will be used last: no cache does better. Must be given exactly this trace.
std::unique_ptr<Policy> make_belady(std::size_t capacity, const Trace& trace);

}  // namespace sim
