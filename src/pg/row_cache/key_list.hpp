// The keys that `= ANY (array)` stands for: each once, nulls left out, in the array's order.
#pragma once

#include "pg/row_cache/cache_key.hpp"

namespace pgwc::row_cache {

struct KeyList {
  Datum* elements;
  std::uint64_t* hashes;  // of the whole keys
  std::size_t count;
};

// Fills `list` in the current memory context. `key` has the values of the other columns; the one of
// `any_column` is overwritten. `element_equal` compares two elements.
void make_key_list(KeyList* list, KeyPart* parts, int part_count, int any_column, Datum* key,
                   Datum array, Oid element_equal);

}  // namespace pgwc::row_cache
