// Writers and a flusher on one buffer, as processes or as threads, with a ledger of what each has
// been promised and a table of what was stored.
#pragma once

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "core/recovery.hpp"
#include "unit/rows.hpp"
#include "unit/store_recorder.hpp"

namespace pgwc::test {

// Process-shared mutexes. One whose owner was killed stays locked, as an LWLock does.
class SharedLocks final : public Locks {
 public:
  static constexpr std::size_t kCount = 16;
  struct alignas(128) Lock {
    pthread_mutex_t mutex;
  };
  explicit SharedLocks(Lock* locks) : locks_(locks) {}
  static void create(Lock* locks) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    for (std::size_t i = 0; i < kCount; ++i) pthread_mutex_init(&locks[i].mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
  }
  void acquire(LockId id) noexcept override {
    must(pthread_mutex_lock(&locks_[id].mutex) == 0, "the lock works");
  }
  void release(LockId id) noexcept override { pthread_mutex_unlock(&locks_[id].mutex); }

 private:
  Lock* locks_;
};

struct Ledger {
  static constexpr std::uint64_t kWriters = 3;
  static constexpr std::uint64_t kQueues = 3;
  static constexpr std::size_t kTableRows = 4u << 20;

  // Transactions of each writer are numbered from 1. In the log: before publish; told the client:
  // after.
  struct alignas(128) Writer {
    std::atomic<std::uint64_t> logged;
    std::atomic<std::uint64_t> acknowledged;
    std::atomic<std::uint32_t> done;
  } writers[kWriters];
  // The flusher's: rows up to `committed` are stored, by the transactions up to `flushes`.
  struct alignas(128) Commit {
    std::atomic<std::uint64_t> rows;  // and the flush's number above bit 32
  } commit;
  std::atomic<std::uint32_t> stop;
  RowId table[kTableRows];
};

class Stress {
 public:
  static constexpr Geometry kGeometry{64, 8};
  static constexpr Xid kFirstFlush = 1u << 31;

  Stress()
      : ledger_pages_(sizeof(Ledger)),
        locks_pages_(sizeof(SharedLocks::Lock) * SharedLocks::kCount),
        index_(shared_index_size(kGeometry)),
        file_(file_size(kGeometry.block_count)),
        locks_(reinterpret_cast<SharedLocks::Lock*>(locks_pages_.data())) {
    start();
  }

  Ledger& ledger() { return *reinterpret_cast<Ledger*>(ledger_pages_.data()); }
  WriteBuffer& buffer() { return *buffer_; }

  // Begins a run on the file, with what the last one left.
  void start() {
    SharedLocks::create(reinterpret_cast<SharedLocks::Lock*>(locks_pages_.data()));
    buffer_.emplace(WriteBuffer::Create{}, index_.data(), file_.data(), kGeometry, 12345, ++run_,
                    locks_);
    for (std::uint64_t w = 0; w < Ledger::kWriters; ++w)
      if (const Ledger::Writer& writer = ledger().writers[w]; writer.logged > writer.acknowledged)
        in_doubt_.insert({w, writer.logged});
    Recovery recovery(buffer());
    must(recovery.scan().damaged_blocks == 0, "no kill damages the file");
    recovery.settle(Fates(*this), 0);
    for (std::uint64_t q = 0; q < Ledger::kQueues; ++q)
      must(buffer().open_queue(q + 1, 0, &queues_[q]) == Status::kOk, "there is a slot");
  }

  // Runs until it has published so many transactions, or for ever.
  void write(std::uint64_t writer, std::uint64_t transactions) {
    Ledger::Writer& me = ledger().writers[writer];
    std::mt19937 random(static_cast<unsigned>(writer + 77 * run_));
    for (std::uint64_t tx = me.logged.load() + 1; tx <= transactions; ++tx) {
      std::vector<FrameRef> frames;
      stage(writer, tx, random, &frames);
      if (is_rolled_back(tx)) {
        me.logged.store(tx);
        buffer().discard(frames);
      } else {
        me.logged.store(tx);
        buffer().publish(frames, 1, [](QueueNo) {});
      }
      me.acknowledged.store(tx);
    }
    me.done.store(1);
  }

