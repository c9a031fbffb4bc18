#include "core/write_buffer.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "core/atomic.hpp"
#include "core/frame.hpp"

namespace pgwc {

namespace {

constexpr std::uint64_t kIndexMagic = 0x5845444E'49435750ull;  // "PWCINDEX"

}  // namespace

std::size_t shared_index_size(const Geometry& geometry) noexcept {
  return align_up<kCacheLine>(sizeof(BufferControl)) + sizeof(Queue) * geometry.queue_count +
         align_up<kCacheLine>(sizeof(BlockDesc) * std::size_t{geometry.block_count}) +
         sizeof(BlockSummary) * geometry.block_count;
}

WriteBuffer::WriteBuffer(Create, void* index, std::byte* file, const Geometry& geometry,
                         std::uint64_t incarnation, std::uint64_t run, Locks& locks) noexcept
    : WriteBuffer(Attach{}, (static_cast<BufferControl*>(index)->geometry = geometry, index), file,
                  locks) {
  std::memset(static_cast<void*>(control_), 0, shared_index_size(geometry));
  control_->magic = kIndexMagic;
  control_->geometry = geometry;
  control_->incarnation = incarnation;
  control_->next_seq = (run << kRunShift) + 1;
  control_->next_epoch = (run << kRunShift) + 1;
  control_->free_head = control_->parked_head = kNoBlock;
  for (QueueNo q = 0; q < geometry.queue_count; ++q) {
    reset_slot(queues_[q]);
    queues_[q].next_batch = 1;
  }
  for (std::uint32_t b = geometry.block_count; b-- > 0;) {
    blocks_[b].queue = kNoQueueNo;
    blocks_[b].next = control_->free_head;
    control_->free_head = b;
  }
  control_->free_count = geometry.block_count;
}

WriteBuffer::WriteBuffer(Attach, void* index, std::byte* file, Locks& locks) noexcept
    : control_(static_cast<BufferControl*>(index)), file_(file), locks_(locks) {
  auto* base = static_cast<std::byte*>(index) + align_up<kCacheLine>(sizeof(BufferControl));
  queues_ = reinterpret_cast<Queue*>(base);
  base += sizeof(Queue) * control_->geometry.queue_count;
  blocks_ = reinterpret_cast<BlockDesc*>(base);
  base += align_up<kCacheLine>(sizeof(BlockDesc) * std::size_t{control_->geometry.block_count});
  summaries_ = reinterpret_cast<BlockSummary*>(base);
}

// --- queues
// ---------------------------------------------------------------------------------------

QueueNo WriteBuffer::find_slot(std::uint64_t id) const noexcept {
  for (QueueNo q = 0; q < queue_count(); ++q)
    if (atomic(queues_[q].id).load(std::memory_order_relaxed) == id) return q;
  return kNoQueueNo;
}

Status WriteBuffer::open_queue(std::uint64_t id, std::uint32_t relation, QueueNo* queue) noexcept {
  assert(id != 0);
  for (;;) {
    QueueNo free_slot;
    {
      LockGuard directory(locks_, kDirectoryLock);
      *queue = find_slot(id);
      if (*queue != kNoQueueNo) return Status::kOk;
      free_slot = find_slot(0);
      if (free_slot == kNoQueueNo) return Status::kNoQueue;
    }
    // The slot's own lock comes before the directory's, so somebody may be faster.
    LockGuard guard(locks_, queue_lock(free_slot));
    LockGuard directory(locks_, kDirectoryLock);
    Queue& slot = queues_[free_slot];
    if (slot.id != 0 || find_slot(id) != kNoQueueNo) continue;
    // The rest of a free slot is in its initial state already: reset_slot.
    slot.relation = relation;
    slot.flushed_through = last_seq();
    if (control_->parked_count > 0) adopt_parked(slot, free_slot, id);
    if (slot.block_count == 0) ++control_->empty_queues;
    atomic(slot.id).store(id, std::memory_order_release);
    atomic(control_->slot_changes).fetch_add(1, std::memory_order_release);
    *queue = free_slot;
    return Status::kOk;
  }
}

// Were they left where they are, the table's watermark would pass their sequence numbers by, and
// the next start take them for stored.
void WriteBuffer::adopt_parked(Queue& queue, QueueNo no, std::uint64_t id) noexcept {
  for (std::uint32_t* link = &control_->parked_head; *link != kNoBlock;) {
    const std::uint32_t b = *link;
    BlockDesc& desc = blocks_[b];
    if (reinterpret_cast<const BlockHeader*>(block_start(b))->queue_id != id) {
      link = &desc.next;
      continue;
    }
    *link = desc.next;
    --control_->parked_count;
    desc.queue = no;
    append_block(queue, b);
    queue.open_frames += desc.open_frames;
    queue.flushed_through = 0;
    for (FrameCursor cursor(block_start(b), desc.used); settled() && cursor.next();) {
      if (frame_state(cursor.header()) != FrameState::kPublished) continue;
      queue.pending_rows += cursor.header().row_count;
      queue.pending_bytes += cursor.header().payload_bytes;
      queue.unannounced = 1;
    }
  }
}

bool WriteBuffer::is_queue(QueueNo queue, std::uint64_t id) const noexcept {
  return queue < queue_count() && atomic(queues_[queue].id).load(std::memory_order_acquire) == id;
}

void WriteBuffer::set_policy(QueueNo queue, const FlushPolicy& policy) noexcept {
  LockGuard guard(locks_, queue_lock(queue));
  queues_[queue].policy = policy;
}

// Everything but the identity, so that a slot changes hands by one atomic store, and the batch
// numbers: who still holds one of the slot's last owner frees nothing of the next one's.
void WriteBuffer::reset_slot(Queue& queue) noexcept {
  queue.head = queue.tail = kNoBlock;
  queue.block_count = 0;
  queue.flushed_through = queue.requested = 0;
  queue.pending_rows = queue.pending_bytes = queue.open_frames = 0;
  queue.policy = {};
  queue.counters = {};
  queue.retired_count = 0;
  queue.freed_xid = kNoXid;
  queue.dropped = 0;
  queue.unannounced = 0;
}

void WriteBuffer::free_slot_if_unused(Queue& queue) noexcept {
  if (queue.dropped == 0 || queue.head != kNoBlock) return;
  LockGuard directory(locks_, kDirectoryLock);
  --control_->empty_queues;
  reset_slot(queue);
  atomic(queue.id).store(0, std::memory_order_release);
  atomic(control_->slot_changes).fetch_add(1, std::memory_order_release);
}

void WriteBuffer::drop_queue(QueueNo no, std::uint64_t queue_id) noexcept {
  LockGuard guard(locks_, queue_lock(no));
  Queue& queue = queues_[no];
  if (!is_queue(no, queue_id)) return;
  for (std::uint32_t b = queue.head; b != kNoBlock; b = blocks_[b].next) {
    for (FrameCursor cursor(block_start(b), blocks_[b].used); cursor.next();) {
      FrameHeader& frame = cursor.header();
      if (frame_state(frame) != FrameState::kPublished) continue;
      set_frame_state(frame, FrameState::kDiscarded);
      --blocks_[b].unflushed_frames;
    }
  }
  queue.pending_rows = queue.pending_bytes = 0;
  queue.dropped = 1;
  reclaim_locked(queue, ~std::uint64_t{0});
}

// --- blocks
// ---------------------------------------------------------------------------------------

bool WriteBuffer::is_done(const BlockDesc& block, const Queue& queue) noexcept {
  return block.open_frames == 0 && block.unflushed_frames == 0 &&
         block.last_batch <= queue.freed_batch;
}

std::uint32_t WriteBuffer::allocate_block(Queue& queue, QueueNo no) noexcept {
  std::uint32_t block;
  {
    LockGuard directory(locks_, kDirectoryLock);
    const bool first = queue.block_count == 0;
    // In a buffer too small for all tables at once the promise would leave no room at all.
    const std::uint32_t owed = std::min(control_->empty_queues, block_count() / 2);
    if (control_->free_count == 0 || (!first && control_->free_count <= owed)) return kNoBlock;
    block = control_->free_head;
    control_->free_head = blocks_[block].next;
    --control_->free_count;
    if (first) --control_->empty_queues;
  }
  BlockDesc& desc = blocks_[block];
  std::memset(static_cast<void*>(&desc), 0, sizeof(desc));
  atomic(desc.epoch)
      .store(atomic(control_->next_epoch).fetch_add(1, std::memory_order_relaxed),
             std::memory_order_relaxed);
  // A reader that copies what comes next into this block finds the new epoch: copy_block().
  std::atomic_thread_fence(std::memory_order_release);
  desc.queue = no;
  desc.used = sizeof(BlockHeader);
  format_block(block_start(block), desc.epoch, queue.id, queue.relation);
  append_block(queue, block);
  return block;
}

void WriteBuffer::append_block(Queue& queue, std::uint32_t block) noexcept {
  blocks_[block].next = kNoBlock;
  blocks_[block].prev = queue.tail;
  if (queue.tail == kNoBlock)
    queue.head = block;
  else
    blocks_[queue.tail].next = block;
  queue.tail = block;
  atomic(queue.block_count).store(queue.block_count + 1, std::memory_order_release);
}

void WriteBuffer::remove_block(Queue& queue, std::uint32_t block) noexcept {
  const BlockDesc& desc = blocks_[block];
  (desc.prev == kNoBlock ? queue.head : blocks_[desc.prev].next) = desc.next;
  (desc.next == kNoBlock ? queue.tail : blocks_[desc.next].prev) = desc.prev;
  atomic(queue.block_count).store(queue.block_count - 1, std::memory_order_release);
  release_block(block, queue.block_count == 0);
}

void WriteBuffer::release_block(std::uint32_t block, bool last_of_queue) noexcept {
  clear_block(block_start(block));
  BlockDesc& desc = blocks_[block];
  LockGuard directory(locks_, kDirectoryLock);
  desc.queue = kNoQueueNo;
  desc.next = control_->free_head;
  control_->free_head = block;
  ++control_->free_count;
  if (last_of_queue) ++control_->empty_queues;
}

std::uint32_t WriteBuffer::free_blocks() const noexcept {
  LockGuard directory(locks_, kDirectoryLock);
  return control_->free_count;
}

std::uint32_t WriteBuffer::parked_blocks() const noexcept {
  LockGuard directory(locks_, kDirectoryLock);
  return control_->parked_count;
}

std::uint32_t WriteBuffer::reclaim(QueueNo no, std::uint64_t batch) noexcept {
  LockGuard guard(locks_, queue_lock(no));
  return reclaim_locked(queues_[no], batch);
}

std::uint32_t WriteBuffer::reclaim_locked(Queue& queue, std::uint64_t batch) noexcept {
  queue.freed_batch = std::max(queue.freed_batch, std::min(batch, queue.next_batch - 1));
  // Retired batches are in commit order; forget those that are through, before their rows go.
  std::uint32_t keep = 0;
  for (std::uint32_t i = 0; i < queue.retired_count; ++i) {
    if (queue.retired[i].batch <= batch)
      atomic(queue.freed_xid).store(queue.retired[i].flush_xid, std::memory_order_relaxed);
    else
      queue.retired[keep++] = queue.retired[i];
  }
  queue.retired_count = keep;
  std::uint32_t freed = 0;
  for (std::uint32_t b = queue.head; b != kNoBlock;) {
    const std::uint32_t next = blocks_[b].next;
    if (is_done(blocks_[b], queue)) {
      remove_block(queue, b);
      ++freed;
    }
    b = next;
  }
  free_slot_if_unused(queue);
  return freed;
}

}  // namespace pgwc
