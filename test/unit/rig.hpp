// A write buffer on the heap, restarted at will: the file's bytes stay, the index is made afresh.
#pragma once

#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <vector>

#include "core/recovery.hpp"
#include "core/write_buffer.hpp"
#include "unit/rows.hpp"

namespace pgwc::test {

inline constexpr std::uint64_t kIncarnation = 0x1234'5678'9ABC'DEF1;
inline constexpr Xid kFirstXid = 100;

// Locks for one thread: they only see that the order is kept and that all are given back.
class OrderedLocks final : public Locks {
 public:
  ~OrderedLocks() { must(held_.empty(), "every lock is released"); }
  void acquire(LockId id) noexcept override {
    must(held_.empty() || (id == kDirectoryLock && held_.back() != kDirectoryLock),
         "lock order: a queue's, then the directory's");
    held_.push_back(id);
  }
  void release(LockId id) noexcept override {
    must(!held_.empty() && held_.back() == id, "the lock taken last is released first");
    held_.pop_back();
  }

 private:
  std::vector<LockId> held_;
};

// Memory that begins with garbage, and whose end the address sanitizer watches.
class Memory {
 public:
  explicit Memory(std::size_t size)
      : size_(size),
        data_(static_cast<std::byte*>(::operator new (size, std::align_val_t{kAlign}))) {}
  ~Memory() { ::operator delete (data_, std::align_val_t{kAlign}); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  void fill(int byte) { std::memset(data_, byte, size_); }

 private:
  static constexpr std::size_t kAlign = 4096;
  std::size_t size_;
  std::byte* data_;
};

class NothingCommitted : public FateOf {
 public:
  Fate operator()(Xid) const noexcept override { return Fate::kNotCommitted; }
};
class EverythingCommitted : public FateOf {
 public:
  Fate operator()(Xid) const noexcept override { return Fate::kCommitted; }
};

class Rig {
 public:
  static constexpr Geometry kDefault{kMinBlocks, 4};

  explicit Rig(Geometry geometry = kDefault)
      : geometry_(geometry),
        owned_(std::make_unique<Memory>(file_size(geometry.block_count))),
        file_(owned_->data()),
        index_(shared_index_size(geometry)) {
    owned_->fill(0);
    start();
  }
  // On a file that somebody else keeps.
  Rig(std::byte* file, Geometry geometry, std::uint64_t run)
      : geometry_(geometry), file_(file), index_(shared_index_size(geometry)), run_(run - 1) {
    start();
  }

  WriteBuffer& buffer() { return *buffer_; }
  std::byte* file() { return file_; }
  std::uint64_t run() const { return run_; }
  Geometry geometry() const { return geometry_; }

  // Begins the next run: nothing of the index is left.
  void start() {
    index_.fill(0xA5);
    buffer_.reset();
    buffer_.emplace(WriteBuffer::Create{}, index_.data(), file_, geometry_, kIncarnation, ++run_,
                    locks_);
  }
  void start(Geometry geometry) {
    must(shared_index_size(geometry) <= index_.size(), "room for the index");
    geometry_ = geometry;
    start();
  }
  SettleReport recover(const FateOf& fate_of = NothingCommitted{}) {
    start();
    Recovery(buffer()).scan();
    return Recovery(buffer()).settle(fate_of, 0);
  }

  QueueNo open(std::uint64_t id) {
    QueueNo queue = kNoQueueNo;
    must(buffer().open_queue(id, static_cast<std::uint32_t>(id), &queue) == Status::kOk,
         "there is a queue slot");
    return queue;
  }
  std::uint64_t id_of_queue(QueueNo queue) { return buffer().view(queue).id; }

  Status try_reserve(QueueNo queue, const Bytes& rows, std::vector<FrameRef>* frames) {
    frames->resize(max_frames(rows.size()));
    std::size_t count = 99;
    const Status status =
        buffer().reserve(queue, id_of_queue(queue), 7, rows, frames->data(), &count);
    must(count <= frames->size(), "max_frames() is a bound");
    frames->resize(count);
    return status;
  }
  std::vector<FrameRef> reserve(QueueNo queue, const Bytes& rows) {
    std::vector<FrameRef> frames;
    must(try_reserve(queue, rows, &frames) == Status::kOk, "there is space");
    return frames;
  }
  void fill(const std::vector<FrameRef>& frames, const Bytes& rows, Xid xid, bool pure) {
    std::size_t at = 0;
    for (const FrameRef& frame : frames)
      at += buffer().fill(frame, rows.data() + at, xid, pure, 0, frames.size());
    must(at == rows.size(), "the frames take all rows");
  }
  // Up to PREPARED.
  std::vector<FrameRef> stage(QueueNo queue, const Bytes& rows, Xid xid, bool pure = true) {
    std::vector<FrameRef> frames = reserve(queue, rows);
    fill(frames, rows, xid, pure);
    return frames;
  }
  std::vector<FrameRef> stage(QueueNo queue, const Ids& ids) {
    return stage(queue, make_rows(ids), next_xid_++);
  }
  // How often the flusher was called.
  int publish(std::vector<FrameRef>& frames, std::int64_t now_us = 1) {
    int wakes = 0;
    buffer().publish(frames, now_us, [&](QueueNo) { ++wakes; });
    return wakes;
  }
  std::vector<FrameRef> write(QueueNo queue, const Bytes& rows) {
    std::vector<FrameRef> frames = stage(queue, rows, next_xid_++);
    publish(frames);
    return frames;
  }
  std::vector<FrameRef> write(QueueNo queue, const Ids& ids) {
    return write(queue, make_rows(ids));
  }

  Ids ids_in(std::span<const FrameRef> frames) {
    Ids ids;
    for (const FrameRef& frame : frames) {
      buffer().for_each_row(frame,
                            [&](std::span<const std::byte> row) { ids.push_back(id_of(row)); });
      must(frame.rows == buffer().header(frame).row_count, "the reference knows the row count");
    }
    return ids;
  }
  static constexpr FlushLimits kNoLimits{UINT64_MAX, UINT64_MAX};
  Batch take(QueueNo queue, std::vector<FrameRef>* frames, const FlushLimits& limits = kNoLimits) {
    return buffer().take(queue, limits, frames);
  }
  // The pending rows in flush order.
  Ids pending(QueueNo queue) {
    std::vector<FrameRef> frames;
    take(queue, &frames);
    return ids_in(frames);
  }
  // Takes, marks and finishes; returns the rows.
  Ids flush(QueueNo queue, const FlushLimits& limits = kNoLimits) {
    std::vector<FrameRef> frames;
    const Batch batch = take(queue, &frames, limits);
    const Xid xid = next_xid_++;
    buffer().mark(frames, xid);
    Ids ids = ids_in(frames);
    buffer().finish(queue, frames, batch.through, xid, xid);
    return ids;
  }
  void drop(QueueNo queue) { buffer().drop_queue(queue, id_of_queue(queue)); }

  FrameHeader& header(const FrameRef& frame) {
    return const_cast<FrameHeader&>(buffer().header(frame));
  }
  BlockHeader& block_header(std::uint32_t block) {
    return *reinterpret_cast<BlockHeader*>(file_ + block_offset(block));
  }

 private:
  Geometry geometry_;
  std::unique_ptr<Memory> owned_;
  std::byte* file_;
  Memory index_;
  OrderedLocks locks_;
  std::uint64_t run_ = 0;
  Xid next_xid_ = kFirstXid;
  std::optional<WriteBuffer> buffer_;
};

}  // namespace pgwc::test
