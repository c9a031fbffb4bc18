// What must be true of a write buffer, told without one: who staged, committed, published and
// flushed what. Written after the design, not after the code.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "core/recovery.hpp"
#include "unit/rows.hpp"

namespace pgwc::test {

using QueueId = std::uint64_t;

struct World {
  struct Transaction {
    bool pure;
    bool committed;  // says the log after a crash
  };
  struct Published {
    Ids ids;
    Xid xid;        // kFrozenXid after a recovery
    Xid flush_xid;  // of the batch that holds it
  };
  struct Staged {
    Xid xid;
    bool filled;
    std::vector<std::pair<QueueId, Ids>> frames;
  };

  std::map<Xid, Transaction> log;
  std::map<Xid, bool> flushes;                                      // committed?
  std::map<QueueId, std::map<std::uint64_t, Published>> published;  // by sequence number
  std::vector<Staged> staged;
  std::map<QueueId, std::uint64_t> watermarks;

  bool is_stored(const Published& frame) const {
    const auto flush = flushes.find(frame.flush_xid);
    return flush != flushes.end() && flush->second;
  }
};

// What a crash now leaves of one queue: first what was published, in order; behind it what was not.
struct Survivors {
  Ids published;
  Ids others;  // sorted; a transaction's rows have ascending numbers

  bool operator==(const Survivors&) const = default;
};

inline std::map<QueueId, Survivors> survivors(const World& world) {
  std::map<QueueId, Survivors> result;
  for (const auto& [queue, frames] : world.published) {
    for (const auto& [seq, frame] : frames) {
      const auto transaction = world.log.find(frame.xid);
      const bool lives =
          frame.xid == kFrozenXid || transaction->second.pure || transaction->second.committed;
      if (!lives || world.is_stored(frame)) continue;
      Ids& ids = result[queue].published;
      ids.insert(ids.end(), frame.ids.begin(), frame.ids.end());
    }
  }
  for (const World::Staged& staged : world.staged) {
    if (!staged.filled || !world.log.at(staged.xid).committed) continue;
    for (const auto& [queue, frame] : staged.frames) {
      Ids& ids = result[queue].others;
      ids.insert(ids.end(), frame.begin(), frame.end());
    }
  }
  for (auto& [queue, rows] : result) std::sort(rows.others.begin(), rows.others.end());
  return result;
}

// The rows of `after`; those that `before` does not have as published may have got no place yet.
inline std::map<QueueId, Survivors> between(const std::map<QueueId, Survivors>& before,
                                            std::map<QueueId, Survivors> after) {
  for (auto& [queue, rows] : after) {
    const auto old = before.find(queue);
    const Ids had = old == before.end() ? Ids{} : old->second.published;
    const auto is_new = [&](RowId id) {
      return std::find(had.begin(), had.end(), id) == had.end();
    };
    const auto first_new =
        std::stable_partition(rows.published.begin(), rows.published.end(), std::not_fn(is_new));
    rows.others.insert(rows.others.end(), first_new, rows.published.end());
    rows.published.erase(first_new, rows.published.end());
    std::sort(rows.others.begin(), rows.others.end());
  }
  return after;
}

// Whether these rows, in this order, are the survivors. `transaction_of` names each row's.
inline bool matches(const Ids& rows, const Survivors& expected,
                    const std::map<RowId, Xid>& transaction_of) {
  const std::size_t first = expected.published.size();
  if (rows.size() != first + expected.others.size()) return false;
  if (!std::equal(expected.published.begin(), expected.published.end(), rows.begin())) return false;
  Ids others(rows.begin() + static_cast<std::ptrdiff_t>(first), rows.end());
  std::map<Xid, RowId> last;
  for (RowId id : others) {
    RowId& before = last[transaction_of.at(id)];
    if (before >= id) return false;
    before = id;
  }
  std::sort(others.begin(), others.end());
  return others == expected.others;
}

class WorldsLog final : public FateOf {
 public:
  // `forgets_flushes`: as after a restart of the operating system, when only the watermark knows.
  WorldsLog(const World& world, bool forgets_flushes)
      : world_(world), forgets_flushes_(forgets_flushes) {}
  Fate operator()(Xid xid) const noexcept override {
    if (const auto flush = world_.flushes.find(xid); flush != world_.flushes.end())
      return forgets_flushes_ ? Fate::kForgotten : say(flush->second);
    const auto found = world_.log.find(xid);
    return say(found != world_.log.end() && found->second.committed);
  }

 private:
  static Fate say(bool committed) { return committed ? Fate::kCommitted : Fate::kNotCommitted; }
  const World& world_;
  bool forgets_flushes_;
};

}  // namespace pgwc::test
