// Atomic access to a plain member of a structure in shared memory.
#pragma once

#ifdef POSTGRES_H
#error "core headers come before PostgreSQL's and never need them"
#endif

#include <atomic>

namespace pgwc {

template <class T>
std::atomic_ref<T> atomic(T& value) noexcept {
  return std::atomic_ref<T>(value);
}

}  // namespace pgwc
