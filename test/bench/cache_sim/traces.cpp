#include "traces.hpp"

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>

namespace sim {

namespace {

class Zipf {
 public:
  Zipf(std::size_t keys, double exponent) : sums_(keys) {
    double sum = 0;
    for (std::size_t i = 0; i < keys; ++i)
      sums_[i] = sum += std::pow(static_cast<double>(i + 1), -exponent);
  }
  Key operator()(std::mt19937_64& random) {
    const double at = std::generate_canonical<double, 53>(random) * sums_.back();
    return static_cast<Key>(std::lower_bound(sums_.begin(), sums_.end(), at) - sums_.begin());
  }

 private:
  std::vector<double> sums_;
};

Trace zipf(std::size_t length, std::size_t keys, double exponent) {
  std::mt19937_64 random(1);
  Zipf next(keys, exponent);
  Trace trace(length);
  for (Key& key : trace) key = next(random);
  return trace;
}

// Every now and then somebody reads many rows that nobody else wants soon, in turn.
Trace zipf_with_scans(std::size_t length, std::size_t keys, double exponent, std::size_t scan) {
  std::mt19937_64 random(2);
  Zipf next(keys, exponent);
  Trace trace;
  trace.reserve(length);
  Key scanned = keys;  // a table of its own, read in slices, round and round
  while (trace.size() < length) {
    for (std::size_t i = 0; i < 2 * scan; ++i) trace.push_back(next(random));
    for (std::size_t i = 0; i < scan; ++i) {
      trace.push_back(scanned++);
      if (scanned == 2 * keys) scanned = keys;
    }
  }
  trace.resize(length);
  return trace;
}

Trace loop(std::size_t length, std::size_t keys) {
  Trace trace(length);
  for (std::size_t i = 0; i < length; ++i) trace[i] = i % keys;
  return trace;
}

// Nine of ten go to a hot set that takes half the cache, the tenth anywhere. The set moves on by a
// quarter of its size at a time.
Trace shifting(std::size_t length, std::size_t keys, std::size_t hot) {
  std::mt19937_64 random(3);
  Trace trace(length);
  Key first = 0;
  for (std::size_t i = 0; i < length; ++i) {
    if (i % (hot * 3) == 0) first += hot / 4;
    trace[i] = (random() % 10 != 0 ? first + random() % hot : random()) % keys;
  }
  return trace;
}

}  // namespace

std::vector<NamedTrace> make_traces(std::size_t capacity) {
  const std::size_t keys = 10 * capacity;
  const std::size_t length = 40 * capacity;
  std::vector<NamedTrace> traces;
  traces.push_back({"zipf 0.8", false, zipf(length, keys, 0.8)});
  traces.push_back({"zipf 1.0", false, zipf(length, keys, 1.0)});
  traces.push_back({"zipf 1.2", false, zipf(length, keys, 1.2)});
  traces.push_back({"zipf 0.8, scans", true, zipf_with_scans(length, keys, 0.8, capacity / 2)});
  traces.push_back({"zipf 1.0, scans", true, zipf_with_scans(length, keys, 1.0, capacity / 2)});
  traces.push_back({"zipf 1.2, scans", true, zipf_with_scans(length, keys, 1.2, capacity / 2)});
  traces.push_back({"loop, 1.2 x cache", true, loop(length, capacity * 12 / 10)});
  traces.push_back({"loop, 2 x cache", false, loop(length, capacity * 2)});
  traces.push_back({"shifting hot set", false, shifting(length, keys, capacity / 2)});
  return traces;
}

}  // namespace sim
