// Where a key belongs.
#pragma once

#ifdef POSTGRES_H
#error "core headers come before PostgreSQL's and never need them"
#endif

#include <cstdint>

#include "core/row_cache.hpp"

namespace pgwc {

// All bits of the key in each bit: shard, bucket, tag and ghost take different ones of them. (The
// finalizer of moremur: bijective for the keys of one space.)
constexpr std::uint64_t spread(CacheKey key) noexcept {
  std::uint64_t x = key.hash + key.space * 0x9E3779B97F4A7C15ull;
  x ^= x >> 27;
  x *= 0x3C79AC492BA7B653ull;
  x ^= x >> 33;
  x *= 0x1C69B3F74AC4AE35ull;
  return x ^ x >> 27;
}

}  // namespace pgwc
