// What a reader needs to know of a block to pass it by: which values its rows have in some columns.
//
// Made by readers, not by writers: the first one that looks for certain values in a block notes
// what it finds on the way, for everybody after it. A Bloom filter answers equality, the least and
// the greatest value a range. Both may say "perhaps" for a block without such a row, never "no" for
// one with it, whatever happens at the same time.
#pragma once

#ifdef POSTGRES_H
#error "core headers come before PostgreSQL's and never need them"
#endif

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace pgwc {

inline constexpr std::size_t kSummaryColumns = 4;
inline constexpr std::size_t kSummaryWords = 512;  // 4 kB of filter for a block of 64 kB

// A value as the summary knows it. Keys are ordered as the values are.
struct SummaryKey {
  std::uint64_t hash;
  std::int64_t key;
};

// What is looked for in one of the summary's columns: one value, or what lies between two keys.
struct Probe {
  std::uint32_t column;  // its position among the summary's columns
  bool is_value;
  std::uint64_t hash;  // of the value
  bool has_key;        // keys are known for this type
  std::int64_t low;
  std::int64_t high;
};

struct alignas(64) BlockSummary {
  std::atomic<std::uint64_t> epoch;    // of the block that this is about; 0: nothing is known
  std::atomic<std::uint32_t> covered;  // rows up to this offset of the block are in it
  std::atomic<std::uint32_t> busy;     // somebody is adding
  std::atomic<std::uint64_t> columns;  // which columns, by the caller's reckoning
  std::atomic<std::uint64_t> version;  // counts how often it was begun anew
  std::atomic<std::uint32_t> nulls;    // columns in which a row has no value, a bit for each
  std::array<std::atomic<std::int64_t>, kSummaryColumns> low;
  std::array<std::atomic<std::int64_t>, kSummaryColumns> high;
  std::array<std::atomic<std::uint64_t>, kSummaryWords> bits;
};

struct SummaryAnswer {
  std::uint32_t covered;  // what the answer is about; 0: nothing is known
  bool may_match;
};

// Any process, without a lock.
SummaryAnswer ask(const BlockSummary& summary, std::uint64_t epoch, std::uint64_t columns,
                  const Probe* probes, std::size_t probe_count) noexcept;

// Between which keys the rows of a block are in one column.
struct SummaryBounds {
  bool known;      // and this is about all rows up to the offset asked about
  bool has_nulls;  // perhaps
  std::int64_t low;
  std::int64_t high;
};
SummaryBounds bounds_of(const BlockSummary& summary, std::uint64_t epoch, std::uint64_t columns,
                        std::uint32_t column, std::uint32_t used) noexcept;

// Adds what was read between two offsets of the block; `keys[i]` belongs to column
// `key_columns[i]`; `nulls`: columns that have no value somewhere. Does nothing if somebody else is
// at it, or was faster.
void extend(BlockSummary* summary, std::uint64_t epoch, std::uint64_t columns, std::uint32_t from,
            std::uint32_t to, const SummaryKey* keys, const std::uint8_t* key_columns,
            std::size_t key_count, std::uint32_t nulls) noexcept;

// Spreads a number over all 64 bits.
constexpr std::uint64_t mix(std::uint64_t x) noexcept {
  x ^= x >> 33;
  x *= 0xFF51AFD7ED558CCDull;
  x ^= x >> 33;
  x *= 0xC4CEB9FE1A85EC53ull;
  return x ^ (x >> 33);
}

}  // namespace pgwc
