// Does random things to a write buffer and to the World beside it, and compares the two.
#pragma once

#include <functional>
#include <map>
#include <random>
#include <vector>

#include "unit/rig.hpp"
#include "unit/store_recorder.hpp"
#include "unit/world.hpp"

namespace pgwc::test {

class Driver {
 public:
  static constexpr std::uint32_t kBlocks = kMinBlocks;
  static constexpr std::uint32_t kSlots = 8;  // more than there are queues at a time
  static constexpr std::size_t kQueues = 4;

  // With `crash_points`, up to so many states inside every operation are recovered and compared.
  Driver(unsigned seed, std::size_t crash_points)
      : random_(seed),
        crash_points_(crash_points),
        file_(file_size(kBlocks)),
        before_(file_.size()),
        recorder_(file_),
        rig_(file_.data(), {kBlocks, kSlots}, 1) {
    for (std::size_t i = 0; i < kQueues; ++i) queues_.push_back(next_queue_++);
  }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      step();
      check_views();
    }
  }
  void step();
  // Everything stops here; what comes back must be what the World says.
  void crash_and_recover(std::uint32_t slots);
  // Ends what is open, flushes what is pending: every block comes back.
  void finish_all();

  std::size_t crashes() const { return crashes_; }
  std::uint64_t rows() const { return next_row_ - 1; }

 private:
  struct Flight {
    std::vector<FrameRef> frames;
    Batch batch;
    Xid xid;
  };

  std::size_t below(std::size_t n) { return n == 0 ? 0 : random_() % n; }
  bool chance(unsigned percent) { return below(100) < percent; }

  bool open(QueueId id, QueueNo* queue);
  void perform(const std::function<void()>& operation, const std::function<void()>& note,
               QueueId dropped = 0);
  void record(const std::function<void()>& operation);
  void for_each_crash_point(const std::function<void(const std::map<QueueId, Ids>&)>& check);
  bool is_right(const std::map<QueueId, Ids>& actual, std::map<QueueId, Survivors> expected,
                QueueId dropped) const;
  std::map<QueueId, Ids> recovered_rows(Rig& rig, const World& world, bool forgets_flushes);
  void apply_watermark(QueueId id, QueueNo queue);
  void import(QueueId id, QueueNo queue, const Survivors& expected);
  void check_views();

  void reserve();
  void fill();
  void publish();
  void discard();
  void take();
  void land();
  void reclaim();
  void drop();

  std::mt19937 random_;
  std::size_t crash_points_;
  Pages file_;
  Memory before_;  // what the operation found
  StoreRecorder recorder_;
  Rig rig_;
  World world_;
  std::vector<QueueId> queues_;
  std::map<Xid, std::vector<FrameRef>> frames_;  // of staged transactions
  std::map<Xid, Bytes> rows_;
  std::map<QueueId, Flight> flights_;
  std::map<QueueId, Survivors> parked_;  // recovered, without a slot
  std::set<QueueId> watermark_applied_;
  std::map<RowId, Xid> transaction_of_;
  QueueId next_queue_ = 1;
  RowId next_row_ = 1;
  Xid next_xid_ = kFirstXid;
  std::size_t crashes_ = 0;
};

// --- the frame around an operation ---

inline void Driver::perform(const std::function<void()>& operation,
                            const std::function<void()>& note, QueueId dropped) {
  const std::map<QueueId, Survivors> old = survivors(world_);
  record(operation);
  note();
  for_each_crash_point([&](const std::map<QueueId, Ids>& actual) {
    must(is_right(actual, old, dropped) ||
             is_right(actual, between(old, survivors(world_)), dropped),
         "a crash inside an operation leaves the state before or the state after it");
  });
}

inline void Driver::record(const std::function<void()>& operation) {
  if (crash_points_ == 0) return operation();
  std::memcpy(before_.data(), file_.data(), file_.size());
  recorder_.record(operation);
}

// Calls check(what a recovery finds) for some of the states inside the last operation: evenly
// spread, and always the first and the last few.
inline void Driver::for_each_crash_point(
    const std::function<void(const std::map<QueueId, Ids>&)>& check) {
  if (crash_points_ == 0) return;
  const std::size_t count = recorder_.count();
  for (std::size_t i = 0; i < count; ++i) {
    recorder_.replay(i, before_.data());
    if (count > crash_points_ && i > 2 && i + 3 < count && below(count) >= crash_points_) continue;
    Memory copy(before_.size());
    std::memcpy(copy.data(), before_.data(), before_.size());
    Rig rig(copy.data(), {kBlocks, kSlots}, rig_.run() + 1);
    check(recovered_rows(rig, world_, chance(30)));
    ++crashes_;
  }
}

