// The write buffer: rows between the commit that acknowledged them and the flush that stores them.
//
// Two memories. The buffer file (layout.hpp) holds the records and nothing else. The shared index
// (below) holds block descriptors, free list and queues; it is built afresh at every server start
// by scanning the file (recovery.hpp).
//
// Who may do what:
//   reserve, fill, publish, discard     any session, for its own frames
//   take, mark, finish, cancel          one flusher per queue at a time; the caller guarantees it
//   (PostgreSQL: the flush
//                                       worker under its table lock, or DDL under ACCESS EXCLUSIVE)
//   everything else                     says so itself
//
// Locks (ids into Locks): kDirectoryLock guards the free list and the queue slots' identities;
// queue_lock(q) guards q's block chain, counters and the descriptors of its blocks. Order: a
// queue's lock, then the directory's. Nothing here blocks on anything but these, allocates in the
// commit path, or throws (take() may: it grows the caller's vector).
#pragma once

#ifdef POSTGRES_H
#error "core headers come before PostgreSQL's and never need them"
#endif

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/block_summary.hpp"
#include "core/layout.hpp"
#include "core/limits.hpp"
#include "core/status.hpp"

namespace pgwc {

using QueueNo = std::uint32_t;
using LockId = std::uint32_t;

inline constexpr LockId kDirectoryLock = 0;
constexpr LockId queue_lock(QueueNo queue) { return 1 + queue; }

// Mutual exclusion between processes, as the environment provides it (LWLocks; process-shared
// mutexes in tests).
class Locks {
 public:
  virtual void acquire(LockId id) noexcept = 0;
  virtual void release(LockId id) noexcept = 0;

