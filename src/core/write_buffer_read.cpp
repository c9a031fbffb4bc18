// The write buffer's readers: what is there, and copies of it. Nothing here changes anything.
#include "core/atomic.hpp"
#include "core/frame.hpp"
#include "core/write_buffer.hpp"

namespace pgwc {

namespace {

// A copy of memory that others may write to at the same time, which the caller finds out afterwards
// and forgets it. Undefined by the letter; words are read whole on every machine there is.
__attribute__((no_sanitize("thread"))) void copy_while_written(std::byte* to, const std::byte* from,
                                                               std::size_t bytes) noexcept {
  static_assert(kFrameAlign % sizeof(std::uint64_t) == 0);
  for (std::size_t at = 0; at < bytes; at += sizeof(std::uint64_t)) {
    const std::uint64_t word = *reinterpret_cast<const volatile std::uint64_t*>(from + at);
    __builtin_memcpy(to + at, &word, sizeof(word));
  }
}

}  // namespace

QueueView WriteBuffer::view(QueueNo no) const noexcept {
  QueueView view{};
  view.no = no;
  view.id = atomic(queues_[no].id).load(std::memory_order_acquire);
  if (view.id == 0) return view;
  LockGuard guard(locks_, queue_lock(no));
  const Queue& queue = queues_[no];
  // The slot may have changed hands meanwhile.
  view.id = queue.id;
  if (view.id == 0) return view;
  view.relation = queue.relation;
  view.block_count = queue.block_count;
  view.flushed_through = queue.flushed_through;
  view.requested = queue.requested;
  view.pending_rows = queue.pending_rows;
  view.pending_bytes = queue.pending_bytes;
  view.open_frames = queue.open_frames;
  view.retired_count = queue.retired_count;
  view.policy = queue.policy;
  view.counters = queue.counters;
  if (queue.pending_rows > 0) {
    for (std::uint32_t b = queue.head; b != kNoBlock; b = blocks_[b].next) {
      if (blocks_[b].unflushed_frames == 0) continue;
      if (view.oldest_us == 0 || blocks_[b].first_us < view.oldest_us)
        view.oldest_us = blocks_[b].first_us;
    }
  }
  return view;
}

QueueNo WriteBuffer::find_queue(std::uint64_t id) const noexcept {
  LockGuard directory(locks_, kDirectoryLock);
  return find_slot(id);
}

std::uint64_t WriteBuffer::slot_changes() const noexcept {
  return atomic(control_->slot_changes).load(std::memory_order_acquire);
}

bool WriteBuffer::is_empty(QueueNo no, std::uint64_t queue_id, Xid* freed_xid) const noexcept {
  Queue& queue = queues_[no];
  // Blocks go after freed_xid has been set, so that this order misses none.
  const bool empty = atomic(queue.block_count).load(std::memory_order_acquire) == 0;
  *freed_xid = atomic(queue.freed_xid).load(std::memory_order_relaxed);
  if (!is_queue(no, queue_id)) *freed_xid = kNoXid;
  return empty;
}

std::size_t WriteBuffer::list_blocks(QueueNo no, std::uint64_t queue_id, BlockRef* out,
                                     std::size_t capacity, Xid* freed_xid) const noexcept {
  *freed_xid = kNoXid;
  LockGuard guard(locks_, queue_lock(no));
  const Queue& queue = queues_[no];
  if (!is_queue(no, queue_id)) return 0;
  *freed_xid = queue.freed_xid;
  std::size_t count = 0;
  for (std::uint32_t b = queue.head; b != kNoBlock; b = blocks_[b].next) {
    if (count < capacity) out[count] = {b, blocks_[b].used, blocks_[b].epoch};
    ++count;
  }
  return count;
}

bool WriteBuffer::copy_block(const BlockRef& ref, std::byte* out,
                             std::uint32_t from) const noexcept {
  copy_while_written(out + from, block_start(ref.block) + from, ref.used - from);
  std::atomic_thread_fence(std::memory_order_acquire);
  const BlockDesc& desc = blocks_[ref.block];
  return atomic(const_cast<std::uint64_t&>(desc.epoch)).load(std::memory_order_relaxed) ==
             ref.epoch &&
         atomic(const_cast<std::uint32_t&>(desc.queue)).load(std::memory_order_relaxed) !=
             kNoQueueNo;
}

std::uint64_t WriteBuffer::last_seq() const noexcept {
  return atomic(control_->next_seq).load(std::memory_order_relaxed) - 1;
}

bool WriteBuffer::settled() const noexcept {
  return atomic(control_->settled).load(std::memory_order_acquire) != 0;
}

const FrameHeader& WriteBuffer::header(const FrameRef& frame) const noexcept {
  return *header_at(frame.block, frame.offset);
}

std::span<const std::byte> WriteBuffer::payload(const FrameRef& frame) const noexcept {
  const FrameHeader* header = header_at(frame.block, frame.offset);
  return {reinterpret_cast<const std::byte*>(header + 1), header->payload_bytes};
}

}  // namespace pgwc
