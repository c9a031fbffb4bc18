#include "pg/write_back/stages.hpp"

#include <cstring>

extern "C" {
#include "access/detoast.h"
}

namespace pgwc::stages {

Stage* used = nullptr;

namespace {

// Buffers up to this size stay for the session's next transaction.
constexpr std::size_t kKeepCapacity = 256 * 1024;
constexpr std::size_t kInitialCapacity = 8 * 1024;
Stage* idle = nullptr;  // for the next transaction

void grow(Stage* stage, std::size_t need) {
  std::size_t capacity = stage->capacity == 0 ? kInitialCapacity : stage->capacity;
  while (capacity < need) capacity *= 2;
  stage->data =
      static_cast<char*>(stage->data == nullptr ? MemoryContextAllocHuge(memory(), capacity)
                                                : repalloc_huge(stage->data, capacity));
  stage->capacity = capacity;
}

// Rows of this moment's command and subtransaction go behind the last mark if it says so, else
// behind a new one.
void mark_rows(Stage* stage) {
  const SubTransactionId owner = GetCurrentSubTransactionId();
  const CommandId command = GetCurrentCommandId(true);
  const Oid user = GetUserId();
  if (stage->mark_count > 0) {
    Mark& last = stage->marks[stage->mark_count - 1];
    if (last.owner == owner && last.command == command && last.staged_by == user &&
        last.spilled_in == InvalidSubTransactionId)
      return;
    if (last.begin == stage->used) --stage->mark_count;
  }
  if (stage->mark_count == stage->mark_capacity) {
    const std::size_t capacity = stage->mark_capacity == 0 ? 16 : stage->mark_capacity * 2;
    const std::size_t size = capacity * sizeof(Mark);
    stage->marks =
        static_cast<Mark*>(stage->marks == nullptr ? MemoryContextAllocHuge(memory(), size)
                                                   : repalloc_huge(stage->marks, size));
    stage->mark_capacity = capacity;
  }
  stage->marks[stage->mark_count++] = {stage->used, owner, InvalidSubTransactionId, command, user};
}

// Back to an empty stage, its memory kept if it is small. Callable in callbacks: frees, never
// allocates.
void recycle(Stage* stage) noexcept {
  if (stage->capacity > kKeepCapacity) {
    pfree(stage->data);
    stage->data = nullptr;
    stage->capacity = 0;
  }
  if (stage->mark_capacity > 1024) {
    pfree(stage->marks);
    stage->marks = nullptr;
    stage->mark_capacity = 0;
  }
  stage->used = stage->mark_count = 0;
  stage->bypassing = stage->oversized = stage->spilled = stage->storing = false;
  stage->relation = InvalidOid;
  stage->next = idle;
  idle = stage;
}

// Drops rows that need not be kept any more: those stored in the subtransaction that staged them
// live and die with it.
void drop_spilled(Stage* stage) {
  std::size_t kept = 0;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < stage->mark_count; ++i) {
    Mark mark = stage->marks[i];
    const std::size_t end = mark_end(stage, i);
    if (mark.spilled_in == mark.owner) continue;
    std::memmove(stage->data + bytes, stage->data + mark.begin, end - mark.begin);
    const std::size_t size = end - mark.begin;
    mark.begin = bytes;
    bytes += size;
    stage->marks[kept++] = mark;
  }
  stage->mark_count = kept;
  stage->used = bytes;
}

// Forms the row where it will stay: a MinimalTuple at the end of the stage.
void form_row(Stage* stage, TupleDesc desc, Datum* values, bool* nulls) {
  bool has_null = false;
  Datum* fetched = nullptr;
  for (int i = 0; i < desc->natts; ++i) {
    if (nulls[i]) {
      has_null = true;
    } else if (TupleDescAttr(desc, i)->attlen == -1 &&
               VARATT_IS_EXTERNAL(DatumGetPointer(values[i]))) {
      // The value's home may be gone when the row is stored.
      if (fetched == nullptr) {
        fetched =
            static_cast<Datum*>(palloc(sizeof(Datum) * static_cast<std::size_t>(desc->natts)));
        std::memcpy(fetched, values, sizeof(Datum) * static_cast<std::size_t>(desc->natts));
        values = fetched;
      }
      values[i] = PointerGetDatum(
          detoast_external_attr(reinterpret_cast<struct varlena*>(DatumGetPointer(values[i]))));
    }
  }
  std::size_t header = SizeofMinimalTupleHeader;
  if (has_null) header += static_cast<std::size_t>(BITMAPLEN(desc->natts));
  header = MAXALIGN(header);
  const std::size_t data = heap_compute_data_size(desc, values, nulls);
  const std::size_t size = header + data;
  const std::size_t padded = align_up<kRowAlign>(size);
  if (size > MaxAllocSize)
    ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
            errmsg("row is too large for the write buffer: size %zu, maximum size %zu", size,
                   static_cast<std::size_t>(MaxAllocSize)));
  if (stage->used + padded > stage->capacity) grow(stage, stage->used + padded);
  char* target = stage->data + stage->used;
  std::memset(target, 0, padded);
  auto* tuple = reinterpret_cast<MinimalTuple>(target);
  tuple->t_len = static_cast<std::uint32_t>(size);
  HeapTupleHeaderSetNatts(tuple, desc->natts);
  tuple->t_hoff = static_cast<std::uint8_t>(header + MINIMAL_TUPLE_OFFSET);
  heap_fill_tuple(desc, values, nulls, target + header, data, &tuple->t_infomask,
                  has_null ? tuple->t_bits : nullptr);
  stage->used += padded;
  if (padded > kMaxRow) stage->oversized = true;
  if (fetched != nullptr) pfree(fetched);
}

}  // namespace