 protected:
  ~Locks() = default;
};

class LockGuard {
 public:
  LockGuard(Locks& locks, LockId id) noexcept : locks_(locks), id_(id) { locks_.acquire(id_); }
  ~LockGuard() { locks_.release(id_); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  Locks& locks_;
  LockId id_;
};

struct Geometry {
  std::uint32_t block_count;
  std::uint32_t queue_count;
};

// When a queue asks for its flusher. Zero fields never trigger.
struct FlushPolicy {
  std::uint64_t rows;
  std::uint64_t bytes;
  std::int64_t interval_us;
};

// --- shared index
// ---------------------------------------------------------------------------------

struct BlockDesc {
  // Free and parked blocks: directory lock. Blocks of a queue: its lock.
  std::uint32_t next;
  std::uint32_t prev;  // in a queue's chain only
  std::uint32_t used;  // bytes from the block's start; grows under the queue lock, read anywhere
  std::uint32_t open_frames;       // reserved and neither published nor discarded
  std::uint32_t unflushed_frames;  // published and not yet flushed
  std::uint32_t queue;             // kNoQueueNo: free or parked
  std::uint64_t min_seq;           // of the unflushed frames; a lower bound
  std::uint64_t epoch;
  std::int64_t first_us;     // when the oldest unflushed frame was published; a lower bound
  std::uint64_t last_batch;  // the last batch that flushed a frame in here, 0 if none
  std::uint32_t unused[2];
};
static_assert(sizeof(BlockDesc) == 64);

// A committed batch whose blocks may not be reused yet: some snapshot may still need the buffered
// copy.
struct RetiredBatch {
  std::uint64_t batch;
  std::uint64_t lsn;
  std::int64_t finished_us;
  Xid flush_xid;
  std::uint32_t unused;
};

inline constexpr std::size_t kRetiredSlots = 16;

struct QueueCounters {
  std::uint64_t rows_published;
  std::uint64_t bytes_published;
  std::uint64_t rows_flushed;
  std::uint64_t rows_discarded;  // reserved, then rolled back
  std::uint64_t batches;
};

struct alignas(kCacheLine) Queue {
  // Both the queue's and the directory's lock to change, either to read; the id is atomic besides.
  std::uint64_t id;  // 0: the slot is free
  std::uint32_t relation;
  // Queue lock.
  std::uint32_t head;
  std::uint32_t tail;
  std::uint32_t block_count;
  std::uint64_t flushed_through;  // no frame with a sequence number up to here is unflushed
  std::uint64_t requested;        // a flush was asked for up to here
  std::uint64_t pending_rows;     // published, not flushed
  std::uint64_t pending_bytes;
  std::uint64_t open_frames;
  std::uint64_t next_batch;   // never starts again, also not when the slot changes hands
  std::uint64_t freed_batch;  // batches up to here are through: no snapshot needs their rows
  FlushPolicy policy;
  QueueCounters counters;
  std::uint32_t retired_count;
  Xid freed_xid;              // newest flush transaction whose buffered copies are gone
  std::uint32_t dropped;      // the table is gone; the slot is free as soon as the last block is
  std::uint32_t unannounced;  // rows are pending that no publish has called wake() for
  RetiredBatch retired[kRetiredSlots];
};

struct alignas(kCacheLine) BufferControl {
  // Immutable after start.
  std::uint64_t magic;
  Geometry geometry;
  std::uint64_t incarnation;
  // Atomic.
  alignas(kCacheLine) std::uint64_t next_seq;
  std::uint64_t next_epoch;
  std::uint32_t settled;        // recovery is complete
  std::uint64_t slot_changes;   // how often a queue got a slot or lost it
  std::uint32_t phase;          // how often somebody has begun to wait for those who publish
  std::uint32_t publishing[2];  // transactions of several frames, by the phase they began in
  // Directory lock.
  alignas(kCacheLine) std::uint32_t free_head;
  std::uint32_t free_count;
  // Queues without a block. Each is owed one: a queue that has blocks leaves that many free, so
  // that one greedy table cannot keep all others out.
  std::uint32_t empty_queues;
  std::uint32_t parked_head;
  std::uint32_t parked_count;  // blocks of queues that found no slot, until open_queue() has one
};

// --- what callers hold
// ----------------------------------------------------------------------------

struct FrameRef {
  std::uint64_t seq;  // 0 until published
  QueueNo queue;
  std::uint32_t block;
  std::uint32_t offset;
  std::uint32_t rows;
};

// A block of a queue as a reader found it; its number is used again, its epoch never.
struct BlockRef {
  std::uint32_t block;
  std::uint32_t used;
  std::uint64_t epoch;
};

struct FlushLimits {
  std::uint64_t rows;
  std::uint64_t bytes;
};

struct Batch {
  std::uint64_t through;   // the queue's flushed_through once this batch is stored
  std::uint64_t last_seq;  // of the last frame in the batch, 0 if empty
  std::uint64_t rows;
  std::uint64_t bytes;
};

struct QueueView {
  QueueNo no;
  std::uint64_t id;
  std::uint32_t relation;
  std::uint32_t block_count;
  std::uint64_t flushed_through;
  std::uint64_t requested;
  std::uint64_t pending_rows;
  std::uint64_t pending_bytes;
  std::uint64_t open_frames;
  std::int64_t oldest_us;  // publish time of the oldest pending row (a lower bound), 0 if none
  std::uint32_t retired_count;
  FlushPolicy policy;
  QueueCounters counters;
};

// Bytes of shared memory for the index; the only place that adds them up.
std::size_t shared_index_size(const Geometry& geometry) noexcept;

// How many frames `bytes` of staged rows can need at most.
constexpr std::size_t max_frames(std::size_t bytes) { return 2 * (bytes / kMaxPayload) + 2; }

class WriteBuffer {
 public:
  struct Create {};
  struct Attach {};

  // Create formats the index over zeroed or dirty memory; every block is free until recovery says
  // otherwise.
  WriteBuffer(Create, void* index, std::byte* file, const Geometry& geometry,
              std::uint64_t incarnation, std::uint64_t run, Locks& locks) noexcept;
  WriteBuffer(Attach, void* index, std::byte* file, Locks& locks) noexcept;

  // Finds the queue with this id or gives it a slot, and what recovery has parked for it.
  Status open_queue(std::uint64_t id, std::uint32_t relation, QueueNo* queue) noexcept;
  bool is_queue(QueueNo queue, std::uint64_t id) const noexcept;
  void set_policy(QueueNo queue, const FlushPolicy& policy) noexcept;

  // Reserves frames for all of `rows` (framed rows, back to back) or for none. `frames` has room
  // for max_frames(). The frames are RESERVED; the caller fills each, then publishes or discards
  // them all. Not for a dropped queue: kNoQueue.
  Status reserve(QueueNo queue, std::uint64_t queue_id, std::uint32_t generation,
                 std::span<const std::byte> rows, FrameRef* frames,
                 std::size_t* frame_count) noexcept;

