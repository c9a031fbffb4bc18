// Rows for the tests: each is known by a number, and its bytes follow from the number and its size,
// so that whatever comes out of a buffer can be checked without remembering what went in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "core/layout.hpp"

namespace pgwc::test {

// Stops where gtest's assertions cannot: in other processes, in signal handlers, in the fuzzer.
inline void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

using RowId = std::uint64_t;
using Ids = std::vector<RowId>;
using Bytes = std::vector<std::byte>;

inline constexpr std::uint32_t kSmallestRow = sizeof(std::uint32_t) + sizeof(RowId);

inline std::byte filler(RowId id, std::size_t at) {
  return static_cast<std::byte>((id * 0x9E3779B97F4A7C15ull >> 40) + at * 7);
}

// Appends the row, framed and padded as the buffer wants it. `size` is its length word's value.
inline void append_row(Bytes* rows, RowId id, std::uint32_t size = 60) {
  must(size >= kSmallestRow, "row size");
  const std::size_t start = rows->size();
  rows->resize(start + align_up<kRowAlign>(size));
  std::byte* row = rows->data() + start;
  std::memcpy(row, &size, sizeof(size));
  std::memcpy(row + sizeof(size), &id, sizeof(id));
  for (std::size_t at = kSmallestRow; at < size; ++at) row[at] = filler(id, at);
}

inline Bytes make_rows(const Ids& ids, std::uint32_t size = 60) {
  Bytes rows;
  for (RowId id : ids) append_row(&rows, id, size);
  return rows;
}

// Returns the row's number, or 0 if it is not, byte for byte, a row of append_row().
inline RowId id_of(std::span<const std::byte> row) {
  std::uint32_t size;
  RowId id;
  if (row.size() < kSmallestRow) return 0;
  std::memcpy(&size, row.data(), sizeof(size));
  std::memcpy(&id, row.data() + sizeof(size), sizeof(id));
  if (size != row.size()) return 0;
  for (std::size_t at = kSmallestRow; at < size; ++at)
    if (row[at] != filler(id, at)) return 0;
  return id;
}

}  // namespace pgwc::test
