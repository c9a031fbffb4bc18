// S3-FIFO's ghost queue: what was evicted lately without having been used twice.
//
// Not a queue but a table of sets of eight slots. A slot holds 20 bits of a hash and the time,
// which is the number of insertions, coarsely, in 12 bits; "in the queue" means young enough. A
// wrong answer, one in 100,000, only puts a newcomer into the wrong queue. A slot is overwritten
// when it is the oldest of its set, long before the time can wrap around. (The idea is the paper's,
// §4.3.)
#pragma once

#ifdef POSTGRES_H
#error "core headers come before PostgreSQL's and never need them"
#endif

#include <bit>
#include <cstddef>
#include <cstdint>

namespace pgwc {

class GhostQueue {
 public:
  static constexpr std::size_t kWays = 8;

  // `slots` of them, zeroed, a multiple of kWays; `clock` is kept with them.
  GhostQueue(std::uint32_t* slots, std::size_t count, std::uint64_t* clock) noexcept
      : slots_(slots),
        sets_(count / kWays),
        unit_shift_(count > 256 ? std::bit_width(count / 256) - 1 : 0),
        clock_(clock) {}

  void insert(std::uint64_t hash) noexcept {
    std::uint32_t* set = set_of(hash);
    ++*clock_;
    std::uint32_t* victim = set;
    std::uint64_t oldest = 0;
    for (std::size_t i = 0; i < kWays; ++i) {
      if (set[i] == 0 || set[i] >> kTimeBits == fingerprint(hash)) {
        victim = &set[i];
        break;
      }
      const std::uint64_t its_age = age(set[i]);
      if (its_age >= oldest) {
        oldest = its_age;
        victim = &set[i];
      }
    }
    *victim = fingerprint(hash) << kTimeBits | now();
  }

  // Takes a hash out. Whether it was among the last `length` to come.
  bool take(std::uint64_t hash, std::uint64_t length) noexcept {
    std::uint32_t* set = set_of(hash);
    for (std::size_t i = 0; i < kWays; ++i) {
      if (set[i] == 0 || set[i] >> kTimeBits != fingerprint(hash)) continue;
      const bool young = age(set[i]) << unit_shift_ <= length;
      set[i] = 0;
      return young;
    }
    return false;
  }

 private:
  static constexpr unsigned kTimeBits = 12;
  static constexpr std::uint32_t kTimeMask = (1u << kTimeBits) - 1;

  std::uint32_t* set_of(std::uint64_t hash) const noexcept {
    const std::uint64_t word = (hash >> 20) & 0xFFFFFFFFu;
    return slots_ + ((word * sets_) >> 32) * kWays;
  }
  static std::uint32_t fingerprint(std::uint64_t hash) noexcept {
    const auto bits = static_cast<std::uint32_t>(hash & 0xFFFFF);
    return bits == 0 ? 1 : bits;
  }
  std::uint32_t now() const noexcept {
    return static_cast<std::uint32_t>(*clock_ >> unit_shift_) & kTimeMask;
  }
  std::uint64_t age(std::uint32_t slot) const noexcept { return (now() - slot) & kTimeMask; }

  std::uint32_t* slots_;
  std::size_t sets_;
  unsigned unit_shift_;
  std::uint64_t* clock_;
};

}  // namespace pgwc