MemoryContext memory() {
  static MemoryContext context = nullptr;
  if (context == nullptr)
    context =
        AllocSetContextCreate(TopMemoryContext, "pg_writecache staging", ALLOCSET_DEFAULT_SIZES);
  return context;
}

Stage* find(Oid relation) {
  for (Stage* stage = used; stage != nullptr; stage = stage->next)
    if (stage->relation == relation) return stage;
  return nullptr;
}

Stage* make() {
  Stage* stage = idle;
  if (stage != nullptr)
    idle = stage->next;
  else
    stage = static_cast<Stage*>(MemoryContextAllocZero(memory(), sizeof(Stage)));
  stage->next = used;
  used = stage;
  return stage;
}

void forget_all() noexcept {
  while (used != nullptr) {
    Stage* stage = used;
    used = stage->next;
    recycle(stage);
  }
}

void append(Stage* stage, TupleDesc desc, Datum* values, bool* nulls) {
  mark_rows(stage);
  form_row(stage, desc, values, nulls);
}

std::size_t mark_end(const Stage* stage, std::size_t i) {
  return i + 1 < stage->mark_count ? stage->marks[i + 1].begin : stage->used;
}

bool has_unspilled(const Stage* stage) {
  if (stage->storing) return false;
  for (std::size_t i = 0; i < stage->mark_count; ++i)
    if (stage->marks[i].spilled_in == InvalidSubTransactionId &&
        stage->marks[i].begin < mark_end(stage, i))
      return true;
  return false;
}

void note_spilled(Stage* stage) {
  const SubTransactionId current = GetCurrentSubTransactionId();
  for (std::size_t i = 0; i < stage->mark_count; ++i)
    if (stage->marks[i].spilled_in == InvalidSubTransactionId) stage->marks[i].spilled_in = current;
  stage->spilled = true;
  drop_spilled(stage);
  stage->oversized = false;
}

void compact(Stage* stage) {
  if (!stage->spilled) return;
  for (std::size_t i = 0; i < stage->mark_count; ++i)
    if (stage->marks[i].spilled_in != InvalidSubTransactionId)
      stage->marks[i].spilled_in = stage->marks[i].owner;
  drop_spilled(stage);
}

void end_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent) {
  if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB) return;
  for (Stage* stage = used; stage != nullptr; stage = stage->next) {
    if (event == SUBXACT_EVENT_COMMIT_SUB) {
      // Marks of the ending subtransaction are the last ones, but spills may have touched any.
      for (std::size_t i = stage->mark_count; i-- > 0 && stage->marks[i].owner == mine;)
        stage->marks[i].owner = parent;
      for (std::size_t i = 0; stage->spilled && i < stage->mark_count; ++i)
        if (stage->marks[i].spilled_in == mine) stage->marks[i].spilled_in = parent;
    } else {
      while (stage->mark_count > 0 && stage->marks[stage->mark_count - 1].owner == mine)
        stage->used = stage->marks[--stage->mark_count].begin;
      for (std::size_t i = 0; stage->spilled && i < stage->mark_count; ++i)
        if (stage->marks[i].spilled_in == mine)
          stage->marks[i].spilled_in = InvalidSubTransactionId;
    }
  }
}

}  // namespace pgwc::stages