  // Stores what comes until nothing does and the writers are done.
  void flush() {
    std::vector<FrameRef> frames;
    std::mt19937 random(static_cast<unsigned>(run_));
    for (bool again = true; again;) {
      again = false;
      for (const Ledger::Writer& writer : ledger().writers) again |= writer.done.load() == 0;
      for (QueueNo queue : queues_) {
        const FlushLimits limits{1 + random() % 3000, UINT64_MAX};
        const Batch batch = buffer().take(queue, limits, &frames);
        if (frames.empty()) continue;
        again = true;
        const std::uint64_t before = ledger().commit.rows.load();
        std::uint64_t rows = before & 0xFFFFFFFF;
        const std::uint64_t flush = (before >> 32) + 1;
        for (const FrameRef& frame : frames) {
          buffer().for_each_row(frame, [&](std::span<const std::byte> row) {
            must(rows < Ledger::kTableRows, "room in the table");
            ledger().table[rows++] = id_of(row);
          });
        }
        const Xid xid = kFirstFlush + static_cast<Xid>(flush);
        buffer().mark(frames, xid);
        if (random() % 16 == 0) {  // fails
          buffer().cancel(frames);
          continue;
        }
        ledger().commit.rows.store(flush << 32 | rows);
        buffer().finish(queue, frames, batch.through, xid, flush);
        RetiredBatch retired[kRetiredSlots];
        const std::size_t count = buffer().retired(queue, retired);
        if (count > 1 || rows % 2 == 0) buffer().reclaim(queue, retired[count - 1].batch);
      }
    }
  }

  // What a session with an eye on the whole does meanwhile.
  void watch() {
    while (ledger().stop.load() == 0) {
      for (QueueNo q = 0; q < buffer().queue_count(); ++q) {
        const QueueView view = buffer().view(q);
        must(view.id != 0 || view.pending_rows == 0, "a free slot is empty");
        buffer().request(q, buffer().last_seq());
      }
      must(buffer().free_blocks() <= buffer().block_count(), "blocks are counted");
    }
  }

  // Tables that come and go, in the slots that are left.
  void churn() {
    for (std::uint64_t id = 100; ledger().stop.load() == 0; ++id) {
      QueueNo queue;
      must(buffer().open_queue(id, 0, &queue) == Status::kOk, "there is a slot");
      FrameRef frames[4];
      std::size_t count = 0;
      const Bytes rows = make_rows({id, id});
      if (buffer().reserve(queue, id, 1, rows, frames, &count) == Status::kOk) {
        buffer().fill(frames[0], rows.data(), 5, true);
        if (id % 3 != 0) buffer().publish({frames, count}, 1, [](QueueNo) {});
        buffer().drop_queue(queue, id);
        if (id % 3 == 0) buffer().discard({frames, count});
      } else {
        buffer().drop_queue(queue, id);
      }
      must(!buffer().is_queue(queue, id), "the slot is given back");
    }
  }

  // Every row that was promised is in the table once, each writer's in order; of a transaction that
  // was killed before it was told, all or nothing. Call when all is flushed.
  void verify() {
    const std::uint64_t rows = ledger().commit.rows.load() & 0xFFFFFFFF;
    std::map<std::uint64_t, std::vector<int>> seen;  // transaction → per row, how often
    std::uint64_t last[Ledger::kWriters][Ledger::kQueues] = {};
    for (std::uint64_t i = 0; i < rows; ++i) {
      const RowId id = ledger().table[i];
      must(id != 0, "no row is changed");
      const std::uint64_t writer = id >> 48;
      const std::uint64_t tx = id >> 8 & 0xFF'FFFF'FFFF;
      const std::uint64_t row = id & 0xFF;
      must(writer < Ledger::kWriters && row < rows_of(tx), "no row is invented");
      std::uint64_t& newest = last[writer][queue_of(tx, row)];
      must(newest < id, "a writer's rows keep their order");
      newest = id;
      auto& counts = seen[writer << 40 | tx];
      counts.resize(rows_of(tx));
      ++counts[row];
    }
    for (std::uint64_t w = 0; w < Ledger::kWriters; ++w) {
      const Ledger::Writer& writer = ledger().writers[w];
      for (std::uint64_t tx = 1; tx <= writer.logged.load() + 1; ++tx) {
        const auto found = seen.find(w << 40 | tx);
        if (found == seen.end()) {
          must(is_rolled_back(tx) || tx > writer.logged.load() || in_doubt_.count({w, tx}) != 0,
               "acknowledged means kept");
          continue;
        }
        must(!is_rolled_back(tx), "rolled back means gone");
        for (int count : found->second) must(count == 1, "each row once, a transaction whole");
      }
      must(
          seen.upper_bound(w << 40 | (writer.logged.load() + 1)) == seen.lower_bound((w + 1) << 40),
          "no transaction is invented");
    }
  }

