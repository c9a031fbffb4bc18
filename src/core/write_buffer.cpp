#include "core/write_buffer.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "core/checksum.hpp"
#include "core/frame.hpp"

namespace pgwc {

namespace {

constexpr std::uint64_t kIndexMagic = 0x5845444E'49435750ull;  // "PWCINDEX"

// Bits of a sequence number below the run: enough for a year of a million frames a second, twice
// over... 2^44.
constexpr unsigned kRunShift = 44;

template <class T>
std::atomic_ref<T> atomic(T& value) noexcept {
  return std::atomic_ref<T>(value);
}

}  // namespace

std::size_t shared_index_size(const Geometry& geometry) noexcept {
  return align_up<kCacheLine>(sizeof(BufferControl)) + sizeof(Queue) * geometry.queue_count +
         align_up<kCacheLine>(sizeof(BlockDesc) * std::size_t{geometry.block_count});
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
  control_->free_head = kNoBlock;
  for (QueueNo q = 0; q < geometry.queue_count; ++q) reset_slot(queues_[q]);
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
  blocks_ = reinterpret_cast<BlockDesc*>(base + sizeof(Queue) * control_->geometry.queue_count);
}

// --- queues
// -------------------------------------------------------------------------------------------------------

Status WriteBuffer::open_queue(std::uint64_t id, std::uint32_t relation, QueueNo* queue) noexcept {
  LockGuard directory(locks_, kDirectoryLock);
  QueueNo free_slot = kNoQueueNo;
  for (QueueNo q = 0; q < queue_count(); ++q) {
    const std::uint64_t have = atomic(queues_[q].id).load(std::memory_order_relaxed);
    if (have == id) {
      *queue = q;
      return Status::kOk;
    }
    if (have == 0 && free_slot == kNoQueueNo) free_slot = q;
  }
  if (free_slot == kNoQueueNo) return Status::kNoQueue;
  // The rest of a free slot is in its initial state already: reset_slot.
  Queue& slot = queues_[free_slot];
  slot.relation = relation;
  slot.flushed_through = last_seq();
  atomic(slot.id).store(id, std::memory_order_release);
  *queue = free_slot;
  return Status::kOk;
}

bool WriteBuffer::is_queue(QueueNo queue, std::uint64_t id) const noexcept {
  return queue < queue_count() && atomic(queues_[queue].id).load(std::memory_order_acquire) == id;
}

void WriteBuffer::set_policy(QueueNo queue, const FlushPolicy& policy) noexcept {
  LockGuard guard(locks_, queue_lock(queue));
  queues_[queue].policy = policy;
}

// Everything but the identity, so that a slot changes hands by one atomic store.
void WriteBuffer::reset_slot(Queue& queue) noexcept {
  queue.head = queue.tail = kNoBlock;
  queue.block_count = 0;
  queue.flushed_through = queue.requested = 0;
  queue.pending_rows = queue.pending_bytes = queue.open_frames = 0;
  queue.next_batch = 1;
  queue.policy = {};
  queue.counters = {};
  queue.retired_count = 0;
  queue.freed_xid = kNoXid;
  queue.dropped = 0;
}

void WriteBuffer::free_slot_if_unused(Queue& queue) noexcept {
  if (queue.dropped == 0 || queue.head != kNoBlock) return;
  LockGuard directory(locks_, kDirectoryLock);
  reset_slot(queue);
  atomic(queue.id).store(0, std::memory_order_release);
}

void WriteBuffer::drop_queue(QueueNo no) noexcept {
  LockGuard guard(locks_, queue_lock(no));
  Queue& queue = queues_[no];
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
// -------------------------------------------------------------------------------------------------------

std::uint32_t WriteBuffer::allocate_block(Queue& queue, QueueNo no) noexcept {
  std::uint32_t block;
  {
    LockGuard directory(locks_, kDirectoryLock);
    block = control_->free_head;
    if (block == kNoBlock) return kNoBlock;
    control_->free_head = blocks_[block].next;
    --control_->free_count;
  }
  BlockDesc& desc = blocks_[block];
  std::memset(static_cast<void*>(&desc), 0, sizeof(desc));
  desc.epoch = atomic(control_->next_epoch).fetch_add(1, std::memory_order_relaxed);
  desc.queue = no;
  desc.used = sizeof(BlockHeader);
  format_block(block_start(block), desc.epoch, queue.id, queue.relation);
  append_block(queue, block);
  return block;
}

void WriteBuffer::append_block(Queue& queue, std::uint32_t block) noexcept {
  blocks_[block].next = kNoBlock;
  if (queue.tail == kNoBlock)
    queue.head = block;
  else
    blocks_[queue.tail].next = block;
  queue.tail = block;
  ++queue.block_count;
}

void WriteBuffer::release_block(std::uint32_t block) noexcept {
  clear_block(block_start(block));
  BlockDesc& desc = blocks_[block];
  LockGuard directory(locks_, kDirectoryLock);
  desc.queue = kNoQueueNo;
  desc.next = control_->free_head;
  control_->free_head = block;
  ++control_->free_count;
}

std::uint32_t WriteBuffer::free_blocks() const noexcept {
  LockGuard directory(locks_, kDirectoryLock);
  return control_->free_count;
}

std::uint32_t WriteBuffer::reclaim(QueueNo no, std::uint64_t batch) noexcept {
  LockGuard guard(locks_, queue_lock(no));
  return reclaim_locked(queues_[no], batch);
}

std::uint32_t WriteBuffer::reclaim_locked(Queue& queue, std::uint64_t batch) noexcept {
  std::uint32_t freed = 0;
  std::uint32_t previous = kNoBlock;
  for (std::uint32_t b = queue.head; b != kNoBlock;) {
    BlockDesc& desc = blocks_[b];
    std::uint32_t next = desc.next;
    if (desc.open_frames == 0 && desc.unflushed_frames == 0 && desc.last_batch <= batch) {
      if (previous == kNoBlock)
        queue.head = next;
      else
        blocks_[previous].next = next;
      if (queue.tail == b) queue.tail = previous;
      --queue.block_count;
      release_block(b);
      ++freed;
    } else {
      previous = b;
    }
    b = next;
  }
  // Retired batches are in commit order; forget those that are through.
  std::uint32_t keep = 0;
  for (std::uint32_t i = 0; i < queue.retired_count; ++i) {
    if (queue.retired[i].batch <= batch)
      queue.freed_xid = queue.retired[i].flush_xid;
    else
      queue.retired[keep++] = queue.retired[i];
  }
  queue.retired_count = keep;
  free_slot_if_unused(queue);
  return freed;
}

// --- the writing session
// --------------------------------------------------------------------------------------------

Status WriteBuffer::reserve(QueueNo no, std::uint64_t queue_id, std::uint32_t generation,
                            std::span<const std::byte> rows, FrameRef* frames,
                            std::size_t* frame_count) noexcept {
  *frame_count = 0;
  LockGuard guard(locks_, queue_lock(no));
  Queue& queue = queues_[no];
  if (!is_queue(no, queue_id)) return Status::kNoQueue;
  std::size_t count = 0;
  while (!rows.empty()) {
    std::uint32_t block = queue.tail;
    RowRun run{};
    if (block != kNoBlock) run = longest_run(rows, kBlockSize - blocks_[block].used);
    if (run.rows == 0) {
      block = allocate_block(queue, no);
      if (block != kNoBlock) run = longest_run(rows, kBlockSize - blocks_[block].used);
      if (block == kNoBlock || run.rows == 0) {
        discard_frames({frames, count}, queue);
        return block == kNoBlock ? Status::kNoSpace : Status::kRowTooLarge;
      }
    }
    BlockDesc& desc = blocks_[block];
    frames[count++] = {0, no, block, desc.used, run.rows};
    format_frame(header_at(block, desc.used), queue_id, static_cast<std::uint32_t>(desc.epoch),
                 generation, static_cast<std::uint32_t>(run.bytes), run.rows);
    ++desc.open_frames;
    ++queue.open_frames;
    atomic(desc.used).store(desc.used + static_cast<std::uint32_t>(frame_span(run.bytes)),
                            std::memory_order_release);
    rows = rows.subspan(run.bytes);
  }
  *frame_count = count;
  return Status::kOk;
}

std::size_t WriteBuffer::fill(const FrameRef& ref, const std::byte* rows, Xid xid,
                              bool pure) noexcept {
  FrameHeader& frame = *header_at(ref.block, ref.offset);
  assert(frame_state(frame) == FrameState::kReserved);
  std::size_t bytes = frame.payload_bytes;
  std::byte* target = reinterpret_cast<std::byte*>(&frame + 1);
  std::memcpy(target, rows, bytes);
  frame.payload_crc = crc32c(target, bytes);
  frame.flags = pure ? kFramePure : 0;
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

bool WriteBuffer::publish_one(FrameRef& ref, std::int64_t now_us) noexcept {
  FrameHeader& frame = *header_at(ref.block, ref.offset);
  BlockDesc& desc = blocks_[ref.block];
  LockGuard guard(locks_, queue_lock(ref.queue));
  Queue& queue = queues_[ref.queue];
  ref.seq = atomic(control_->next_seq).fetch_add(1, std::memory_order_relaxed);
  frame.seq = ref.seq;
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
  return rows_before == 0 ||
         (policy.rows != 0 && rows_before < policy.rows && queue.pending_rows >= policy.rows) ||
         (policy.bytes != 0 && bytes_before < policy.bytes && queue.pending_bytes >= policy.bytes);
}

void WriteBuffer::discard(std::span<const FrameRef> frames) noexcept {
  // A transaction's frames come grouped by queue.
  while (!frames.empty()) {
    std::size_t n = 1;
    while (n < frames.size() && frames[n].queue == frames[0].queue) ++n;
    LockGuard guard(locks_, queue_lock(frames[0].queue));
    discard_frames(frames.first(n), queues_[frames[0].queue]);
    frames = frames.subspan(n);
  }
}

void WriteBuffer::discard_frames(std::span<const FrameRef> frames, Queue& queue) noexcept {
  for (const FrameRef& ref : frames) {
    set_frame_state(*header_at(ref.block, ref.offset), FrameState::kDiscarded);
    --blocks_[ref.block].open_frames;
    --queue.open_frames;
    queue.counters.rows_discarded += ref.rows;
  }
}

// --- the flusher
// ----------------------------------------------------------------------------------------------------

bool WriteBuffer::request(QueueNo no, std::uint64_t seq) noexcept {
  LockGuard guard(locks_, queue_lock(no));
  Queue& queue = queues_[no];
  if (queue.pending_rows == 0) return false;
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
  std::vector<Candidate> candidates;
  Batch batch{};
  {
    // Growing a vector under the lock could throw past it, so the room is made before; the chain
    // may grow meanwhile.
    candidates.reserve(view(no).block_count + 64);
    LockGuard guard(locks_, queue_lock(no));
    const Queue& queue = queues_[no];
    // Whatever this queue publishes after now gets a larger number.
    batch.through = last_seq();
    for (std::uint32_t b = queue.head; b != kNoBlock; b = blocks_[b].next) {
      if (blocks_[b].unflushed_frames == 0) continue;
      if (candidates.size() == candidates.capacity()) {
        // Not seen: stop short of it.
        batch.through = std::min(batch.through, blocks_[b].min_seq - 1);
        continue;
      }
      candidates.push_back({b, blocks_[b].used, blocks_[b].min_seq});
    }
  }
  // Blocks in the order of their oldest frame: once enough is collected, a block that begins later
  // than the newest frame wanted cannot hold an older one.
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.min_seq < b.min_seq; });
  auto by_seq = [](const FrameRef& a, const FrameRef& b) { return a.seq < b.seq; };
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;
  std::uint64_t newest = 0;
  for (const Candidate& candidate : candidates) {
    const bool enough = rows >= limits.rows || bytes >= limits.bytes;
    if (enough && candidate.min_seq > newest) break;
    for (FrameCursor cursor(block_start(candidate.block), candidate.used); cursor.next();) {
      const FrameHeader& frame = cursor.header();
      if (frame_state(frame) != FrameState::kPublished || frame.seq > batch.through) continue;
      frames->push_back({frame.seq, no, candidate.block, cursor.offset(), frame.row_count});
      rows += frame.row_count;
      bytes += frame.payload_bytes;
      newest = std::max(newest, frame.seq);
    }
  }
  std::sort(frames->begin(), frames->end(), by_seq);
  std::size_t keep = 0;
  while (keep < frames->size() &&
         (keep == 0 || (batch.rows < limits.rows && batch.bytes < limits.bytes))) {
    const FrameRef& frame = (*frames)[keep++];
    batch.rows += frame.rows;
    batch.bytes += header(frame).payload_bytes;
    batch.last_seq = frame.seq;
  }
  if (keep < frames->size()) {
    batch.through = batch.last_seq;
    frames->resize(keep);
  } else if (!candidates.empty() && frames->size() > 0 && newest < batch.through) {
    // Everything seen was taken; blocks that were skipped begin later than `newest`.
    for (const Candidate& candidate : candidates)
      if (candidate.min_seq > newest)
        batch.through = std::min(batch.through, candidate.min_seq - 1);
  }
  return batch;
}

void WriteBuffer::mark(std::span<const FrameRef> frames, Xid flush_xid) noexcept {
  for (const FrameRef& ref : frames)
    atomic(header_at(ref.block, ref.offset)->flush_xid).store(flush_xid, std::memory_order_release);
}

void WriteBuffer::finish(QueueNo no, std::span<const FrameRef> frames, std::uint64_t through,
                         Xid flush_xid, std::uint64_t lsn) noexcept {
  LockGuard guard(locks_, queue_lock(no));
  Queue& queue = queues_[no];
  const std::uint64_t batch = queue.next_batch++;
  for (const FrameRef& ref : frames) {
    FrameHeader& frame = *header_at(ref.block, ref.offset);
    BlockDesc& desc = blocks_[ref.block];
    set_frame_state(frame, FrameState::kFlushed);
    --desc.unflushed_frames;
    desc.min_seq = std::max(desc.min_seq, ref.seq + 1);
    desc.last_batch = batch;
    queue.pending_rows -= frame.row_count;
    queue.pending_bytes -= frame.payload_bytes;
    queue.counters.rows_flushed += frame.row_count;
  }
  ++queue.counters.batches;
  queue.flushed_through = std::max(queue.flushed_through, through);
  if (frames.empty()) return;
  // Full: the newest entry takes the new batch in, which only holds its blocks longer.
  RetiredBatch& slot =
      queue
          .retired[queue.retired_count < kRetiredSlots ? queue.retired_count++ : kRetiredSlots - 1];
  slot = {batch, lsn, flush_xid, 0};
}

std::size_t WriteBuffer::retired(QueueNo no, RetiredBatch (&out)[kRetiredSlots]) const noexcept {
  LockGuard guard(locks_, queue_lock(no));
  std::copy_n(queues_[no].retired, queues_[no].retired_count, out);
  return queues_[no].retired_count;
}

// --- looking
// --------------------------------------------------------------------------------------------------------

QueueView WriteBuffer::view(QueueNo no) const noexcept {
  QueueView view{};
  view.no = no;
  view.id = atomic(queues_[no].id).load(std::memory_order_acquire);
  if (view.id == 0) return view;
  LockGuard guard(locks_, queue_lock(no));
  const Queue& queue = queues_[no];
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
