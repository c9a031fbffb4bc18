// The flusher: batches, what is stored, what snapshots hold back.
#include "core/write_buffer.hpp"

#include <algorithm>

#include "core/atomic.hpp"
#include "core/frame.hpp"

namespace pgwc {

bool WriteBuffer::request(QueueNo no, std::uint64_t seq) noexcept {
  LockGuard guard(locks_, queue_lock(no));
  Queue& queue = queues_[no];
  // What is flushed through says more than the blocks' lower bounds: a row that came during that
  // flush may keep a block's bound low, and nobody would hurry for it.
  if (queue.pending_rows == 0 || seq <= queue.flushed_through) return false;
  bool found = false;
  for (std::uint32_t b = queue.head; b != kNoBlock && !found; b = blocks_[b].next)
    found = blocks_[b].unflushed_frames > 0 && blocks_[b].min_seq <= seq;
  if (found) queue.requested = std::max(queue.requested, seq);
  return found;
}

Batch WriteBuffer::take(QueueNo no, const FlushLimits& limits,
                        std::vector<FrameRef>* frames) const {
  struct Candidate {
    std::uint32_t block;
    std::uint32_t used;
    std::uint64_t min_seq;
  };
  frames->clear();
  Batch batch{};
  std::vector<Candidate> candidates;
  for (std::size_t blocks = 0;;) {
    // Growing a vector under the lock could throw past it, so the room is made before.
    candidates.reserve(blocks);
    LockGuard guard(locks_, queue_lock(no));
    const Queue& queue = queues_[no];
    if (queue.block_count > candidates.capacity()) {
      blocks = queue.block_count + queue.block_count / 8 + 16;
      continue;
    }
    // Whatever this queue publishes after now gets a larger number.
    batch.through = last_seq();
    for (std::uint32_t b = queue.head; b != kNoBlock; b = blocks_[b].next)
      if (blocks_[b].unflushed_frames > 0)
        candidates.push_back({b, blocks_[b].used, blocks_[b].min_seq});
    break;
  }
  // In the order of their oldest frames: once the limits are reached, only a block that begins
  // before the newest frame kept can still push some out.
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.min_seq < b.min_seq; });
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;
  bool full = false;
  bool left = false;  // older than `through`, and not taken
  for (const Candidate& candidate : candidates) {
    if (full && candidate.min_seq > batch.last_seq) {
      left = true;
      break;
    }
    for (FrameCursor cursor(block_start(candidate.block), candidate.used); cursor.next();) {
      const FrameHeader& frame = cursor.header();
      if (frame_state(frame) != FrameState::kPublished) continue;
      if (frame.seq > batch.through) continue;
      if (full && frame.seq > batch.last_seq) {
        left = true;
        continue;
      }
      frames->push_back({frame.seq, no, candidate.block, cursor.offset(), frame.row_count});
      rows += frame.row_count;
      bytes += frame.payload_bytes;
    }
    full = !frames->empty() && (full || rows >= limits.rows || bytes >= limits.bytes);
    if (full && keep_oldest(limits, frames, &batch)) left = true;
  }
  if (!full) keep_oldest({UINT64_MAX, UINT64_MAX}, frames, &batch);
  if (left) batch.through = batch.last_seq;
  return batch;
}

// Sorts the frames by sequence number and cuts off what is beyond the limits. Returns whether
// anything was.
bool WriteBuffer::keep_oldest(const FlushLimits& limits, std::vector<FrameRef>* frames,
                              Batch* batch) const {
  std::sort(frames->begin(), frames->end(),
            [](const FrameRef& a, const FrameRef& b) { return a.seq < b.seq; });
  batch->rows = batch->bytes = batch->last_seq = 0;
  std::size_t keep = 0;
  while (keep < frames->size() &&
         (keep == 0 || (batch->rows < limits.rows && batch->bytes < limits.bytes))) {
    const FrameRef& frame = (*frames)[keep++];
    batch->rows += frame.rows;
    batch->bytes += header(frame).payload_bytes;
    batch->last_seq = frame.seq;
  }
  const bool cut = keep < frames->size();
  frames->resize(keep);
  return cut;
}

