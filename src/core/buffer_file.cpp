#include "core/buffer_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "core/checksum.hpp"

namespace pgwc {

namespace bip = boost::interprocess;

namespace {

std::uint32_t header_crc(const FileHeader& header) noexcept {
  constexpr std::size_t kFrom = offsetof(FileHeader, generation);
  return crc32c(reinterpret_cast<const std::byte*>(&header) + kFrom, sizeof(header) - kFrom);
}

class Fd {
 public:
  explicit Fd(int fd) noexcept : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const noexcept { return fd_; }
  int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// What is not a file is not waited for.
constexpr int kOpenFlags = O_CLOEXEC | O_NONBLOCK;

bool is_same_file(int fd, const std::string& path) noexcept {
  struct stat mine {
  }, named{};
  return ::fstat(fd, &mine) == 0 && ::stat(path.c_str(), &named) == 0 &&
         mine.st_dev == named.st_dev && mine.st_ino == named.st_ino;
}

// Reads the newer valid copy of the header, and says how many are valid.
Status read_header(int fd, FileHeader* header, int* copies, const char** reason) noexcept {
  *copies = 0;
  bool other_version = false;
  for (int copy = 0; copy < 2; ++copy) {
    FileHeader read;
    if (::pread(fd, &read, sizeof(read), static_cast<off_t>(copy * kFileHeaderCopySize)) !=
        static_cast<ssize_t>(sizeof(read)))
      continue;
    if (read.magic != kFileMagic) continue;
    if (read.version != kFileVersion) {
      other_version = true;
      continue;
    }
    if (read.crc != header_crc(read)) continue;
    if (*copies == 0 || read.generation > header->generation) *header = read;
    ++*copies;
  }
  if (*copies > 0) return Status::kOk;
  *reason = other_version ? "it was written by another version of the extension"
                          : "its header is unreadable";
  return other_version ? Status::kForeign : Status::kDamaged;
}

bool is_zero(int fd, std::uint64_t from, std::uint64_t to) noexcept {
  unsigned char bytes[4096];
  while (from < to) {
    const ssize_t got = ::pread(fd, bytes, std::min<std::uint64_t>(sizeof(bytes), to - from),
                                static_cast<off_t>(from));
    if (got <= 0 || std::any_of(bytes, bytes + got, [](auto byte) { return byte != 0; }))
      return false;
    from += static_cast<std::uint64_t>(got);
  }
  return true;
}

// Whether nothing was ever written: a server killed while it made the file leaves it so. The blocks
// are looked at too, or a damaged header would cost the rows behind it.
bool is_blank(int fd, std::uint64_t size) noexcept {
  if (!is_zero(fd, 0, std::min<std::uint64_t>(size, kFileHeaderSpan))) return false;
  for (std::uint64_t block = kFileHeaderSpan; block < size; block += kBlockSize)
    if (!is_zero(fd, block, std::min<std::uint64_t>(size, block + sizeof(BlockHeader))))
      return false;
  return true;
}

// Returns 0 or errno.
int allocate(int fd, std::uint32_t block_count) noexcept {
  int error;
  do {
    error = ::posix_fallocate(fd, 0, static_cast<off_t>(file_size(block_count)));
  } while (error == EINTR);
  return error;
}

// So that the file's name survives a power loss as its contents do. Not every file system can.
void sync_directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  Fd fd(::open(directory.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() >= 0) ::fsync(fd.get());
}

Status check_header(const FileHeader& header, const FileIdentity& identity,
                    const char** reason) noexcept {
  if (header.system_identifier != identity.system_identifier) {
    *reason = "it belongs to another database cluster";
    return Status::kForeign;
  }
  if (header.timeline != identity.timeline) {
    *reason = "it belongs to another timeline";
    return Status::kForeign;
  }
  if (header.block_size != kBlockSize || header.block_count < kMinBlocks ||
      header.block_count > kMaxBlocks) {
    *reason = "its sizes are out of range";
    return Status::kDamaged;
  }
  return Status::kOk;
}

std::uint64_t read(NotedNumber& number) noexcept {
  const std::uint64_t value = std::atomic_ref(number.value).load();
  const std::uint64_t inverted = std::atomic_ref(number.inverted).load();
  // Never written: both are 0.
  return std::min(value, ~inverted);
}

bool is_known(const std::uint8_t (&boot_id)[16]) noexcept {
  return std::any_of(std::begin(boot_id), std::end(boot_id), [](auto byte) { return byte != 0; });
}

}  // namespace

std::uint32_t BufferFile::peek_block_count(const std::string& path) noexcept {
  Fd fd(::open(path.c_str(), O_RDONLY | kOpenFlags));
  FileHeader header{};
  int copies;
  const char* reason;
  if (fd.get() < 0 || read_header(fd.get(), &header, &copies, &reason) != Status::kOk ||
      header.block_count < kMinBlocks || header.block_count > kMaxBlocks)
    return 0;
  return header.block_count;
}

bool BufferFile::holds_nothing(const std::string& path) noexcept {
  Fd fd(::open(path.c_str(), O_RDONLY | kOpenFlags));
  if (fd.get() < 0) return errno == ENOENT;
  // A file that is not whole, or not one of ours, may have held anything.
  const std::uint32_t blocks = peek_block_count(path);
  for (std::uint32_t b = 0; b < blocks; ++b) {
    const std::uint64_t at = block_offset(b);
    std::uint32_t magic;
    if (::pread(fd.get(), &magic, sizeof(magic), static_cast<off_t>(at)) !=
        static_cast<ssize_t>(sizeof(magic)))
      return false;
    if (magic != kFreeMagic && !is_zero(fd.get(), at, at + sizeof(BlockHeader))) return false;
  }
  return blocks > 0;
}

BufferFile::~BufferFile() {
  if (claimed_ >= 0) ::close(claimed_);
}

Status BufferFile::claim(const std::string& path) noexcept {
  for (;;) {
    if (claimed_ >= 0 && is_same_file(claimed_, path)) return Status::kOk;
    if (claimed_ >= 0) ::close(std::exchange(claimed_, -1));
    Fd fd(::open(path.c_str(), O_RDWR | kOpenFlags));
    // Whoever opens it next says what is wrong with it.
    if (fd.get() < 0) return Status::kOk;
    // Not every file system has locks.
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return Status::kInUse;
    claimed_ = fd.release();  // unless it was moved away just now
  }
}

OpenResult BufferFile::open(const std::string& path, std::uint32_t block_count,
                            const FileIdentity& identity, std::uint64_t new_incarnation) noexcept {
  OpenResult result{};
  auto fail = [&result](Status status, int error) {
    result.status = status;
    result.error = error;
    return result;
  };
  if (block_count < kMinBlocks || block_count > kMaxBlocks) return fail(Status::kIoError, EINVAL);
  FileHeader header{};
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | kOpenFlags, 0600));
  const int open_error = errno;
  struct stat st {};
  if ((fd.get() < 0 && ::stat(path.c_str(), &st) != 0) ||
      (fd.get() >= 0 && ::fstat(fd.get(), &st) != 0))
    return fail(Status::kIoError, errno);
  if (!S_ISREG(st.st_mode)) {
    result.reason = "it is not a file";
    return fail(Status::kDamaged, 0);
  }
  if (fd.get() < 0) return fail(Status::kIoError, open_error);
  if (claim(path) != Status::kOk) return fail(Status::kInUse, 0);
  const auto size = static_cast<std::uint64_t>(st.st_size);
  int copies = 0;
  Status status = read_header(fd.get(), &header, &copies, &result.reason);
  if (status == Status::kDamaged && is_blank(fd.get(), size)) {
    result.created = true;
    result.reason = nullptr;
    header = {};
    header.magic = kFileMagic;
    header.version = kFileVersion;
    header.system_identifier = identity.system_identifier;
    header.incarnation = new_incarnation;
    header.block_size = kBlockSize;
    header.block_count = block_count;
  } else {
    if (status == Status::kOk) status = check_header(header, identity, &result.reason);
    if (status != Status::kOk) return fail(status, 0);
    result.truncated = size < file_size(header.block_count);
    if (header.block_count != block_count) result.wanted_blocks_unmet = header.block_count;
    // The lost copy may have been the newer one, and its run have begun.
    if (copies < 2) ++header.run;
  }
  // Also for an old file: a sparse copy of one would fault where the disk is full.
  if (int error = allocate(fd.get(), header.block_count)) {
    if (result.created) ::unlink(path.c_str());
    return fail(Status::kIoError, error);
  }
  try {
    bip::file_mapping file(path.c_str(), bip::read_write);
    region_ = bip::mapped_region(file, bip::read_write, 0, file_size(header.block_count));
    if (result.created) sync_directory_of(path);
  } catch (const bip::interprocess_exception& error) {
    return fail(Status::kIoError, error.get_native_error());
  } catch (...) {
    return fail(Status::kIoError, ENOMEM);
  }
  result.rebooted = !result.created && (!is_known(identity.boot_id) ||
                                        std::memcmp(header.boot_id, identity.boot_id, 16) != 0);
  result.clean = result.created || (header.clean != 0 && copies == 2);
  header_ = header;
  if (result.rebooted) header_.power_lost = 1;
  begin_run(identity);
  if (result.created) {
    store_header();  // the other copy
    if (::fsync(fd.get()) != 0) return fail(Status::kIoError, errno);
  }
  result.status = Status::kOk;
  return result;
}

