#include "core/write_buffer.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "core/atomic.hpp"
#include "core/checksum.hpp"
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

namespace {

// Whether nothing in the block can be wanted by anybody any more.
bool is_done(const BlockDesc& block, const Queue& queue) noexcept {
  return block.open_frames == 0 && block.unflushed_frames == 0 &&
         block.last_batch <= queue.freed_batch;
}

}  // namespace

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

// --- the writing session
// --------------------------------------------------------------------------

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

// --- the flusher
// ----------------------------------------------------------------------------------

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