  // Copies the rows of one reserved frame and makes it PREPARED. Returns how many bytes of `rows`
  // it took.
  // `frames`: how many the transaction has.
  std::size_t fill(const FrameRef& frame, const std::byte* rows, Xid xid, bool pure,
                   std::uint32_t origin = 0, std::size_t frames = 0) noexcept;

  // Makes a transaction's frames permanent. Cannot fail; the commit callback. Calls `wake(queue)`
  // for each queue that now wants its flusher's attention: it was empty, or crossed a limit of its
  // policy.
  template <class Wake>
  void publish(std::span<FrameRef> frames, std::int64_t now_us, Wake&& wake) noexcept {
    if (frames.size() < 2) {
      for (FrameRef& frame : frames)
        if (publish_one(frame, now_us)) wake(frame.queue);
      return;
    }
    const std::uint32_t phase = enter_publishing();
    mark_committed(frames);
    for (FrameRef& frame : frames)
      if (publish_one(frame, now_us)) wake(frame.queue);
    leave_publishing(phase);
  }

  // Returns when every transaction of several frames that has published one of them by now has
  // published all. For one at a time. Calls pause() while it waits.
  template <class Pause>
  void await_publishers(Pause&& pause) noexcept {
    // Twice, because who has read the phase long ago may be counted only now.
    for (int turn = 0; turn < 2; ++turn)
      for (const std::uint32_t phase = next_phase(); is_publishing(phase);) pause();
  }

  void discard(std::span<const FrameRef> frames) noexcept;

  // Collects the oldest unflushed frames in publish order, up to the limits but at least one frame.
  Batch take(QueueNo queue, const FlushLimits& limits, std::vector<FrameRef>* frames) const;

  // Whether some of the frames are a part only of their transaction, not counting those with a
  // sequence number up to `after`. May throw std::bad_alloc.
  bool splits_transaction(std::span<const FrameRef> frames, std::uint64_t after) const;

  // Stores the flushing transaction's id in each frame; before it commits.
  void mark(std::span<const FrameRef> frames, Xid flush_xid) noexcept;

  // The flush failed or was rolled back: the frames are unflushed again.
  void cancel(std::span<const FrameRef> frames) noexcept { mark(frames, kNoXid); }

  // The flush committed at `lsn`, and everybody could see that by `now_us`: the frames are done,
  // their blocks reusable after reclaim(). All frames of a take(), or none: later ones may not be
  // finished before earlier ones. What a drop_queue() has thrown away in the meantime is passed
  // over.
  void finish(QueueNo queue, std::span<const FrameRef> frames, std::uint64_t through, Xid flush_xid,
              std::uint64_t lsn, std::int64_t now_us = 0) noexcept;

  // Copies the batches that wait for snapshots to end, oldest first; returns their number.
  std::size_t retired(QueueNo queue, RetiredBatch (&out)[kRetiredSlots]) const noexcept;

  // Frees every block that holds nothing unflushed and only batches up to `batch`. Returns how
  // many.
  std::uint32_t reclaim(QueueNo queue, std::uint64_t batch) noexcept;

  // Makes the queue's records independent of transaction ids older than `horizon`, which every
  // snapshot there is sees and no crash can lose: before the ids come round again.
  void freeze(QueueNo queue, Xid horizon) noexcept;

  // The table is gone: throws away what is pending and gives the slot back once nothing is open.
  // For the owner of the table's exclusive lock, at commit. Nothing happens if the slot has changed
  // hands already.
  void drop_queue(QueueNo queue, std::uint64_t queue_id) noexcept;

  // Asks for a flush up to `seq`. Returns true if anything that old is pending.
  bool request(QueueNo queue, std::uint64_t seq) noexcept;

  QueueView view(QueueNo queue) const noexcept;
  // The slot of a queue, kNoQueueNo if it has none: nothing was ever staged for it.
  QueueNo find_queue(std::uint64_t id) const noexcept;
  // Changes whenever find_queue() might answer otherwise.
  std::uint64_t slot_changes() const noexcept;

