#include "core/salvage.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "core/buffer_file.hpp"

namespace pgwc {

namespace {

constexpr std::size_t kPage = 4096;
static_assert(kFileHeaderSpan == kBlockSize && kBlockSize % kPage == 0);

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

// Of the disk, as opposed to the file or the call.
bool is_unreadable(int error) noexcept {
  return error == EIO || error == EBADMSG || error == ENXIO || error == EREMOTEIO;
}

class Salvage {
 public:
  Salvage(int from, ReadAt read_at)
      : from_(from), read_at_(read_at), block_(std::make_unique<std::byte[]>(kBlockSize)) {}

  // Reads what is in use and, given a file to copy to, writes it there. Returns 0 or errno.
  int walk(std::uint64_t size, int to) {
    lost_ = 0;
    for (std::uint64_t at = 0; at < size; at += kBlockSize) {
      const auto bytes = static_cast<std::size_t>(std::min<std::uint64_t>(kBlockSize, size - at));
      // The gaps of the headers are as if they had never been written; those of a block are not, or
      // it would pass for a free one.
      const int gap = at == 0 ? 0 : 0xFF;
      const std::size_t first = at == 0 ? bytes : std::min(kPage, bytes);
      if (const int error = read(at, 0, first, gap)) return error;
      if (at > 0 && is_free()) continue;
      if (const int error = read(at, first, bytes, gap)) return error;
      if (to >= 0 && !write(to, at, bytes)) return errno;
    }
    return 0;
  }

  std::uint64_t lost() const noexcept { return lost_; }

 private:
  // Reads a part of the block, page by page if it has to be.
  int read(std::uint64_t at, std::size_t begin, std::size_t end, int gap) {
    if (begin >= end) return 0;
    int error = read_once(at, begin, end - begin);
    if (!is_unreadable(error)) return error;
    for (std::size_t page = begin; page < end; page += kPage) {
      const std::size_t bytes = std::min(kPage, end - page);
      error = read_once(at, page, bytes);
      if (error == 0) continue;
      if (!is_unreadable(error)) return error;
      std::memset(block_.get() + page, gap, bytes);
      ++lost_;
    }
    return 0;
  }

  int read_once(std::uint64_t at, std::size_t begin, std::size_t bytes) {
    while (bytes > 0) {
      const ssize_t got =
          read_at_(from_, block_.get() + begin, bytes, static_cast<off_t>(at + begin));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return errno;
      if (got == 0) {  // it has become shorter
        std::memset(block_.get() + begin, 0, bytes);
        return 0;
      }
      begin += static_cast<std::size_t>(got);
      bytes -= static_cast<std::size_t>(got);
    }
    return 0;
  }

  bool is_free() const noexcept {
    BlockHeader header;
    constexpr BlockHeader kNeverUsed{};
    std::memcpy(&header, block_.get(), sizeof(header));
    return header.magic == kFreeMagic || std::memcmp(&header, &kNeverUsed, sizeof(header)) == 0;
  }

  bool write(int to, std::uint64_t at, std::size_t bytes) const noexcept {
    for (std::size_t done = 0; done < bytes;) {
      const ssize_t put =
          ::pwrite(to, block_.get() + done, bytes - done, static_cast<off_t>(at + done));
      if (put < 0 && errno == EINTR) continue;
      if (put <= 0) return false;
      done += static_cast<std::size_t>(put);
    }
    return true;
  }

  int from_;
  ReadAt read_at_;
  std::unique_ptr<std::byte[]> block_;
  std::uint64_t lost_ = 0;
};

// The file keeps its place until the copy has it.
bool replace(const std::string& path, const std::string& copy, std::string* kept_as) {
  for (int n = 1; n < 10000; ++n) {
    *kept_as = path + ".quarantined." + std::to_string(n);
    if (::link(path.c_str(), kept_as->c_str()) == 0)
      return ::rename(copy.c_str(), path.c_str()) == 0;
    if (errno != EEXIST) break;
  }
  // Not every file system has links.
  return quarantine_file(path, kept_as) && ::rename(copy.c_str(), path.c_str()) == 0;
}

}  // namespace

SalvageResult salvage_file(const std::string& path, ReadAt read_at) {
  SalvageResult result{Status::kOk, 0, 0, {}};
  auto fail = [&result](int error) {
    result.status = Status::kIoError;
    result.error = error;
    return result;
  };
  const Descriptor from{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  struct stat st {};
  // Whoever opens it next says what is wrong with it.
  if (from.fd < 0 || ::fstat(from.fd, &st) != 0 || !S_ISREG(st.st_mode)) return result;
  const auto size = static_cast<std::uint64_t>(st.st_size);
  Salvage salvage(from.fd, read_at);
  if (const int error = salvage.walk(size, -1)) return fail(error);
  if (salvage.lost() == 0) return result;

  const std::string copy = path + ".copy";
  const Descriptor to{::open(copy.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
  if (to.fd < 0 || ::ftruncate(to.fd, st.st_size) != 0) return fail(errno);
  int error = salvage.walk(size, to.fd);
  if (error == 0 && ::fsync(to.fd) != 0) error = errno;
  if (error == 0 && !replace(path, copy, &result.kept_as)) error = errno;
  if (error != 0) {
    ::unlink(copy.c_str());
    return fail(error);
  }
  result.lost_pages = salvage.lost();
  return result;
}

}  // namespace pgwc
