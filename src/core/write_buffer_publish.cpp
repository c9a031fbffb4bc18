// The writing session: room, records, publishing.
#include "core/write_buffer.hpp"

#include <cassert>
#include <cstring>
#include <utility>

#include "core/atomic.hpp"
#include "core/checksum.hpp"
#include "core/frame.hpp"

namespace pgwc {

Status WriteBuffer::reserve(QueueNo no, std::uint64_t queue_id, std::uint32_t generation,
                            std::span<const std::byte> rows, FrameRef* frames,
                            std::size_t* frame_count) noexcept {
  *frame_count = 0;
  LockGuard guard(locks_, queue_lock(no));
  Queue& queue = queues_[no];
  if (!is_queue(no, queue_id) || queue.dropped != 0) return Status::kNoQueue;
  Status status = Status::kOk;
  std::size_t count = 0;
  while (!rows.empty()) {
    std::uint32_t block = queue.tail;
    RowRun run{};
    if (block != kNoBlock) run = longest_run(rows, kBlockSize - blocks_[block].used);
    if (run.rows == 0) {
      run = longest_run(rows, kBlockSize - sizeof(BlockHeader));
      status = run.rows == 0 ? Status::kRowTooLarge : Status::kOk;
      if (status == Status::kOk && (block = allocate_block(queue, no)) == kNoBlock)
        status = Status::kNoSpace;
      if (status != Status::kOk) break;
    }
    BlockDesc& desc = blocks_[block];
    frames[count++] = {0, no, block, desc.used, run.rows};
    FrameHeader frame{};
    frame.queue_id = queue_id;
    frame.epoch = desc.epoch;
    frame.generation = generation;
    frame.payload_bytes = static_cast<std::uint16_t>(run.bytes);
    frame.row_count = static_cast<std::uint16_t>(run.rows);
    format_frame(header_at(block, desc.used), frame, salt());
    ++desc.open_frames;
    ++queue.open_frames;
    atomic(desc.used).store(desc.used + static_cast<std::uint32_t>(frame_span(run.bytes)),
                            std::memory_order_release);
    rows = rows.subspan(run.bytes);
  }
  if (status != Status::kOk) {
    for (std::size_t i = 0; i < count; ++i) discard_frame(frames[i], queue);
    return status;
  }
  *frame_count = count;
  return Status::kOk;
}

std::size_t WriteBuffer::fill(const FrameRef& ref, const std::byte* rows, Xid xid, bool pure,
                              std::uint32_t origin, std::size_t frames) noexcept {
  FrameHeader& frame = *header_at(ref.block, ref.offset);
  assert(frame_state(frame) == FrameState::kReserved);
  std::size_t bytes = frame.payload_bytes;
  std::byte* target = reinterpret_cast<std::byte*>(&frame + 1);
  std::memcpy(target, rows, bytes);
  frame.payload_crc = crc32c(target, bytes);
  frame.flags = frame_flags(pure, frames);
  frame.origin = origin;
  atomic(frame.xid).store(xid, std::memory_order_relaxed);
  set_frame_state(frame, FrameState::kPrepared);
  return bytes;
}

// A transaction of several frames is decided by its first store here; recovery completes it. Frames
// can be flushed and their blocks reused only after publish_one, so no reader of the file ever
// meets one without its marked siblings.
void WriteBuffer::mark_committed(std::span<const FrameRef> frames) noexcept {
  if (frames.size() < 2) return;
  for (const FrameRef& ref : frames)
    set_frame_state(*header_at(ref.block, ref.offset), FrameState::kCommitted);
}

std::uint32_t WriteBuffer::enter_publishing() noexcept {
  const std::uint32_t phase = atomic(control_->phase).load() % 2;
  atomic(control_->publishing[phase]).fetch_add(1);
  return phase;
}

void WriteBuffer::leave_publishing(std::uint32_t phase) noexcept {
  atomic(control_->publishing[phase]).fetch_sub(1, std::memory_order_release);
}

// Returns the phase that ends.
std::uint32_t WriteBuffer::next_phase() noexcept {
  return atomic(control_->phase).fetch_add(1) % 2;
}

bool WriteBuffer::is_publishing(std::uint32_t phase) const noexcept {
  return atomic(control_->publishing[phase]).load() != 0;
}

bool WriteBuffer::publish_one(FrameRef& ref, std::int64_t now_us) noexcept {
  FrameHeader& frame = *header_at(ref.block, ref.offset);
  BlockDesc& desc = blocks_[ref.block];
  LockGuard guard(locks_, queue_lock(ref.queue));
  Queue& queue = queues_[ref.queue];
  if (queue.dropped != 0) {
    discard_frame(ref, queue);
    free_slot_if_unused(queue);
    return false;
  }
  ref.seq = atomic(control_->next_seq).fetch_add(1, std::memory_order_relaxed);
  atomic(frame.seq).store(ref.seq, std::memory_order_relaxed);
  set_frame_state(frame, FrameState::kPublished);
  --desc.open_frames;
  --queue.open_frames;
  if (desc.unflushed_frames++ == 0) {
    desc.min_seq = ref.seq;
    desc.first_us = now_us;
  }
  const std::uint64_t rows_before = queue.pending_rows;
  const std::uint64_t bytes_before = queue.pending_bytes;
  queue.pending_rows += frame.row_count;
  queue.pending_bytes += frame.payload_bytes;
  queue.counters.rows_published += frame.row_count;
  queue.counters.bytes_published += frame.payload_bytes;
  const FlushPolicy& policy = queue.policy;
  return rows_before == 0 || std::exchange(queue.unannounced, 0) != 0 ||
         (policy.rows != 0 && rows_before < policy.rows && queue.pending_rows >= policy.rows) ||
         (policy.bytes != 0 && bytes_before < policy.bytes && queue.pending_bytes >= policy.bytes);
}

void WriteBuffer::discard(std::span<const FrameRef> frames) noexcept {
  // A transaction's frames come grouped by queue.
  while (!frames.empty()) {
    const QueueNo no = frames[0].queue;
    LockGuard guard(locks_, queue_lock(no));
    Queue& queue = queues_[no];
    for (; !frames.empty() && frames[0].queue == no; frames = frames.subspan(1)) {
      queue.counters.rows_discarded += frames[0].rows;
      discard_frame(frames[0], queue);
    }
    free_slot_if_unused(queue);
  }
}

// A block with nothing else in it goes back at once: no flush would ever come by for it.
void WriteBuffer::discard_frame(const FrameRef& ref, Queue& queue) noexcept {
  set_frame_state(*header_at(ref.block, ref.offset), FrameState::kDiscarded);
  BlockDesc& desc = blocks_[ref.block];
  --desc.open_frames;
  --queue.open_frames;
  if (is_done(desc, queue)) remove_block(queue, ref.block);
}

}  // namespace pgwc