  std::uint64_t acknowledged() {
    std::uint64_t sum = 0;
    for (const Ledger::Writer& writer : ledger().writers) sum += writer.acknowledged.load();
    return sum;
  }
  std::uint64_t stored_rows() { return ledger().commit.rows.load() & 0xFFFFFFFF; }

 private:
  static bool is_rolled_back(std::uint64_t tx) { return tx % 10 == 3; }
  static std::uint64_t rows_of(std::uint64_t tx) { return tx % 50 == 7 ? 200 : 1 + tx % 7; }
  // Every fifth transaction writes to two tables, the first rows to one and the others to the next.
  static std::uint64_t queue_of(std::uint64_t tx, std::uint64_t row) {
    const bool second = tx % 5 == 0 && row >= rows_of(tx) / 2;
    return (tx + (second ? 1 : 0)) % Ledger::kQueues;
  }
  static bool is_pure(std::uint64_t tx) { return tx % 2 == 0; }
  static Xid xid_of(std::uint64_t writer, std::uint64_t tx) {
    return static_cast<Xid>(kFirstXidOfAll + tx * Ledger::kWriters + writer);
  }
  static constexpr std::uint64_t kFirstXidOfAll = 1000;

  class Fates final : public FateOf {
   public:
    explicit Fates(Stress& stress) : ledger_(stress.ledger()) {}
    Fate operator()(Xid xid) const noexcept override {
      if (xid > kFirstFlush) return say(xid - kFirstFlush <= ledger_.commit.rows.load() >> 32);
      const std::uint64_t number = xid - kFirstXidOfAll;
      const std::uint64_t tx = number / Ledger::kWriters;
      // A pure transaction's commit record may be lost: say always that it is.
      return say(!is_pure(tx) && !is_rolled_back(tx) &&
                 tx <= ledger_.writers[number % Ledger::kWriters].logged.load());
    }

   private:
    static Fate say(bool committed) { return committed ? Fate::kCommitted : Fate::kNotCommitted; }
    Ledger& ledger_;
  };

  void stage(std::uint64_t writer, std::uint64_t tx, std::mt19937& random,
             std::vector<FrameRef>* frames) {
    Bytes rows[Ledger::kQueues];
    for (std::uint64_t row = 0; row < rows_of(tx); ++row)
      append_row(&rows[queue_of(tx, row)], writer << 48 | tx << 8 | row,
                 static_cast<std::uint32_t>(16 + random() % 500));
    for (bool placed = false; !placed;) {
      placed = true;
      for (std::uint64_t q = 0; q < Ledger::kQueues && placed; ++q) {
        const std::size_t have = frames->size();
        std::size_t count = 0;
        frames->resize(have + max_frames(rows[q].size()));
        placed = buffer().reserve(queues_[q], q + 1, 1, rows[q], frames->data() + have, &count) ==
                 Status::kOk;
        frames->resize(have + count);
      }
      if (placed) break;
      buffer().discard(*frames);
      frames->clear();
      ::sched_yield();
    }
    std::size_t at[Ledger::kQueues] = {};
    for (const FrameRef& frame : *frames) {
      std::uint64_t q = 0;
      while (queues_[q] != frame.queue) ++q;
      at[q] += buffer().fill(frame, rows[q].data() + at[q], xid_of(writer, tx), is_pure(tx));
    }
  }

  Pages ledger_pages_;
  Pages locks_pages_;
  Pages index_;
  Pages file_;
  SharedLocks locks_;
  std::uint64_t run_ = 0;
  std::optional<WriteBuffer> buffer_;
  QueueNo queues_[Ledger::kQueues];
  std::set<std::pair<std::uint64_t, std::uint64_t>> in_doubt_;  // killed before they were told
};

}  // namespace pgwc::test
