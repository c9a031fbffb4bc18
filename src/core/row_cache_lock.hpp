// Scopes that hold a lock of the row cache.
#pragma once

#ifdef POSTGRES_H
#error "core headers come before PostgreSQL's and never need them"
#endif

#include <cstdint>

#include "core/row_cache.hpp"

namespace pgwc {

class CacheLockGuard {
 public:
  enum class Mode : std::uint8_t { kExclusive, kShared };

  CacheLockGuard(SharedLocks& locks, std::uint32_t id, Mode mode = Mode::kExclusive) noexcept
      : locks_(locks), id_(id) {
    if (mode == Mode::kShared)
      locks_.acquire_shared(id_);
    else
      locks_.acquire(id_);
  }
  ~CacheLockGuard() { locks_.release(id_); }
  CacheLockGuard(const CacheLockGuard&) = delete;
  CacheLockGuard& operator=(const CacheLockGuard&) = delete;

 private:
  SharedLocks& locks_;
  std::uint32_t id_;
};

}  // namespace pgwc
