// What an entry of a table claims, and how a reader proves it.
//
// An entry says: "when this page had this LSN, the row version at this place was not deleted, and
// these are its bytes". A permanent table's pages get a new LSN with every change before the change
// commits; so as long as the page still has that LSN, nothing has happened to the row version, and
// a snapshot that sees its creator sees the row. Memory order: a change that a snapshot sees was
// made before its transaction left the list of running ones, which is before the snapshot was
// taken.
//
// Where that proof fails, the row version is fetched by its place with the snapshot and its key is
// compared: of an immediate unique key, at most one visible row can carry it.
#pragma once

#include <bit>

#include "pg/boundary/pg.hpp"

extern "C" {
#include "storage/buf.h"
#include "storage/itemptr.h"
}

namespace pgwc::row_cache {

struct Claim {
  std::uint64_t page_lsn;  // 0: cannot be proved by the page
  std::uint32_t storage;   // file number of the relation
  BlockNumber block;
  OffsetNumber root;   // where the index points to
  OffsetNumber item;   // the row version itself, on the same page
  TransactionId xmin;  // committed; FrozenTransactionId if frozen
  Buffer buffer;       // where the page was
  std::uint32_t spare;
  std::uint64_t made_at;  // of views and foreign tables: when the row was computed, microseconds
};
static_assert(sizeof(Claim) == sizeof(Stamp));

inline Stamp stamp_of(const Claim& claim) { return std::bit_cast<Stamp>(claim); }
inline Claim claim_of(const Stamp& stamp) { return std::bit_cast<Claim>(stamp); }

// Whether the claim holds for the snapshot, by the page's LSN alone. The relation is locked; the
// snapshot is an MVCC snapshot.
bool proved_by_page(const Claim& claim, Relation relation, Snapshot snapshot);

// Makes the claim for the row version in `slot`, which came from the relation's heap, visible to an
// MVCC snapshot, and is pinned there. False if nothing can be claimed that would hold for others:
// it was made or deleted by a transaction of this session, or deleted by one that has committed.
bool make_claim(Relation relation, TupleTableSlot* slot, OffsetNumber root, Claim* claim);

// The same for a row version that this transaction made, just before it commits: the claim holds
// for others once it has. The buffer, which has the tuple, is locked. The root is left invalid
// where it is another item.
bool make_claim_at_commit(Relation relation, HeapTuple tuple, Buffer buffer, Claim* claim);

// Finds the root of a claim that was made at the commit, on its page, which is pinned and not
// locked. `older`, if not null, is a claim about the same key: its root is likely to be the root
// still. A wrong root costs a failed proof. False if there is none.
bool find_root(const Claim* older, Claim* claim);

// Whether both are about the same row version, which never changes.
inline bool same_version(const Claim& a, const Claim& b) {
  // The place of a frozen version may have had another one, frozen as well.
  return a.storage == b.storage && a.block == b.block && a.item == b.item && a.xmin == b.xmin &&
         TransactionIdIsNormal(a.xmin);
}

}  // namespace pgwc::row_cache