inline bool Driver::is_right(const std::map<QueueId, Ids>& actual,
                             std::map<QueueId, Survivors> expected, QueueId dropped) const {
  for (const auto& [id, rows] : parked_) expected[id] = rows;
  for (const auto& [id, rows] : actual)
    if (id != dropped && !matches(rows, expected[id], transaction_of_)) return false;
  for (const auto& [id, rows] : expected)
    if (id != dropped && actual.count(id) == 0 && rows != Survivors{}) return false;
  return true;
}

inline std::map<QueueId, Ids> Driver::recovered_rows(Rig& rig, const World& world,
                                                     bool forgets_flushes) {
  Recovery recovery(rig.buffer());
  const ScanReport scanned = recovery.scan();
  must(scanned.damaged_blocks == 0 && scanned.parked_blocks == 0, "nothing is damaged");
  (void)recovery.settle(WorldsLog(world, forgets_flushes), 0);
  std::map<QueueId, Ids> result;
  for (QueueNo q = 0; q < kSlots; ++q) {
    const QueueId id = rig.buffer().view(q).id;
    if (id == 0) continue;
    if (const auto mark = world.watermarks.find(id); mark != world.watermarks.end())
      Recovery::apply_watermark(rig.buffer(), q, mark->second);
    result[id] = rig.pending(q);
  }
  return result;
}

inline void Driver::crash_and_recover(std::uint32_t slots) {
  std::map<QueueId, Survivors> expected = survivors(world_);
  for (const auto& [id, rows] : parked_) expected[id] = rows;
  parked_.clear();
  rig_.start({kBlocks, slots});
  Recovery recovery(rig_.buffer());
  const World at_crash = world_;
  const bool forgets_flushes = chance(30);
  record([&] {
    recovery.scan();
    (void)recovery.settle(WorldsLog(at_crash, forgets_flushes), 0);
  });
  // A crash in the middle of that, and once more: nothing else comes of it.
  std::map<QueueId, Ids> first;
  for_each_crash_point([&](const std::map<QueueId, Ids>& actual) {
    if (first.empty()) first = actual;
    must(is_right(actual, expected, 0), "recovery can be interrupted anywhere");
    for (const auto& [id, rows] : actual)
      must(first[id] == rows, "interrupted or not, the order is the same");
  });
  frames_.clear();
  rows_.clear();
  flights_.clear();
  world_ = {};
  world_.watermarks = at_crash.watermarks;
  watermark_applied_.clear();
  for (QueueNo q = 0; q < slots; ++q)
    if (const QueueId id = rig_.buffer().view(q).id; id != 0) apply_watermark(id, q);
  for (const auto& [id, rows] : expected) {
    if (rows == Survivors{}) continue;
    parked_[id] = rows;
    QueueNo queue;
    open(id, &queue);
  }
  must(slots != kSlots || parked_.empty(), "with slots enough nothing is parked");
}

// What the flush worker does before its first batch.
inline void Driver::apply_watermark(QueueId id, QueueNo queue) {
  const auto mark = world_.watermarks.find(id);
  if (watermark_applied_.insert(id).second && mark != world_.watermarks.end())
    Recovery::apply_watermark(rig_.buffer(), queue, mark->second);
}

// Takes a recovered queue's rows over into the World.
inline void Driver::import(QueueId id, QueueNo queue, const Survivors& expected) {
  std::vector<FrameRef> frames;
  rig_.take(queue, &frames);
  must(matches(rig_.ids_in(frames), expected, transaction_of_), "survivors are what they must be");
  for (const FrameRef& frame : frames)
    world_.published[id][frame.seq] = {rig_.ids_in({&frame, 1}), kFrozenXid, kNoXid};
}

inline bool Driver::open(QueueId id, QueueNo* queue) {
  if (rig_.buffer().open_queue(id, 0, queue) != Status::kOk) return false;
  apply_watermark(id, *queue);
  if (const auto parked = parked_.find(id); parked != parked_.end()) {
    import(id, *queue, parked->second);
    parked_.erase(parked);
  }
  return true;
}

