#include "pg/live_read/unwrap.hpp"

#include "pg/live_read/pending_scan.hpp"
#include "pg/live_read/reader.hpp"
#include "pg/server/settings.hpp"
#include "pg/server/shmem.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/write_back/departures.hpp"

extern "C" {
#include "access/parallel.h"
#include "executor/executor.h"
}

namespace pgwc::unwrap {

namespace {

constinit ExecutorStart_hook_type previous_start = nullptr;

// A place in a plan, which other executions share, that points to something else while an executor
// is being started.
struct Patch {
  Plan** place;
  Plan* original;
};
constexpr int kMaxPatches = 16;

struct Patches {
  Snapshot snapshot;
  int count;
  Patch at[kMaxPatches];
};

bool has_nothing(Oid source, Snapshot snapshot) {
  Attachment* attachment = attachments::find_write_back(source);
  if (attachment == nullptr)
    return false;  // dropped with the extension since the query was planned
  if (!attachment->read_pending || !settings::reads_pending()) return true;
  if (!buffer().settled()) return false;
  const QueueNo queue = attachments::find_queue(attachment);
  if (queue != kNoQueueNo)
    return live_read::is_empty(queue, attachment->queue_id(), source, snapshot);
  departures::check(source, snapshot);
  return true;
}

// The source of a part that reads what is pending, sorted or not.
Oid pending_source(const Plan* part) {
  if (IsA(part, Sort)) part = part->lefttree;
  return pending_scan::source_of(part);
}

// The only part that is not about what is pending; null if there is none, or are more.
Plan** own_part(List* parts, Snapshot snapshot) {
  Plan** own = nullptr;
  int pending = 0;
  ListCell* cell;
  foreach (cell, parts) {
    auto** part = reinterpret_cast<Plan**>(&lfirst(cell));
    const Oid source = pending_source(*part);
    if (OidIsValid(source)) {
      ++pending;
      if (snapshot != nullptr && !has_nothing(source, snapshot)) return nullptr;
    } else if (own != nullptr) {
      return nullptr;
    } else {
      own = part;
    }
  }
  return pending > 0 ? own : nullptr;
}

List* parts_of(Plan* plan) {
  if (IsA(plan, Append)) return reinterpret_cast<Append*>(plan)->appendplans;
  if (IsA(plan, MergeAppend)) return reinterpret_cast<MergeAppend*>(plan)->mergeplans;
  return NIL;
}

void visit(Plan** place, Patches* patches);

void visit_all(List* plans, Patches* patches) {
  ListCell* cell;
  foreach (cell, plans)
    if (lfirst(cell) != nullptr) visit(reinterpret_cast<Plan**>(&lfirst(cell)), patches);
}

void visit(Plan** place, Patches* patches) {
  Plan* plan = *place;
  if (List* parts = parts_of(plan)) {
    Plan** own = own_part(parts, patches->snapshot);
    if (own != nullptr && plan->initPlan == NIL && patches->count < kMaxPatches &&
        list_length((*own)->targetlist) == list_length(plan->targetlist)) {
      patches->at[patches->count++] = {place, plan};
      *place = *own;
      visit(place, patches);
    } else {
      visit_all(parts, patches);
    }
    return;
  }
  if (IsA(plan, SubqueryScan)) visit(&reinterpret_cast<SubqueryScan*>(plan)->subplan, patches);
  if (IsA(plan, CustomScan)) visit_all(reinterpret_cast<CustomScan*>(plan)->custom_plans, patches);
  if (plan->lefttree != nullptr) visit(&plan->lefttree, patches);
  if (plan->righttree != nullptr) visit(&plan->righttree, patches);
}

void restore(const Patches& patches) {
  for (int i = patches.count; i-- > 0;) *patches.at[i].place = patches.at[i].original;
}

void pass_on(QueryDesc* query, int flags) {
  if (previous_start)
    previous_start(query, flags);
  else
    standard_ExecutorStart(query, flags);
}

bool may_unwrap(const QueryDesc* query, int flags) {
  // EXPLAIN shows the plan as it is. Parallel workers get the plan as it is, and look in what the
  // leader shares with them for the parts that it has.
  if ((flags & EXEC_FLAG_EXPLAIN_ONLY) != 0 || query->instrument_options != 0 || !buffer_ready() ||
      query->plannedstmt->parallelModeNeeded || IsParallelWorker() || query->snapshot == nullptr ||
      !IsMVCCSnapshot(query->snapshot))
    return false;
  return !attachments::names_unbuffered_only(query->plannedstmt->rtable);
}

void start(QueryDesc* query, int flags) {
  if (!may_unwrap(query, flags)) {
    pass_on(query, flags);
    return;
  }
  Patches patches{query->snapshot, 0, {}};
  visit(&query->plannedstmt->planTree, &patches);
  visit_all(query->plannedstmt->subplans, &patches);
  if (patches.count == 0) {
    pass_on(query, flags);
    return;
  }
  PG_TRY();
  { pass_on(query, flags); }
  PG_FINALLY();
  { restore(patches); }
  PG_END_TRY();
}

}  // namespace

void label(PlannedStmt* statement) {
  Plan* top = statement->planTree;
  for (List* parts = parts_of(top); parts != NIL; parts = parts_of(top)) {
    Plan** own = own_part(parts, nullptr);
    if (own == nullptr || list_length((*own)->targetlist) != list_length(top->targetlist)) return;
    ListCell* from;
    ListCell* to;
    forboth(from, top->targetlist, to, (*own)->targetlist) {
      const auto* labelled = lfirst_node(TargetEntry, from);
      auto* entry = lfirst_node(TargetEntry, to);
      entry->resname = labelled->resname;
      entry->ressortgroupref = labelled->ressortgroupref;
      entry->resorigtbl = labelled->resorigtbl;
      entry->resorigcol = labelled->resorigcol;
      entry->resjunk = labelled->resjunk;
    }
    top = *own;
  }
}

void install_hook() {
  previous_start = ExecutorStart_hook;
  ExecutorStart_hook = start;
}

}  // namespace pgwc::unwrap
