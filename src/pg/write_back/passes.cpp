#include "pg/write_back/passes.hpp"

#include <algorithm>
#include <new>

#include "pg/boundary/guard.hpp"
#include "pg/boundary/injection.hpp"
#include "pg/server/settings.hpp"
#include "pg/server/sync.hpp"
#include "pg/write_back/queue_status.hpp"

extern "C" {
#include "access/xlog.h"
}

namespace pgwc::passes {

namespace {

Pass* held = nullptr;                // in TopTransactionContext
DatabaseSlot* drained_in = nullptr;  // whose worker is to free what this transaction has stored

// The frames of the batch in hand. Made once per process and never destroyed: no destructor runs in
// the server.
std::vector<FrameRef>& batch_frames() {
  alignas(std::vector<FrameRef>) static std::byte storage[sizeof(std::vector<FrameRef>)];
  static std::vector<FrameRef>* frames = new (storage) std::vector<FrameRef>;
  return *frames;
}

void undo(const Pass* pass) noexcept { buffer().cancel({pass->frames, pass->count}); }

void end_passes(XactEvent event) {
  if (event == XACT_EVENT_COMMIT) {
    PGWC_INJECT("flush-committed");
    for (const Pass* pass = held; pass != nullptr; pass = pass->next) {
      buffer().finish(pass->queue, {pass->frames, pass->count}, pass->through, pass->xid,
                      static_cast<std::uint64_t>(XactLastCommitEnd), GetCurrentTimestamp());
      queue_status::note_success(pass->queue, pass->queue_id, pass->rejected);
    }
    held = nullptr;
    if (drained_in != nullptr) wake_worker(drained_in);
    drained_in = nullptr;
  } else if (event == XACT_EVENT_ABORT) {
    for (const Pass* pass = held; pass != nullptr; pass = pass->next) undo(pass);
    held = nullptr;
    drained_in = nullptr;
  } else if (event == XACT_EVENT_PRE_PREPARE) {
    ereport(
        ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
        errmsg("cannot PREPARE a transaction that has stored buffered rows of an attached table"),
        errhint("Call writecache.flush() for the table before the transaction."));
  }
}

// Short for the many transactions that it does not concern.
void xact_callback(XactEvent event, void*) {
  if (held != nullptr) end_passes(event);
}

void subxact_callback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void*) {
  if (held == nullptr) return;
  if (event == SUBXACT_EVENT_COMMIT_SUB) {
    for (Pass* pass = held; pass != nullptr; pass = pass->next)
      if (pass->owner == mine) pass->owner = parent;
  } else if (event == SUBXACT_EVENT_ABORT_SUB) {
    Pass** link = &held;
    while (*link != nullptr) {
      if ((*link)->owner == mine) {
        undo(*link);
        *link = (*link)->next;
      } else {
        link = &(*link)->next;
      }
    }
  }
}

}  // namespace

Pass* take(QueueNo queue, std::uint64_t queue_id, const FlushLimits& limits, Batch* batch) {
  std::vector<FrameRef>& frames = batch_frames();
  bool splits = false;
  no_throw([&] {
    *batch = buffer().take(queue, limits, &frames);
    splits = buffer().splits_transaction(frames, server->whole_through.load());
  });
  if (frames.empty()) return nullptr;
  // What is stored of a transaction whose rest a power loss takes would be a part of it.
  if (splits && settings::sync_interval_ms > 0) (void)sync_buffer();
  auto* pass = static_cast<Pass*>(MemoryContextAlloc(TopTransactionContext, sizeof(Pass)));
  auto* own = static_cast<FrameRef*>(
      MemoryContextAllocHuge(TopTransactionContext, sizeof(FrameRef) * frames.size()));
  std::copy(frames.begin(), frames.end(), own);
  *pass = {held,
           queue,
           GetCurrentSubTransactionId(),
           GetCurrentTransactionId(),
           GetCurrentCommandId(true),
           queue_id,
           batch->through,
           0,
           frames.size(),
           own};
  frames.clear();
  held = pass;
  // Before the rows are stored: whoever reads the table in this transaction sees them there.
  buffer().mark({own, pass->count}, pass->xid);
  return pass;
}

void announce_to(DatabaseSlot* database) { drained_in = database; }

bool own(TransactionId xid, CommandId* command) {
  for (const Pass* pass = held; pass != nullptr; pass = pass->next) {
    if (pass->xid != xid) continue;
    *command = pass->command;
    return true;
  }
  return false;
}

bool drained_here(QueueNo queue) {
  for (const Pass* pass = held; pass != nullptr; pass = pass->next)
    if (pass->queue == queue) return true;
  return false;
}

void init() {
  RegisterXactCallback(xact_callback, nullptr);
  RegisterSubXactCallback(subxact_callback, nullptr);
}

}  // namespace pgwc::passes
