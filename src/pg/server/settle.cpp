#include "pg/server/settle.hpp"

#include <algorithm>
#include <new>
#include <vector>

#include "core/recovery.hpp"
#include "pg/boundary/compat.hpp"
#include "pg/boundary/guard.hpp"
#include "pg/boundary/injection.hpp"
#include "pg/server/shmem.hpp"
#include "pg/server/sync.hpp"

extern "C" {
#include "access/xlog.h"
}

namespace pgwc {

namespace {

// Fates looked up beforehand, so that the core's walk never leaves for PostgreSQL.
class KnownFates final : public FateOf {
 public:
  KnownFates(const Xid* xids, const Fate* fates, std::size_t count)
      : xids_(xids), fates_(fates), count_(count) {}
  Fate operator()(Xid xid) const noexcept override {
    const Xid* found = std::lower_bound(xids_, xids_ + count_, xid);
    return found != xids_ + count_ && *found == xid ? fates_[found - xids_] : Fate::kNotCommitted;
  }

 private:
  const Xid* xids_;
  const Fate* fates_;
  std::size_t count_;
};

Fate fate_of(Xid xid) {
  if (!TransactionIdPrecedes(xid, ReadNextTransactionId())) return Fate::kNotCommitted;
  if (TransactionIdPrecedes(xid, compat::oldest_clog_xid())) return Fate::kForgotten;
  return TransactionIdDidCommit(xid) ? Fate::kCommitted : Fate::kNotCommitted;
}

void settle() {
  Xid* xids = nullptr;
  std::size_t count = 0;
  no_throw([&] {
    std::vector<Xid> found = Recovery(buffer()).transactions();
    count = found.size();
    xids = static_cast<Xid*>(malloc((count + 1) * sizeof(Xid)));
    if (xids == nullptr) throw std::bad_alloc();
    std::sort(found.begin(), found.end());
    std::copy(found.begin(), found.end(), xids);
  });
  auto* sorted =
      static_cast<Xid*>(MemoryContextAllocHuge(CurrentMemoryContext, (count + 1) * sizeof(Xid)));
  std::copy(xids, xids + count, sorted);
  free(xids);
  auto* fates = static_cast<Fate*>(MemoryContextAllocHuge(CurrentMemoryContext, count + 1));
  for (std::size_t i = 0; i < count; ++i) fates[i] = fate_of(sorted[i]);
  PGWC_INJECT("settle-begin");
  SettleReport report{};
  const Doubts doubts{buffer_file().header().power_lost != 0, buffer_file().synced(),
                      server->ids_reused};
  no_throw([&] {
    report =
        Recovery(buffer()).judge(KnownFates(sorted, fates, count), GetCurrentTimestamp(), doubts);
  });
  // Transactions to come get ids that records of lost ones still carry on disk: a power loss must
  // not bring those back.
  if (report.rows_kept + report.rows_uncommitted + report.rows_already_stored +
          report.rows_incomplete >
      0)
    (void)sync_buffer();
  PGWC_INJECT("settle-judged");
  if (doubts.power_lost || doubts.ids_reused) server->watermarks_decide.store(1);
  buffer_file().set_settled(GetWALInsertionTimeLine());
  note_checkpoint();
  buffer_file().note_starting(false);
  Recovery(buffer()).allow_use();
  if (doubts.ids_reused && report.rows_kept + report.rows_uncommitted > 0)
    ereport(LOG, errmsg("write buffer: the server has run without pg_writecache since it crashed"),
            errdetail("Rows of transactions that had not been acknowledged were given up."));
  pfree(sorted);
  pfree(fates);
  if (report.rows_incomplete > 0)
    ereport(LOG,
            errmsg("write buffer: %llu rows were given up",
                   static_cast<unsigned long long>(report.rows_incomplete)),
            errdetail("The power loss has taken other parts of their transactions."));
  if (report.rows_kept + report.rows_uncommitted + report.rows_already_stored > 0)
    ereport(
        LOG,
        errmsg("write buffer: %llu rows recovered",
               static_cast<unsigned long long>(report.rows_kept)),
        errdetail(
            "%llu belonged to transactions that did not commit, %llu were in their tables already.",
            static_cast<unsigned long long>(report.rows_uncommitted),
            static_cast<unsigned long long>(report.rows_already_stored)));
}

}  // namespace

void ensure_settled() {
  if (!buffer_ready() || buffer().settled() || RecoveryInProgress()) return;
  LWLockAcquire(recovery_lock(), LW_EXCLUSIVE);
  if (!buffer().settled()) settle();
  LWLockRelease(recovery_lock());
}

}  // namespace pgwc