  // Reading, at a snapshot: list_blocks() once, then copy_block() each. What is visible to the
  // snapshot was reserved before it was taken, so a later list misses nothing.
  //
  // Whether there is nothing to read at all; without a lock. `freed_xid` as in list_blocks().
  bool is_empty(QueueNo queue, std::uint64_t queue_id, Xid* freed_xid) const noexcept;
  // Lists the queue's blocks in the order of their use, as many as fit, and returns how many there
  // are. `freed_xid`: the newest flush whose buffered rows are gone; a snapshot that does not see
  // it comes too late.
  std::size_t list_blocks(QueueNo queue, std::uint64_t queue_id, BlockRef* out,
                          std::size_t capacity, Xid* freed_xid) const noexcept;
  // Copies a block from an offset up to `used`, to the same place of `out`, without a lock. False
  // if it is not in use for this any more; ask for `freed_xid` then.
  bool copy_block(const BlockRef& ref, std::byte* out, std::uint32_t from = 0) const noexcept;
  BlockSummary& summary(const BlockRef& ref) const noexcept { return summaries_[ref.block]; }
  QueueNo queue_count() const noexcept { return control_->geometry.queue_count; }
  std::uint32_t block_count() const noexcept { return control_->geometry.block_count; }
  std::uint32_t free_blocks() const noexcept;
  std::uint32_t parked_blocks() const noexcept;
  std::uint64_t incarnation() const noexcept { return control_->incarnation; }
  // The last sequence number given out: everything published before this call has it or a smaller
  // one.
  std::uint64_t last_seq() const noexcept;
  bool settled() const noexcept;

  const FrameHeader& header(const FrameRef& frame) const noexcept;
  std::span<const std::byte> payload(const FrameRef& frame) const noexcept;

  // Calls fn(row bytes) for each row of the frame; rows begin with their u32 length.
  template <class Fn>
  void for_each_row(const FrameRef& frame, Fn&& fn) const {
    std::span<const std::byte> rest = payload(frame);
    for (std::uint32_t i = 0; i < frame.rows; ++i) {
      std::uint32_t size = row_size(rest);
      fn(rest.first(size));
      rest = rest.subspan(align_up<kRowAlign>(size));
    }
  }

  static std::uint32_t row_size(std::span<const std::byte> rows) noexcept {
    std::uint32_t size;
    __builtin_memcpy(&size, rows.data(), sizeof(size));
    return size;
  }

 private:
  friend class Recovery;

  std::byte* block_start(std::uint32_t block) const noexcept { return file_ + block_offset(block); }
  FrameHeader* header_at(std::uint32_t block, std::uint32_t offset) const noexcept {
    return reinterpret_cast<FrameHeader*>(block_start(block) + offset);
  }
  std::uint32_t salt() const noexcept { return file_salt(control_->incarnation); }
  QueueNo find_slot(std::uint64_t id) const noexcept;
  void adopt_parked(Queue& queue, QueueNo no, std::uint64_t id) noexcept;
  // Whether nothing in the block can be wanted by anybody any more.
  static bool is_done(const BlockDesc& block, const Queue& queue) noexcept;
  std::uint32_t allocate_block(Queue& queue, QueueNo no) noexcept;
  void append_block(Queue& queue, std::uint32_t block) noexcept;
  void remove_block(Queue& queue, std::uint32_t block) noexcept;
  void release_block(std::uint32_t block, bool last_of_queue) noexcept;
  void mark_committed(std::span<const FrameRef> frames) noexcept;
  std::uint32_t enter_publishing() noexcept;
  void leave_publishing(std::uint32_t phase) noexcept;
  std::uint32_t next_phase() noexcept;
  bool is_publishing(std::uint32_t phase) const noexcept;
  bool publish_one(FrameRef& frame, std::int64_t now_us) noexcept;
  void discard_frame(const FrameRef& frame, Queue& queue) noexcept;
  bool keep_oldest(const FlushLimits& limits, std::vector<FrameRef>* frames, Batch* batch) const;
  std::uint32_t reclaim_locked(Queue& queue, std::uint64_t batch) noexcept;
  static void reset_slot(Queue& queue) noexcept;
  void free_slot_if_unused(Queue& queue) noexcept;

  BufferControl* control_;
  Queue* queues_;
  BlockDesc* blocks_;
  BlockSummary* summaries_;
  std::byte* file_;
  Locks& locks_;
};

}  // namespace pgwc