void BufferFile::begin_run(const FileIdentity& identity) noexcept {
  refresh_header();
  std::memcpy(header_.boot_id, identity.boot_id, sizeof(header_.boot_id));
  header_.timeline = identity.timeline;
  header_.clean = 0;
  ++header_.run;
  store_header();
  // Sequence numbers of this run must never be given out again, not even after a power loss.
  ::msync(data(), kFileHeaderSpan, MS_SYNC);
}

void BufferFile::set_clean(bool clean) noexcept {
  refresh_header();
  header_.clean = clean ? 1 : 0;
  store_header();
}

void BufferFile::set_settled(std::uint32_t timeline) noexcept {
  refresh_header();
  header_.power_lost = 0;
  header_.timeline = timeline;
  store_header();
}

// Another process may have written since this one was forked.
void BufferFile::refresh_header() noexcept {
  for (int copy = 0; copy < 2; ++copy) {
    FileHeader read;
    std::memcpy(&read, data() + copy * kFileHeaderCopySize, sizeof(read));
    if (read.magic == kFileMagic && read.crc == header_crc(read) &&
        read.generation > header_.generation)
      header_ = read;
  }
}

// Two copies, written in turn: a process killed in the middle leaves the other one whole.
void BufferFile::store_header() noexcept {
  ++header_.generation;
  header_.crc = header_crc(header_);
  std::memcpy(data() + (header_.generation % 2) * kFileHeaderCopySize, &header_, sizeof(header_));
}