bool WriteBuffer::splits_transaction(std::span<const FrameRef> frames, std::uint64_t after) const {
  std::vector<Xid> several;
  for (const FrameRef& ref : frames)
    if (ref.seq > after && frames_of_transaction(header(ref).flags) > 1)
      several.push_back(header(ref).xid);
  if (several.empty()) return false;
  std::sort(several.begin(), several.end());
  for (const FrameRef& ref : frames) {
    const std::uint32_t expected = frames_of_transaction(header(ref).flags);
    if (ref.seq <= after || expected < 2) continue;
    const auto [first, last] = std::equal_range(several.begin(), several.end(), header(ref).xid);
    if (last - first < expected) return true;
  }
  return false;
}

void WriteBuffer::mark(std::span<const FrameRef> frames, Xid flush_xid) noexcept {
  for (const FrameRef& ref : frames)
    atomic(header_at(ref.block, ref.offset)->flush_xid).store(flush_xid, std::memory_order_release);
}

void WriteBuffer::finish(QueueNo no, std::span<const FrameRef> frames, std::uint64_t through,
                         Xid flush_xid, std::uint64_t lsn, std::int64_t now_us) noexcept {
  LockGuard guard(locks_, queue_lock(no));
  Queue& queue = queues_[no];
  const std::uint64_t batch = queue.next_batch;
  std::uint64_t rows = 0;
  for (const FrameRef& ref : frames) {
    FrameHeader& frame = *header_at(ref.block, ref.offset);
    BlockDesc& desc = blocks_[ref.block];
    if (frame_state(frame) != FrameState::kPublished || frame.seq != ref.seq) continue;
    set_frame_state(frame, FrameState::kFlushed);
    --desc.unflushed_frames;
    desc.min_seq = std::max(desc.min_seq, ref.seq + 1);
    desc.last_batch = batch;
    queue.pending_rows -= frame.row_count;
    queue.pending_bytes -= frame.payload_bytes;
    rows += frame.row_count;
  }
  if (rows == 0 && !frames.empty()) return;
  queue.flushed_through = std::max(queue.flushed_through, through);
  if (rows == 0) return;
  queue.counters.rows_flushed += rows;
  ++queue.counters.batches;
  ++queue.next_batch;
  // Full: the newest entry takes the new batch in, which only holds its blocks longer.
  RetiredBatch& slot =
      queue
          .retired[queue.retired_count < kRetiredSlots ? queue.retired_count++ : kRetiredSlots - 1];
  slot = {batch, lsn, now_us, flush_xid, 0};
}

void WriteBuffer::freeze(QueueNo no, Xid horizon) noexcept {
  const auto freeze_one = [horizon](Xid& xid) {
    if (xid != kNoXid && is_older(xid, horizon))
      atomic(xid).store(kFrozenXid, std::memory_order_release);
  };
  LockGuard guard(locks_, queue_lock(no));
  Queue& queue = queues_[no];
  for (std::uint32_t b = queue.head; b != kNoBlock; b = blocks_[b].next) {
    for (FrameCursor cursor(block_start(b), blocks_[b].used); cursor.next();) {
      FrameHeader& frame = cursor.header();
      const FrameState state = frame_state(frame);
      if (state == FrameState::kFlushed) freeze_one(frame.flush_xid);
      if (state == FrameState::kFlushed || state == FrameState::kPublished) freeze_one(frame.xid);
    }
  }
  // Nobody comes too late for it any more.
  if (queue.freed_xid != kNoXid && is_older(queue.freed_xid, horizon))
    atomic(queue.freed_xid).store(kNoXid, std::memory_order_relaxed);
}

std::size_t WriteBuffer::retired(QueueNo no, RetiredBatch (&out)[kRetiredSlots]) const noexcept {
  LockGuard guard(locks_, queue_lock(no));
  std::copy_n(queues_[no].retired, queues_[no].retired_count, out);
  return queues_[no].retired_count;
}

}  // namespace pgwc
