#include "pg/row_cache/key_list.hpp"

extern "C" {
#include "port/pg_bitutils.h"
#include "utils/array.h"
}

namespace pgwc::row_cache {

namespace {

constexpr std::uint32_t kFree = 0xFFFFFFFFu;

template <class T>
T* allocate(std::size_t count) {
  return static_cast<T*>(
      MemoryContextAllocHuge(CurrentMemoryContext, sizeof(T) * (count > 0 ? count : 1)));
}

}  // namespace

void make_key_list(KeyList* list, KeyPart* parts, int part_count, int any_column, Datum* key,
                   Datum array, Oid element_equal) {
  ArrayType* elements = DatumGetArrayTypeP(array);
  const Oid type = ARR_ELEMTYPE(elements);
  std::int16_t length;
  bool by_value;
  char alignment;
  get_typlenbyvalalign(type, &length, &by_value, &alignment);
  Datum* values;
  bool* nulls;
  int given;
  deconstruct_array(elements, type, length, by_value, alignment, &values, &nulls, &given);

  FmgrInfo equal;
  fmgr_info(element_equal, &equal);
  const Oid collation = parts[any_column].collation;
  const std::size_t table_size = pg_nextpower2_64(static_cast<std::uint64_t>(given) * 2 + 1);
  auto* table = allocate<std::uint32_t>(table_size);
  memset(table, 0xFF, table_size * sizeof(*table));
  list->elements = values;
  list->hashes = allocate<std::uint64_t>(static_cast<std::size_t>(given));
  list->count = 0;
  for (int i = 0; i < given; ++i) {
    if (nulls[i]) continue;
    key[any_column] = values[i];
    const std::uint64_t hash = hash_key(parts, part_count, key);
    std::size_t place = hash & (table_size - 1);
    bool seen = false;
    for (; table[place] != kFree && !seen; place = (place + 1) & (table_size - 1)) {
      const std::uint32_t other = table[place];
      seen = list->hashes[other] == hash &&
             DatumGetBool(FunctionCall2Coll(&equal, collation, list->elements[other], values[i]));
    }
    if (seen) continue;
    table[place] = static_cast<std::uint32_t>(list->count);
    list->hashes[list->count] = hash;
    list->elements[list->count++] = values[i];
  }
}

}  // namespace pgwc::row_cache
