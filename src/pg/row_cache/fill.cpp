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
int stored_columns(const TupleTableSlot* row) {
  const int all = row->tts_tupleDescriptor->natts;
  if (!TTS_IS_BUFFERTUPLE(row)) return all;
  const auto* pinned = reinterpret_cast<const BufferHeapTupleTableSlot*>(row);
  return std::min<int>(all, HeapTupleHeaderGetNatts(pinned->base.tuple->t_data));
}

}  // namespace

MinimalTuple flatten(TupleTableSlot* row) {
  TupleDesc desc = row->tts_tupleDescriptor;
  const int count = stored_columns(row);
  slot_getallattrs(row);
  std::size_t size = 0;
  bool any = false;
  for (int i = 0; i < count; ++i) {
    if (row->tts_isnull[i] || !is_packed_away(TupleDescAttr(desc, i), row->tts_values[i])) continue;
    any = true;
    size += toast_raw_datum_size(row->tts_values[i]);
  }
  if (size > cache().max_row()) return nullptr;
  MinimalTuple tuple;
  if (!any) {
    tuple = ExecCopySlotMinimalTuple(row);
  } else {
    const auto columns = static_cast<std::size_t>(count);
    auto* values = static_cast<Datum*>(palloc(columns * sizeof(Datum)));
    memcpy(values, row->tts_values, columns * sizeof(Datum));
    for (int i = 0; i < count; ++i)
      if (!row->tts_isnull[i] && is_packed_away(TupleDescAttr(desc, i), values[i]))
        values[i] = PointerGetDatum(
            detoast_attr(reinterpret_cast<struct varlena*>(DatumGetPointer(values[i]))));
    if (count < desc->natts) desc = compat::first_columns(desc, count);
    tuple = compat::form_minimal_tuple(desc, values, row->tts_isnull);
  }
  return tuple->t_len <= cache().max_row() ? tuple : nullptr;
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
