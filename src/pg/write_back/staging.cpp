#include "pg/write_back/staging.hpp"

#include "pg/server/settings.hpp"
#include "pg/server/shmem.hpp"
#include "pg/write_back/queue_status.hpp"
#include "pg/write_back/stages.hpp"
#include "pg/write_back/store.hpp"

namespace pgwc {

namespace {

// What a bypassing stage collects before it stores.
constexpr std::size_t kBypassChunk = 256 * 1024;

// As who staged them: index expressions, checks and triggers must not run with anybody else's
// rights.
void store_as(Oid role, Relation relation, const RowSpan* spans, std::size_t count) {
  Oid user;
  int security;
  GetUserIdAndSecContext(&user, &security);
  if (role != user) SetUserIdAndSecContext(role, security | SECURITY_LOCAL_USERID_CHANGE);
  store_rows(relation, spans, count, false);
  SetUserIdAndSecContext(user, security);
}

void spill_stage(Stage* stage, Relation relation) {
  auto* spans = static_cast<RowSpan*>(palloc(sizeof(RowSpan) * (stage->mark_count + 1)));
  std::size_t count = 0;
  for (std::size_t i = 0; i < stage->mark_count; ++i) {
    const Mark& mark = stage->marks[i];
    const std::size_t end = stages::mark_end(stage, i);
    if (mark.spilled_in != InvalidSubTransactionId || mark.begin == end) continue;
    spans[count++] = {reinterpret_cast<const std::byte*>(stage->data) + mark.begin,
                      end - mark.begin, mark.command, 0, mark.staged_by};
  }
  if (count > 0) {
    stage->storing = true;
    PG_TRY();
    {
      for (std::size_t from = 0, to; from < count; from = to) {
        for (to = from + 1; to < count && spans[to].staged_by == spans[from].staged_by;) ++to;
        store_as(spans[from].staged_by, relation, spans + from, to - from);
      }
    }
    PG_FINALLY();
    { stage->storing = false; }
    PG_END_TRY();
    stages::note_spilled(stage);
  }
  pfree(spans);
}

bool exceeds_bypass(const Stage* stage) {
  return settings::bulk_bypass_kb >= 0 &&
         stage->used > std::size_t{1024} * static_cast<unsigned>(settings::bulk_bypass_kb);
}

}  // namespace

namespace staging {

Stage* open(Relation relation, Attachment* attachment) {
  Stage* stage = stages::find(RelationGetRelid(relation));
  if (stage != nullptr && stage->queue_id == attachment->queue_id()) return stage;
  if (own_database() == nullptr || !attachments::open_queue(attachment)) return nullptr;
  stage = stages::make();
  stage->relation = attachment->relation;
  stage->queue_id = attachment->queue_id();
  stage->queue = attachment->queue;
  stage->when_full = attachment->when_full;
  // Decided for the transaction as a whole, so that its rows do not overtake each other.
  stage->bypassing = queue_status::passes_through(stage->queue, stage->queue_id);
  return stage;
}

void append(Stage* stage, Relation relation, TupleTableSlot* slot) {
  slot_getallattrs(slot);
  stages::append(stage, RelationGetDescr(relation), slot->tts_values, slot->tts_isnull);
  if (!stage->bypassing && exceeds_bypass(stage)) stage->bypassing = true;
  if (stage->bypassing && stage->used > kBypassChunk) spill_stage(stage, relation);
}

void write_through(Stage* stage) { stage->bypassing = true; }

void end_statement(Stage* stage, Relation relation) {
  if ((stage->bypassing || stage->oversized) && stages::has_unspilled(stage))
    spill_stage(stage, relation);
}

bool any() {
  for (Stage* stage = stages::used; stage != nullptr; stage = stage->next)
    if (stages::has_unspilled(stage)) return true;
  return false;
}

bool has_rows(Oid relation) {
  for (Stage* stage = stages::used; stage != nullptr; stage = stage->next)
    if (stage->relation == relation && stages::has_unspilled(stage)) return true;
  return false;
}

bool spill(Oid relation) {
  bool spilled = false;
  // A table that was detached and attached again in a savepoint has two stages.
  for (Stage* stage = stages::used; stage != nullptr; stage = stage->next) {
    if (stage->relation != relation || !stages::has_unspilled(stage)) continue;
    // The statement that staged the rows holds the lock already.
    Relation opened = table_open(relation, RowExclusiveLock);
    spill_stage(stage, opened);
    table_close(opened, NoLock);
    spilled = true;
  }
  return spilled;
}

void spill_all() {
  for (Stage* stage = stages::used; stage != nullptr; stage = stage->next)
    (void)spill(stage->relation);
}

}  // namespace staging
}  // namespace pgwc