inline void Driver::check_views() {
  for (QueueNo q = 0; q < rig_.buffer().queue_count(); ++q) {
    const QueueView view = rig_.buffer().view(q);
    if (view.id == 0) continue;
    std::uint64_t rows = 0;
    std::uint64_t open_frames = 0;
    for (const auto& [seq, frame] : world_.published[view.id]) {
      rows += frame.ids.size();
      must(seq > view.flushed_through, "flushed_through is below everything pending");
    }
    for (const World::Staged& staged : world_.staged)
      for (const auto& [id, ids] : staged.frames) open_frames += id == view.id ? 1 : 0;
    must(view.pending_rows == rows, "pending_rows is exact");
    must(view.open_frames == open_frames, "open_frames is exact");
    must((view.pending_bytes == 0) == (rows == 0), "pending_bytes goes with the rows");
  }
}

// --- the operations ---

inline void Driver::step() {
  switch (below(20)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
      return reserve();
    case 5:
    case 6:
    case 7:
    case 8:
      return fill();
    case 9:
    case 10:
    case 11:
    case 12:
      return publish();
    case 13:
      return discard();
    case 14:
    case 15:
      return take();
    case 16:
    case 17:
      return land();
    case 18:
      return reclaim();
    default:
      if (chance(30)) return drop();
      if (chance(30)) return crash_and_recover(chance(50) ? kSlots : 2);
  }
}

inline void Driver::reserve() {
  if (frames_.size() > 6) return;
  const Xid xid = next_xid_++;
  World::Staged staged{xid, false, {}};
  std::vector<FrameRef> frames;
  Bytes all_rows;
  const std::size_t parts = chance(25) ? 1 + below(3) : 1;
  for (std::size_t part = 0; part < parts; ++part) {
    const QueueId id = queues_[(xid + part) % kQueues];
    QueueNo queue;
    if (!open(id, &queue)) continue;
    Bytes rows;
    const std::size_t count = 1 + below(4);
    const bool large = chance(20);
    RowId row = next_row_;
    for (std::size_t i = 0; i < count; ++i)
      append_row(&rows, row++, static_cast<std::uint32_t>(12 + below(large ? 40000 : 300)));
    std::vector<FrameRef> more;
    Status status = Status::kOk;
    perform([&] { status = rig_.try_reserve(queue, rows, &more); }, [] {});
    must(status == Status::kOk || (status == Status::kNoSpace && more.empty()),
         "all is reserved, or nothing for want of space");
    if (status != Status::kOk) continue;
    for (const FrameRef& frame : more) {
      Ids ids;
      for (std::uint32_t i = 0; i < frame.rows; ++i) {
        transaction_of_[next_row_] = xid;
        ids.push_back(next_row_++);
      }
      staged.frames.push_back({id, ids});
    }
    must(next_row_ == row, "every row is in a frame");
    frames.insert(frames.end(), more.begin(), more.end());
    all_rows.insert(all_rows.end(), rows.begin(), rows.end());
  }
  if (frames.empty()) return;
  world_.log[xid] = {chance(60), false};
  world_.staged.push_back(staged);
  frames_[xid] = frames;
  rows_[xid] = all_rows;
}

inline void Driver::fill() {
  for (World::Staged& staged : world_.staged) {
    if (staged.filled) continue;
    const Xid xid = staged.xid;
    const auto operation = [&] { rig_.fill(frames_[xid], rows_[xid], xid, world_.log[xid].pure); };
    if (rows_[xid].size() < 3000) {
      perform(operation, [&] { staged.filled = true; });
    } else {  // a store at a time takes too long
      operation();
      staged.filled = true;
    }
    return;
  }
}

inline void Driver::publish() {
  if (world_.staged.empty()) return;
  const auto staged =
      world_.staged.begin() + static_cast<std::ptrdiff_t>(below(world_.staged.size()));
  if (!staged->filled) return;
  const Xid xid = staged->xid;
  World::Transaction& transaction = world_.log[xid];
  if (!transaction.committed) {
    // The commit record; it may get lost, for no one may have waited for it.
    transaction.committed = chance(70);
    if (transaction.committed && chance(50)) return;  // stuck, or killed before the callback
  }
  std::vector<FrameRef>& frames = frames_[xid];
  perform([&] { rig_.publish(frames); },
          [&] {
            for (std::size_t i = 0; i < frames.size(); ++i)
              world_.published[staged->frames[i].first][frames[i].seq] = {staged->frames[i].second,
                                                                          xid, kNoXid};
            world_.staged.erase(staged);
          });
  frames_.erase(xid);
  rows_.erase(xid);
}

