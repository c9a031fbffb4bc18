#include "pg/row_cache/claim.hpp"

#include "pg/boundary/compat.hpp"

extern "C" {
#include "access/heapam.h"
#include "access/htup_details.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"
}

namespace pgwc::row_cache {

namespace {

// Whether somebody deleted the row version, or may be about to.
enum class Deleted : std::uint8_t { kNo, kMaybe, kYes };

Deleted deleted(HeapTupleHeader header) {
  const std::uint16_t mask = header->t_infomask;
  if ((mask & HEAP_XMAX_INVALID) != 0 || HEAP_XMAX_IS_LOCKED_ONLY(mask)) return Deleted::kNo;
  const TransactionId deleter = HeapTupleHeaderGetUpdateXid(header);
  if (!TransactionIdIsValid(deleter)) return Deleted::kNo;
  // In this order: a transaction leaves the list of running ones after it is marked as committed.
  if (TransactionIdIsCurrentTransactionId(deleter) || TransactionIdIsInProgress(deleter))
    return Deleted::kMaybe;
  return TransactionIdDidCommit(deleter) ? Deleted::kYes : Deleted::kNo;
}

// The start of the HOT chain that leads to a heap-only tuple; heap_get_root_tuples() would follow
// all chains of the page.
OffsetNumber root_of(Page page, OffsetNumber item) {
  const OffsetNumber last = PageGetMaxOffsetNumber(page);
  for (OffsetNumber root = FirstOffsetNumber; root <= last; ++root) {
    ItemId id = PageGetItemId(page, root);
    OffsetNumber at = root;
    if (ItemIdIsRedirected(id)) {
      at = ItemIdGetRedirect(id);
      if (at == item) return root;
    } else if (!ItemIdIsNormal(id)) {
      continue;
    }
    TransactionId creator = InvalidTransactionId;
    for (OffsetNumber steps = 0; steps < last && at <= last; ++steps) {
      id = PageGetItemId(page, at);
      if (!ItemIdIsNormal(id)) break;
      auto* header = reinterpret_cast<HeapTupleHeader>(PageGetItem(page, id));
      if (at == root ? HeapTupleHeaderIsHeapOnly(header)
                     : TransactionIdIsValid(creator) && creator != HeapTupleHeaderGetXmin(header))
        break;
      if (at == item) return root;
      if (!HeapTupleHeaderIsHotUpdated(header)) break;
      creator = HeapTupleHeaderGetUpdateXid(header);
      at = ItemPointerGetOffsetNumber(&header->t_ctid);
    }
  }
  return InvalidOffsetNumber;
}

}  // namespace

bool proved_by_page(const Claim& claim, Relation relation, Snapshot snapshot) {
  if (claim.page_lsn == 0 || claim.storage != compat::storage_number(relation) ||
      !RelationNeedsWAL(relation))
    return false;
  if (claim.xmin != FrozenTransactionId && XidInMVCCSnapshot(claim.xmin, snapshot)) return false;
  if (!ReadRecentBuffer(compat::storage_of(relation), MAIN_FORKNUM, claim.block, claim.buffer))
    return false;
  // Read without a lock. Its halves may belong to two changes; then one of them is being made just
  // now, and the snapshot does not see it.
  const bool unchanged = PageGetLSN(BufferGetPage(claim.buffer)) == claim.page_lsn;
  ReleaseBuffer(claim.buffer);
  return unchanged;
}

bool make_claim(Relation relation, TupleTableSlot* slot, OffsetNumber root, Claim* claim) {
  Assert(TTS_IS_BUFFERTUPLE(slot));
  const auto* pinned = reinterpret_cast<const BufferHeapTupleTableSlot*>(slot);
  const HeapTuple tuple = pinned->base.tuple;
  HeapTupleHeader header = tuple->t_data;
  const TransactionId raw = HeapTupleHeaderGetRawXmin(header);
  *claim = {};
  LockBuffer(pinned->buffer, BUFFER_LOCK_SHARE);
  const bool frozen = HeapTupleHeaderXminFrozen(header) || raw == FrozenTransactionId;
  const Deleted fate = deleted(header);
  // Hints raise it under a shared lock.
  claim->page_lsn = BufferGetLSNAtomic(pinned->buffer);
  LockBuffer(pinned->buffer, BUFFER_LOCK_UNLOCK);
  if (fate == Deleted::kYes) return false;
  if (!frozen && TransactionIdIsCurrentTransactionId(raw)) return false;
  // A deletion that is under way commits without touching the page; so does nothing where changes
  // are not logged.
  if (fate == Deleted::kMaybe || !RelationNeedsWAL(relation)) claim->page_lsn = 0;
  claim->storage = compat::storage_number(relation);
  claim->block = ItemPointerGetBlockNumber(&tuple->t_self);
  claim->item = ItemPointerGetOffsetNumber(&tuple->t_self);
  claim->root = root;
  claim->xmin = frozen ? FrozenTransactionId : raw;
  claim->buffer = pinned->buffer;
  return true;
}

bool make_claim_at_commit(Relation relation, HeapTuple tuple, Buffer buffer, Claim* claim) {
  const TransactionId raw = HeapTupleHeaderGetRawXmin(tuple->t_data);
  if (!TransactionIdIsCurrentTransactionId(raw)) return false;
  *claim = {};
  claim->storage = compat::storage_number(relation);
  claim->block = ItemPointerGetBlockNumber(&tuple->t_self);
  claim->item = ItemPointerGetOffsetNumber(&tuple->t_self);
  claim->root = HeapTupleHeaderIsHeapOnly(tuple->t_data) ? InvalidOffsetNumber : claim->item;
  claim->xmin = raw;
  claim->buffer = buffer;
  if (RelationNeedsWAL(relation)) claim->page_lsn = BufferGetLSNAtomic(buffer);
  return true;
}

bool find_root(const Claim* older, Claim* claim) {
  if (OffsetNumberIsValid(claim->root)) return true;
  if (older != nullptr && older->storage == claim->storage && older->block == claim->block) {
    claim->root = older->root;
  } else {
    LockBuffer(claim->buffer, BUFFER_LOCK_SHARE);
    claim->root = root_of(BufferGetPage(claim->buffer), claim->item);
    LockBuffer(claim->buffer, BUFFER_LOCK_UNLOCK);
  }
  return OffsetNumberIsValid(claim->root);
}

}  // namespace pgwc::row_cache