int BufferFile::sync() noexcept {
  return ::msync(data(), file_size(header_.block_count), MS_SYNC) == 0 ? 0 : errno;
}

void BufferFile::touch_all() noexcept {
  constexpr std::uint64_t kPage = 4096;
  for (std::uint64_t at = 0; at < file_size(header_.block_count); at += kPage) {
    // Stores what is there, whoever else may be storing something.
    std::atomic_ref<std::uint32_t> word(*reinterpret_cast<std::uint32_t*>(data() + at));
    for (std::uint32_t value = word.load(); !word.compare_exchange_weak(value, value);) {
    }
  }
}

std::uint64_t BufferFile::synced() const noexcept { return read(notes().synced); }

void BufferFile::note_synced(std::uint64_t seq) noexcept {
  std::atomic_ref(notes().synced.value).store(seq);
  std::atomic_ref(notes().synced.inverted).store(~seq);
}

std::uint64_t BufferFile::checkpoint() const noexcept { return read(notes().checkpoint); }

void BufferFile::note_checkpoint(std::uint64_t lsn) noexcept {
  if (checkpoint() >= lsn) return;
  // Each to its maximum: whoever comes in between leaves the pair no smaller than it was.
  std::atomic_ref<std::uint64_t> value(notes().checkpoint.value);
  for (std::uint64_t old = value.load(); old < lsn && !value.compare_exchange_weak(old, lsn);) {
  }
  std::atomic_ref<std::uint64_t> inverted(notes().checkpoint.inverted);
  for (std::uint64_t old = inverted.load();
       ~old < lsn && !inverted.compare_exchange_weak(old, ~lsn);) {
  }
}

bool BufferFile::is_starting() const noexcept {
  return std::atomic_ref(notes().starting).load() != 0;
}

void BufferFile::note_starting(bool starting) noexcept {
  std::atomic_ref(notes().starting).store(starting ? 1 : 0);
}

std::uint64_t BufferFile::peek_checkpoint(const std::string& path) noexcept {
  if (peek_block_count(path) == 0) return 0;
  Fd fd(::open(path.c_str(), O_RDONLY | kOpenFlags));
  FileNotes notes{};
  if (fd.get() < 0 || ::pread(fd.get(), &notes, sizeof(notes), kFileNotesOffset) !=
                          static_cast<ssize_t>(sizeof(notes)))
    return 0;
  return read(notes.checkpoint);
}

int BufferFile::sync_notes() noexcept {
  return ::msync(data(), kFileHeaderSpan, MS_SYNC) == 0 ? 0 : errno;
}

bool quarantine_file(const std::string& path, std::string* moved_to) noexcept {
  try {
    for (int n = 1; n < 10000; ++n) {
      std::string target = path + ".quarantined." + std::to_string(n);
      if (::access(target.c_str(), F_OK) == 0) continue;
      if (::rename(path.c_str(), target.c_str()) != 0) return false;
      *moved_to = target;
      return true;
    }
  } catch (...) {
    errno = ENOMEM;
    return false;
  }
  errno = EEXIST;
  return false;
}

}  // namespace pgwc
