#include "pg/row_cache/fill.hpp"

#include <algorithm>

#include "pg/boundary/compat.hpp"
#include "pg/row_cache/store.hpp"

extern "C" {
#include "access/detoast.h"
#include "access/htup_details.h"
}

namespace pgwc::row_cache {

constinit RowCache::Use use_of_fills = RowCache::Use::kUnknown;

namespace {

bool is_packed_away(const FormData_pg_attribute* attribute, Datum value) {
  return attribute->attlen == -1 && VARATT_IS_EXTENDED(DatumGetPointer(value)) &&
         !VARATT_IS_SHORT(DatumGetPointer(value));
}

// A row that is older than the table's last columns has a value for them only in the catalog, where
// it may not be committed: only what the row itself has is cached.
int stored_columns(TupleDesc desc, HeapTuple row) {
  return std::min<int>(desc->natts, HeapTupleHeaderGetNatts(row->t_data));
}

int stored_columns(const TupleTableSlot* row) {
  TupleDesc desc = row->tts_tupleDescriptor;
  if (!TTS_IS_BUFFERTUPLE(row)) return desc->natts;
  return stored_columns(desc, reinterpret_cast<const BufferHeapTupleTableSlot*>(row)->base.tuple);
}

// How long the values that are kept elsewhere or compressed are without that.
std::size_t unpacked_size(TupleDesc desc, int count, const Datum* values, const bool* nulls) {
  std::size_t size = 0;
  for (int i = 0; i < count; ++i)
    if (!nulls[i] && is_packed_away(TupleDescAttr(desc, i), values[i]))
      size += toast_raw_datum_size(values[i]);
  return size;
}

MinimalTuple unpack(TupleDesc desc, int count, const Datum* values, const bool* nulls) {
  const auto columns = static_cast<std::size_t>(count);
  auto* unpacked = static_cast<Datum*>(palloc(columns * sizeof(Datum)));
  memcpy(unpacked, values, columns * sizeof(Datum));
  for (int i = 0; i < count; ++i)
    if (!nulls[i] && is_packed_away(TupleDescAttr(desc, i), unpacked[i]))
      unpacked[i] = PointerGetDatum(
          detoast_attr(reinterpret_cast<struct varlena*>(DatumGetPointer(unpacked[i]))));
  if (count < desc->natts) desc = compat::first_columns(desc, count);
  return compat::form_minimal_tuple(desc, unpacked, const_cast<bool*>(nulls));
}

MinimalTuple if_cacheable(MinimalTuple row) {
  return row->t_len <= cache().max_row() ? row : nullptr;
}

}  // namespace

MinimalTuple flatten(TupleTableSlot* row) {
  const int count = stored_columns(row);
  slot_getallattrs(row);
  TupleDesc desc = row->tts_tupleDescriptor;
  const std::size_t size = unpacked_size(desc, count, row->tts_values, row->tts_isnull);
  if (size > cache().max_row()) return nullptr;
  return if_cacheable(size == 0 ? ExecCopySlotMinimalTuple(row)
                                : unpack(desc, count, row->tts_values, row->tts_isnull));
}

MinimalTuple flatten(TupleDesc desc, HeapTuple row, const Datum* values, const bool* nulls) {
  const int count = stored_columns(desc, row);
  const std::size_t size = unpacked_size(desc, count, values, nulls);
  if (size > cache().max_row()) return nullptr;
  return if_cacheable(size == 0 ? compat::copy_minimal_tuple(row)
                                : unpack(desc, count, values, nulls));
}

void fill(Fetcher* f, CacheKey place, TupleTableSlot* row, const Claim& claim,
          std::uint64_t epoch) {
  if (f->fill_memory == nullptr)
    f->fill_memory = AllocSetContextCreate(f->memory, "pg_writecache fill", ALLOCSET_SMALL_SIZES);
  MemoryContext old = MemoryContextSwitchTo(f->fill_memory);
  if (MinimalTuple tuple = flatten(row))
    (void)cache().put(place, stamp_of(claim),
                      {reinterpret_cast<const std::byte*>(tuple), tuple->t_len}, epoch,
                      use_of_fills);
  MemoryContextSwitchTo(old);
  MemoryContextReset(f->fill_memory);
}

}  // namespace pgwc::row_cache
