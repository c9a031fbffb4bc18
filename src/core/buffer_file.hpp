// The buffer file as an object of the operating system: made, checked, mapped, synced.
//
// The mapping belongs to the process that opened it (the postmaster) and to every child it forks.
#pragma once

#ifdef POSTGRES_H
#error "core headers come before PostgreSQL's and never need them"
#endif

#include <cstddef>
#include <cstdint>
#include <string>

#include <boost/interprocess/file_mapping.hpp>
#include <boost/interprocess/mapped_region.hpp>

#include "core/layout.hpp"
#include "core/status.hpp"

namespace pgwc {

// Whose file it must be to be used.
struct FileIdentity {
  std::uint64_t system_identifier;
  std::uint32_t timeline;
  std::uint8_t boot_id[16];  // of the operating system; zero if unknown
};

struct OpenResult {
  Status status;
  int error;           // errno, with kIoError
  const char* reason;  // what differs, with kForeign and kDamaged; a literal
  bool created;
  bool rebooted;   // the operating system restarted since: what was not synced may be missing
  bool clean;      // the last server stopped in order
  bool truncated;  // it was too short: the blocks behind its end are gone
  std::uint32_t
      wanted_blocks_unmet;  // the file keeps its old size of this many blocks; 0 if as asked
};

class BufferFile {
 public:
  BufferFile() = default;
  ~BufferFile();
  BufferFile(const BufferFile&) = delete;
  BufferFile& operator=(const BufferFile&) = delete;

  // Reads how many blocks an existing file has; 0 if there is none that can be used.
  static std::uint32_t peek_block_count(const std::string& path) noexcept;

  // Whether the file is whole and none of its blocks is in use, so that nothing is lost with it; or
  // there is no file.
  static bool holds_nothing(const std::string& path) noexcept;

  // Keeps other servers from using the file as long as this process or a child of it lives; also if
  // there is none. kInUse if another server has it.
  Status claim(const std::string& path) noexcept;

  // Opens the file, or makes it with `block_count` blocks, space allocated so that a full disk
  // shows now and never as a bus error. An existing file keeps its block count. kForeign and
  // kDamaged leave it untouched: the caller moves it out of the way and calls again. Claims it.
  OpenResult open(const std::string& path, std::uint32_t block_count, const FileIdentity& identity,
                  std::uint64_t new_incarnation) noexcept;

  // Maps nothing new: after a crash of a child the postmaster keeps its mapping, and only the run
  // number moves on.
  void begin_run(const FileIdentity& identity) noexcept;

  // Notes an orderly stop, or the timeline that the server has come to write on.
  void set_clean(bool clean) noexcept;
  // Recovery is complete, and the server writes on this timeline.
  void set_settled(std::uint32_t timeline) noexcept;

  // Writes everything changed so far to stable storage. Returns 0 or errno.
  int sync() noexcept;

  // After a sync that failed: makes the next one write everything again. The system may have
  // forgotten that what it could not write was not written.
  void touch_all() noexcept;

  // What the notes say, and what they say from now on. They are on disk after the next sync() or
  // sync_notes(). One process at a time notes what is synced, or that a start begins or is through;
  // any process notes a checkpoint, the latest counts.
  std::uint64_t synced() const noexcept;
  void note_synced(std::uint64_t seq) noexcept;
  std::uint64_t checkpoint() const noexcept;
  void note_checkpoint(std::uint64_t lsn) noexcept;
  bool is_starting() const noexcept;
  void note_starting(bool starting) noexcept;
  int sync_notes() noexcept;
  // The noted checkpoint of a file that is not open; 0 if there is none.
  static std::uint64_t peek_checkpoint(const std::string& path) noexcept;

  bool is_open() const noexcept { return region_.get_address() != nullptr; }
  std::byte* data() const noexcept { return static_cast<std::byte*>(region_.get_address()); }
  const FileHeader& header() const noexcept { return header_; }

 private:
  void refresh_header() noexcept;
  void store_header() noexcept;
  FileNotes& notes() const noexcept {
    return *reinterpret_cast<FileNotes*>(data() + kFileNotesOffset);
  }

  boost::interprocess::mapped_region region_;
  int claimed_ = -1;  // locked
  // As this process has it; the file's copies are written from it. One process writes at a time:
  // the postmaster at a start, then whoever settles, then the launcher.
  FileHeader header_{};
};

// Moves an unusable file aside, to PATH.quarantined.N. Returns false with errno if that fails.
bool quarantine_file(const std::string& path, std::string* moved_to) noexcept;

}  // namespace pgwc