inline void Driver::discard() {
  if (world_.staged.empty()) return;
  const auto staged =
      world_.staged.begin() + static_cast<std::ptrdiff_t>(below(world_.staged.size()));
  const Xid xid = staged->xid;
  if (world_.log[xid].committed) return;
  perform([&] { rig_.buffer().discard(frames_[xid]); }, [&] { world_.staged.erase(staged); });
  frames_.erase(xid);
  rows_.erase(xid);
}

// A flush begins: its rows carry its number.
inline void Driver::take() {
  const QueueId id = queues_[below(kQueues)];
  QueueNo queue;
  if (flights_.count(id) != 0 || !open(id, &queue)) return;
  Flight flight{};
  const FlushLimits limits{1 + below(8), chance(50) ? UINT64_MAX : 1 + below(50000)};
  flight.batch = rig_.take(queue, &flight.frames, limits);
  auto next = world_.published[id].begin();
  for (const FrameRef& frame : flight.frames) {
    must(next != world_.published[id].end() && next->first == frame.seq, "the oldest come first");
    must(next->second.ids == rig_.ids_in({&frame, 1}), "the rows are those that were written");
    ++next;
  }
  must(next == world_.published[id].end() || next->first > flight.batch.through,
       "through skips nothing");
  if (flight.frames.empty()) return;
  flight.xid = next_xid_++;
  world_.flushes[flight.xid] = false;
  perform([&] { rig_.buffer().mark(flight.frames, flight.xid); },
          [&] {
            for (const FrameRef& frame : flight.frames)
              world_.published[id][frame.seq].flush_xid = flight.xid;
          });
  flights_[id] = flight;
}

// A flush ends, one way or the other, or commits and has not told the buffer yet.
inline void Driver::land() {
  if (flights_.empty()) return;
  auto at = flights_.begin();
  std::advance(at, static_cast<std::ptrdiff_t>(below(flights_.size())));
  // No structured binding: lambdas below capture these.
  const QueueId id = at->first;
  const Flight& flight = at->second;
  auto& frames = world_.published[id];
  bool& committed = world_.flushes[flight.xid];
  if (!committed && chance(30)) {
    perform([&] { rig_.buffer().cancel(flight.frames); },
            [&] {
              for (const FrameRef& frame : flight.frames) frames[frame.seq].flush_xid = kNoXid;
            });
    flights_.erase(at);
    return;
  }
  if (!committed) {
    committed = true;
    world_.watermarks[id] = flight.batch.through;
    // The log is in order: what a flush has seen committed is on disk before the flush.
    for (const FrameRef& frame : flight.frames)
      if (frames[frame.seq].xid != kFrozenXid) world_.log[frames[frame.seq].xid].committed = true;
    if (chance(30)) return;
  }
  QueueNo queue;
  must(open(id, &queue), "the queue is there");
  perform([&] { rig_.buffer().finish(queue, flight.frames, flight.batch.through, flight.xid, 1); },
          [&] {
            for (const FrameRef& frame : flight.frames) frames.erase(frame.seq);
          });
  flights_.erase(at);
}

inline void Driver::reclaim() {
  QueueNo queue;
  if (!open(queues_[below(kQueues)], &queue)) return;
  RetiredBatch retired[kRetiredSlots];
  const std::size_t count = rig_.buffer().retired(queue, retired);
  if (count == 0) return;
  const std::uint64_t batch = retired[below(count)].batch;
  perform([&] { rig_.buffer().reclaim(queue, batch); }, [] {});
}

inline void Driver::drop() {
  const std::size_t which = below(kQueues);
  const QueueId id = queues_[which];
  QueueNo queue;
  if (flights_.count(id) != 0 || !open(id, &queue)) return;
  for (const World::Staged& staged : world_.staged)
    for (const auto& [frames_queue, ids] : staged.frames)
      if (frames_queue == id) return;
  perform([&] { rig_.buffer().drop_queue(queue, id); }, [&] { world_.published.erase(id); }, id);
  queues_[which] = next_queue_++;
}

inline void Driver::finish_all() {
  crash_and_recover(kSlots);
  for (QueueId id : queues_) {
    QueueNo queue;
    must(open(id, &queue), "there is a slot");
    rig_.flush(queue);
    rig_.buffer().reclaim(queue, UINT64_MAX);
  }
  must(rig_.buffer().free_blocks() == kBlocks, "every block comes back");
}

}  // namespace pgwc::test
