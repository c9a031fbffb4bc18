#include "core/recovery.hpp"

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/frame.hpp"

namespace pgwc {

namespace {

struct BlockScan {
  std::uint32_t used = sizeof(BlockHeader);
  std::uint64_t queue_id = 0;
  std::uint64_t epoch = 0;
  std::uint32_t relation = 0;
  std::uint32_t live_frames = 0;
  std::uint64_t max_seq = 0;
  std::uint32_t damaged_bytes = 0;
  bool is_free = false;
  bool damaged_header = false;
};

bool is_live(FrameState state) noexcept {
  return state == FrameState::kPrepared || state == FrameState::kCommitted ||
         state == FrameState::kPublished;
}

// A well-formed frame header whose payload lies inside the block.
bool is_frame(const std::byte* block, std::uint32_t offset, std::uint32_t salt) noexcept {
  if (offset + sizeof(FrameHeader) > kBlockSize) return false;
  const auto& frame = *reinterpret_cast<const FrameHeader*>(block + offset);
  return frame.magic == kFrameMagic && frame.payload_bytes != 0 && frame.row_count != 0 &&
         frame.payload_bytes <= kBlockSize - offset - sizeof(FrameHeader) &&
         frame.header_crc == frame_header_crc(frame, salt) && frame.queue_id != 0;
}

// Whether the rows are those that were prepared, each with a plausible length.
bool is_payload_intact(const FrameHeader& frame) noexcept {
  const auto* payload = reinterpret_cast<const std::byte*>(&frame + 1);
  if (frame.payload_crc != crc32c(payload, frame.payload_bytes)) return false;
  std::size_t at = 0;
  for (std::uint32_t i = 0; i < frame.row_count; ++i) {
    std::uint32_t size;
    if (at + sizeof(size) > frame.payload_bytes) return false;
    std::memcpy(&size, payload + at, sizeof(size));
    if (size < sizeof(size) || size > frame.payload_bytes - at) return false;
    at += align_up<kRowAlign>(size);
  }
  return at == frame.payload_bytes;
}

// What is left of a transaction.
struct Found {
  std::uint32_t present = 0;
  std::uint32_t expected = 0;
  bool synced = false;
  bool is_whole() const noexcept { return synced || present >= expected; }
};

std::uint32_t gap_crc(const GapMarker& gap, std::uint32_t salt) noexcept {
  return salt ^ crc32c(&gap, offsetof(GapMarker, crc));
}

void mark_gap(std::byte* block, std::uint32_t from, std::uint32_t to, std::uint32_t salt) noexcept {
  GapMarker gap{kGapMagic, to - from, 0};
  gap.crc = gap_crc(gap, salt);
  std::memcpy(block + from, &gap, sizeof(gap));
}

bool is_gap(const std::byte* block, std::uint32_t offset, std::uint32_t salt,
            std::uint32_t* bytes) noexcept {
  GapMarker gap;
  std::memcpy(&gap, block + offset, sizeof(gap));
  *bytes = gap.bytes;
  return gap.magic == kGapMagic && gap.crc == gap_crc(gap, salt) && gap.bytes >= kFrameAlign &&
         gap.bytes % kFrameAlign == 0 && gap.bytes <= kBlockSize - offset;
}

// A frame header that was whole once: one half still is, and the other does not check out.
bool is_broken_frame(const std::byte* block, std::uint32_t offset, std::uint32_t salt) noexcept {
  if (offset + sizeof(FrameHeader) > kBlockSize) return false;
  const auto& frame = *reinterpret_cast<const FrameHeader*>(block + offset);
  if (frame.magic == kFrameMagic && frame.header_crc == frame_header_crc(frame, salt)) return false;
  return frame.magic == kFrameMagic || is_live(frame_state(frame));
}

// Learns from the frames whose block it is. Older uses have left frames behind, none newer.
void identify(const std::byte* block, std::uint32_t salt, BlockScan* scan) noexcept {
  for (std::uint32_t offset = sizeof(BlockHeader); offset < kBlockSize; offset += kFrameAlign) {
    if (!is_frame(block, offset, salt)) continue;
    const auto& frame = *reinterpret_cast<const FrameHeader*>(block + offset);
    if (scan->queue_id != 0 && frame.epoch <= scan->epoch) continue;
    scan->epoch = frame.epoch;
    scan->queue_id = frame.queue_id;
  }
}

// Whose block this is, if anybody's.
BlockScan read_block_header(const std::byte* block, std::uint32_t salt) noexcept {
  BlockScan scan;
  const auto& header = *reinterpret_cast<const BlockHeader*>(block);
  constexpr BlockHeader kNeverUsed{};
  scan.is_free =
      header.magic == kFreeMagic || std::memcmp(&header, &kNeverUsed, sizeof(header)) == 0;
  if (scan.is_free) return scan;
  if (header.magic == kBlockMagic && header.crc == block_header_crc(header) &&
      header.queue_id != 0) {
    scan.queue_id = header.queue_id;
    scan.epoch = header.epoch;
    scan.relation = header.relation;
    return scan;
  }
  identify(block, salt, &scan);
  // Without a magic and a frame: a block that was just about to be used for the first time.
  scan.damaged_header = header.magic != 0 || scan.queue_id != 0;
  return scan;
}

BlockScan scan_block(std::byte* block, std::uint32_t salt) noexcept {
  BlockScan scan = read_block_header(block, salt);
  if (scan.queue_id == 0) return scan;
  // Behind the last frame of this use lies whatever an earlier one left, or a header that was being
  // written; neither is damage. What lies between two frames is, and so is the ruin of a frame.
  std::uint32_t gap_from = 0;
  bool gap_is_damage = false;
  for (std::uint32_t offset = sizeof(BlockHeader); offset < kBlockSize;) {
    std::uint32_t gap_bytes;
    if (gap_from == 0 && is_gap(block, offset, salt, &gap_bytes)) {
      offset += gap_bytes;  // left by an earlier scan
      continue;
    }
    auto& frame = *reinterpret_cast<FrameHeader*>(block + offset);
    const bool ours = is_frame(block, offset, salt) && frame.queue_id == scan.queue_id &&
                      frame.epoch == scan.epoch;
    if (!ours) {
      if (gap_from == 0) {
        gap_from = offset;
        gap_is_damage = is_broken_frame(block, offset, salt);
      }
      offset += kFrameAlign;
      continue;
    }
    if (gap_from != 0) {
      mark_gap(block, gap_from, offset, salt);
      scan.damaged_bytes += offset - gap_from;
      gap_from = 0;
    }
    const FrameState state = frame_state(frame);
    if (is_live(state)) {
      if (is_payload_intact(frame)) {
        ++scan.live_frames;
        if (state == FrameState::kPublished) scan.max_seq = std::max(scan.max_seq, frame.seq);
      } else {
        // Acknowledged rows may be lost here; never guess at their content.
        scan.damaged_bytes += frame.payload_bytes;
        set_frame_state(frame, FrameState::kDiscarded);
      }
    } else if (state != FrameState::kReserved && state != FrameState::kFlushed &&
               state != FrameState::kDiscarded) {
      scan.damaged_bytes += frame.payload_bytes;
      set_frame_state(frame, FrameState::kDiscarded);
    } else if (state == FrameState::kReserved) {
      set_frame_state(frame, FrameState::kDiscarded);
    }
    offset += static_cast<std::uint32_t>(frame_span(frame.payload_bytes));
    scan.used = offset;
  }
  if (gap_from != 0 && gap_is_damage) {
    scan.damaged_bytes += sizeof(FrameHeader);
    mark_gap(block, gap_from, gap_from + kFrameAlign, salt);  // reported once
  }
  return scan;
}

}  // namespace

Verdict decide(const FrameHeader& frame, bool sibling_decided, const FateOf& fate_of,
               const Doubts& doubts) noexcept {
  const FrameState state = frame_state(frame);
  if (doubts.power_lost && state != FrameState::kPublished) return Verdict::kUncommitted;
  const bool decided = state != FrameState::kPrepared || sibling_decided;
  if (doubts.ids_reused && !decided && frame.xid != kFrozenXid) return Verdict::kUncommitted;
  bool committed;
  if (frame.xid == kFrozenXid) {
    committed = true;  // an earlier recovery kept it
  } else if ((frame.flags & kFramePure) != 0 && decided) {
    committed = true;
  } else if (frame.xid == kNoXid) {
    committed = false;
  } else {
    const Fate fate = fate_of(frame.xid);
    committed = fate == Fate::kCommitted || (fate == Fate::kForgotten && decided);
  }
  if (!committed) return Verdict::kUncommitted;
  if (frame.flush_xid != kNoXid && !doubts.ids_reused &&
      fate_of(frame.flush_xid) == Fate::kCommitted)
    return Verdict::kAlreadyStored;
  return Verdict::kKeep;
}

ScanReport Recovery::scan() {
  struct InUse {
    std::uint32_t block;
    QueueNo queue;
    BlockScan scan;
  };
  ScanReport report{};
  BufferControl& control = *buffer_.control_;
  const std::uint64_t run_end = ((control.next_seq >> kRunShift) + 1) << kRunShift;
  std::vector<InUse> found;
  std::vector<bool> in_use(buffer_.block_count());
  for (std::uint32_t b = 0; b < buffer_.block_count(); ++b) {
    std::byte* start = buffer_.block_start(b);
    const BlockScan scan = scan_block(start, buffer_.salt());
    if (scan.damaged_header || scan.damaged_bytes > 0) {
      ++report.damaged_blocks;
      report.damaged_bytes += scan.damaged_bytes;
    }
    if (scan.live_frames == 0) {
      if (!scan.is_free) clear_block(start);
      continue;
    }
    if (scan.damaged_header) format_block(start, scan.epoch, scan.queue_id, scan.relation);
    InUse entry{b, kNoQueueNo, scan};
    if (buffer_.open_queue(scan.queue_id, scan.relation, &entry.queue) != Status::kOk)
      ++report.parked_blocks;
    report.frames += scan.live_frames;
    // Nothing is given out twice, whatever the file's header says.
    control.next_epoch = std::max(control.next_epoch, scan.epoch + 1);
    if (scan.max_seq < run_end) control.next_seq = std::max(control.next_seq, scan.max_seq + 1);
    found.push_back(entry);
    in_use[b] = true;
  }
  report.blocks_in_use = static_cast<std::uint32_t>(found.size());
  std::sort(found.begin(), found.end(),
            [](const InUse& a, const InUse& b) { return a.scan.epoch < b.scan.epoch; });

  std::uint32_t* parked_end = &control.parked_head;
  for (const InUse& entry : found) {
    BlockDesc& desc = buffer_.blocks_[entry.block];
    desc = {};
    desc.next = kNoBlock;
    desc.used = entry.scan.used;
    desc.epoch = entry.scan.epoch;
    desc.queue = entry.queue;
    desc.open_frames = entry.scan.live_frames;
    if (entry.queue == kNoQueueNo) {
      *parked_end = entry.block;
      parked_end = &desc.next;
      continue;
    }
    Queue& queue = buffer_.queues_[entry.queue];
    queue.flushed_through = 0;
    queue.open_frames += entry.scan.live_frames;
    buffer_.append_block(queue, entry.block);
  }
  control.parked_count = report.parked_blocks;
  // The free list is made anew without the blocks in use.
  control.free_head = kNoBlock;
  control.free_count = 0;
  control.empty_queues = 0;  // a scan makes queues for blocks only
  for (std::uint32_t b = buffer_.block_count(); b-- > 0;) {
    if (in_use[b]) continue;
    buffer_.blocks_[b].next = control.free_head;
    control.free_head = b;
    ++control.free_count;
  }
  return report;
}

std::vector<Xid> Recovery::transactions() const {
  std::unordered_set<Xid> xids;
  for (std::uint32_t b = 0; b < buffer_.block_count(); ++b) {
    for (FrameCursor cursor(buffer_.block_start(b), buffer_.blocks_[b].used); cursor.next();) {
      if (!is_live(frame_state(cursor.header()))) continue;
      for (Xid xid : {cursor.header().xid, cursor.header().flush_xid})
        if (xid > kFrozenXid) xids.insert(xid);
    }
  }
  return {xids.begin(), xids.end()};
}

SettleReport Recovery::judge(const FateOf& fate_of, std::int64_t now_us, const Doubts& doubts) {
  SettleReport report{};
  BufferControl& control = *buffer_.control_;
  // Damage to a sequence number shows only if it is impossible.
  const std::uint64_t first_new_seq = control.next_seq;
  // Block by block in the order of their use, so that a transaction's rows keep their order. Parked
  // blocks too: their transactions' ids mean nothing any more after this.
  Queue parked{};
  auto for_each_live = [&](auto&& fn) {
    auto walk = [&](Queue& queue, std::uint32_t head) {
      for (std::uint32_t b = head; b != kNoBlock; b = buffer_.blocks_[b].next)
        for (FrameCursor cursor(buffer_.block_start(b), buffer_.blocks_[b].used); cursor.next();)
          if (is_live(frame_state(cursor.header()))) fn(queue, buffer_.blocks_[b], cursor.header());
    };
    for (QueueNo q = 0; q < buffer_.queue_count(); ++q)
      walk(buffer_.queues_[q], buffer_.queues_[q].head);
    walk(parked, control.parked_head);
  };
  std::unordered_set<Xid> decided;
  for_each_live([&](Queue&, BlockDesc&, const FrameHeader& frame) {
    if (frame_state(frame) != FrameState::kPrepared &&
        ((frame.flags & kFramePure) != 0 || doubts.ids_reused))
      decided.insert(frame.xid);
  });

  // Transactions of which a power loss has taken a part. What is missing may also have been stored
  // and its space used again; but nothing is stored apart from the rest of its transaction before
  // all of that is on disk and noted.
  std::unordered_map<Xid, Found> several;
  if (doubts.power_lost) {
    for_each_live([&](Queue&, BlockDesc&, const FrameHeader& frame) {
      if (frame_state(frame) != FrameState::kPublished || frame.xid <= kFrozenXid) return;
      Found& found = several[frame.xid];
      ++found.present;
      found.expected = std::max(found.expected, frames_of_transaction(frame.flags));
      if (frame.seq <= doubts.synced) found.synced = true;
    });
    // Those that are whole say so before the first of their frames loses the xid.
    for_each_live([&](Queue&, BlockDesc&, FrameHeader& frame) {
      const auto found = several.find(frame.xid);
      if (found != several.end() && found->second.is_whole()) frame.flags &= kFramePure;
    });
  }

  auto settle_one = [&](Queue& queue, BlockDesc& desc, FrameHeader& frame) {
    --desc.open_frames;
    --queue.open_frames;
    const auto found = several.find(frame.xid);
    if (frame_state(frame) == FrameState::kPublished && found != several.end() &&
        !found->second.is_whole()) {
      report.rows_incomplete += frame.row_count;
      set_frame_state(frame, FrameState::kDiscarded);
      return;
    }
    const Verdict verdict = decide(frame, decided.count(frame.xid) != 0, fate_of, doubts);
    if (verdict != Verdict::kKeep) {
      (verdict == Verdict::kUncommitted ? report.rows_uncommitted : report.rows_already_stored) +=
          frame.row_count;
      set_frame_state(
          frame, verdict == Verdict::kUncommitted ? FrameState::kDiscarded : FrameState::kFlushed);
      return;
    }
    frame.flush_xid = kNoXid;
    frame.flags &= kFramePure;
    // Frozen first: a crash between these stores finds the frame kept.
    std::atomic_ref<Xid>(frame.xid).store(kFrozenXid, std::memory_order_release);
    if (frame_state(frame) != FrameState::kPublished || frame.seq == 0 ||
        frame.seq >= first_new_seq) {
      frame.seq = control.next_seq++;
      set_frame_state(frame, FrameState::kPublished);
    }
    if (desc.unflushed_frames++ == 0 || frame.seq < desc.min_seq) desc.min_seq = frame.seq;
    desc.first_us = now_us;
    queue.pending_rows += frame.row_count;
    queue.pending_bytes += frame.payload_bytes;
    report.rows_kept += frame.row_count;
  };
  // Unpublished frames first: while their published siblings still carry the xid, a crash in here
  // changes no verdict.
  for_each_live([&](Queue&, BlockDesc&, FrameHeader& frame) {
    if (doubts.power_lost || frame_state(frame) == FrameState::kPublished ||
        decided.count(frame.xid) == 0)
      return;
    if (frame_state(frame) == FrameState::kPrepared) set_frame_state(frame, FrameState::kCommitted);
  });
  for_each_live(settle_one);

  for (QueueNo q = 0; q < buffer_.queue_count(); ++q) {
    Queue& queue = buffer_.queues_[q];
    if (queue.id != 0) buffer_.reclaim_locked(queue, ~std::uint64_t{0});
  }
  for (std::uint32_t* link = &control.parked_head; *link != kNoBlock;) {
    const std::uint32_t b = *link;
    if (buffer_.blocks_[b].unflushed_frames > 0) {
      link = &buffer_.blocks_[b].next;
      continue;
    }
    *link = buffer_.blocks_[b].next;
    --control.parked_count;
    buffer_.release_block(b, false);
  }
  return report;
}

void Recovery::allow_use() noexcept {
  std::atomic_ref<std::uint32_t>(buffer_.control_->settled).store(1, std::memory_order_release);
}

std::uint64_t Recovery::apply_watermark(WriteBuffer& buffer, QueueNo no,
                                        std::uint64_t seq) noexcept {
  LockGuard guard(buffer.locks_, queue_lock(no));
  Queue& queue = buffer.queues_[no];
  std::uint64_t rows = 0;
  for (std::uint32_t b = queue.head; b != kNoBlock; b = buffer.blocks_[b].next) {
    BlockDesc& desc = buffer.blocks_[b];
    if (desc.unflushed_frames == 0 || desc.min_seq > seq) continue;
    for (FrameCursor cursor(buffer.block_start(b), desc.used); cursor.next();) {
      FrameHeader& frame = cursor.header();
      if (frame_state(frame) != FrameState::kPublished || frame.seq > seq) continue;
      // Every snapshot finds the rows in the table.
      std::atomic_ref<Xid>(frame.flush_xid).store(kFrozenXid, std::memory_order_release);
      set_frame_state(frame, FrameState::kFlushed);
      --desc.unflushed_frames;
      queue.pending_rows -= frame.row_count;
      queue.pending_bytes -= frame.payload_bytes;
      rows += frame.row_count;
    }
    desc.min_seq = seq + 1;
  }
  queue.flushed_through = std::max(queue.flushed_through, seq);
  buffer.reclaim_locked(queue, queue.freed_batch);
  return rows;
}

}  // namespace pgwc
