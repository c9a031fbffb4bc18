// The scan of a damaged buffer file: whatever the bytes, no crash, no row that was never written,
// and every record of an undamaged block kept.
//
// The input says how many transactions of how many rows are written into a small file, and then
// which bytes of it are changed to what.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <set>
#include <vector>

#include "core/frame.hpp"
#include "core/recovery.hpp"
#include "core/write_buffer.hpp"

namespace {

using namespace pgwc;

constexpr Geometry kGeometry{kMinBlocks > 4 ? kMinBlocks : 4, 4};
constexpr std::uint64_t kIncarnation = 0x1234567;

class NoLocks final : public Locks {
 public:
  void acquire(LockId) noexcept override {}
  void release(LockId) noexcept override {}
};

class AllCommitted final : public FateOf {
 public:
  Fate operator()(Xid) const noexcept override { return Fate::kNotCommitted; }
};

void must(bool holds) {
  if (!holds) std::abort();
}

// A row that proves itself: its length, its number, and the same number scrambled.
constexpr std::uint32_t kRowBytes = 24;

void make_row(std::byte* row, std::uint64_t number) {
  const std::uint64_t scrambled = number * 0x9E3779B97F4A7C15ull;
  std::memset(row, 0, kRowBytes);
  std::memcpy(row, &kRowBytes, sizeof(kRowBytes));
  std::memcpy(row + 8, &number, sizeof(number));
  std::memcpy(row + 16, &scrambled, sizeof(scrambled));
}

struct Image {
  std::vector<std::uint64_t> words =
      std::vector<std::uint64_t>(file_size(kGeometry.block_count) / 8);
  std::vector<std::uint64_t> index =
      std::vector<std::uint64_t>(shared_index_size(kGeometry) / 8 + 64);
  std::byte* file() { return reinterpret_cast<std::byte*>(words.data()); }
  void* shared() {
    return reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(index.data()) + 63) &
                                   ~std::uintptr_t{63});
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 4) return 0;
  static Image image;
  std::memset(image.words.data(), 0, image.words.size() * 8);
  NoLocks locks;
  std::uint64_t written = 0;
  std::vector<std::set<std::uint64_t>> rows_of_block(kGeometry.block_count);
  {
    WriteBuffer buffer(WriteBuffer::Create{}, image.shared(), image.file(), kGeometry, kIncarnation,
                       1, locks);
    QueueNo queue;
    must(buffer.open_queue(make_queue_id(5, 7), 7, &queue) == Status::kOk);
    const unsigned transactions = data[0] % 32;
    const unsigned rows = 1 + data[1] * 4;
    for (unsigned t = 0; t < transactions; ++t) {
      std::vector<std::byte> bytes(rows * kRowBytes);
      for (unsigned r = 0; r < rows; ++r) make_row(bytes.data() + r * kRowBytes, written + r);
      std::vector<FrameRef> frames(max_frames(bytes.size()));
      std::size_t count = 0;
      if (buffer.reserve(queue, make_queue_id(5, 7), 1, bytes, frames.data(), &count) !=
          Status::kOk)
        break;
      frames.resize(count);
      std::size_t at = 0;
      std::uint64_t number = written;
      for (const FrameRef& frame : frames) {
        at += buffer.fill(frame, bytes.data() + at, 100 + t, true);
        for (std::uint32_t r = 0; r < frame.rows; ++r) rows_of_block[frame.block].insert(number++);
      }
      buffer.publish(frames, 1, [](QueueNo) {});
      written += rows;
    }
  }
  std::vector<bool> damaged(kGeometry.block_count);
  for (std::size_t i = 2; i + 4 <= size; i += 4) {
    const std::uint32_t at =
        (data[i] | data[i + 1] << 8 | data[i + 2] << 16) % (kGeometry.block_count * kBlockSize);
    std::byte& byte = image.file()[block_offset(0) + at];
    if (byte != std::byte{data[i + 3]}) damaged[at / kBlockSize] = true;
    byte = std::byte{data[i + 3]};
  }
  WriteBuffer buffer(WriteBuffer::Create{}, image.shared(), image.file(), kGeometry, kIncarnation,
                     2, locks);
  Recovery recovery(buffer);
  (void)recovery.scan();
  (void)recovery.transactions();
  (void)recovery.settle(AllCommitted{}, 1);
  std::set<std::uint64_t> found;
  for (QueueNo q = 0; q < buffer.queue_count(); ++q) {
    if (buffer.view(q).id == 0) continue;
    std::vector<FrameRef> frames;
    (void)buffer.take(q, {UINT64_MAX, UINT64_MAX}, &frames);
    for (const FrameRef& frame : frames)
      buffer.for_each_row(frame, [&](std::span<const std::byte> row) {
        std::uint64_t number;
        std::byte expected[kRowBytes];
        must(row.size() >= kRowBytes);
        std::memcpy(&number, row.data() + 8, sizeof(number));
        make_row(expected, number);
        must(number < written && std::memcmp(row.data(), expected, kRowBytes) == 0);
        must(found.insert(number).second);
      });
  }
  for (std::uint32_t b = 0; b < kGeometry.block_count; ++b)
    for (std::uint64_t number : rows_of_block[b]) must(damaged[b] || found.count(number) != 0);
  return 0;
}
