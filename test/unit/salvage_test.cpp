#include "core/salvage.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>

#include "core/buffer_file.hpp"
#include "unit/rig.hpp"
#include "unit/temp_dir.hpp"

namespace pgwc {
namespace {

using test::Ids;
using test::Rig;

// A disk that does not give back these pages.
std::set<off_t> unreadable;
int refusal = EIO;

ssize_t read_at(int fd, void* to, std::size_t bytes, off_t at) {
  for (off_t page : unreadable) {
    if (page < at + static_cast<off_t>(bytes) && at < page + 4096) {
      errno = refusal;
      return -1;
    }
  }
  return ::pread(fd, to, bytes, at);
}

struct Salvage : ::testing::Test {
  test::TempDir dir;
  std::string path = dir / "buffer";
  Rig rig;

  Salvage() {
    unreadable.clear();
    refusal = EIO;
  }
  static constexpr std::size_t kMany = 400;
  // Rows 1, 2, ... of queue 1, a frame each; returns where their block is.
  off_t write_many() {
    const QueueNo q = rig.open(1);
    std::uint32_t block = kNoBlock;
    for (std::uint32_t id = 1; id <= kMany; ++id) block = rig.write(q, Ids{id})[0].block;
    return static_cast<off_t>(block_offset(block));
  }
  // The rig's file, on disk; headers are made by whoever opens it.
  void store() {
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(rig.file()),
              static_cast<std::streamsize>(file_size(kMinBlocks)));
  }
  void load() {
    std::ifstream in(path, std::ios::binary);
    in.read(reinterpret_cast<char*>(rig.file()),
            static_cast<std::streamsize>(file_size(kMinBlocks)));
    ASSERT_TRUE(in);
  }
  std::size_t files() const {
    using Each = std::filesystem::directory_iterator;
    return static_cast<std::size_t>(std::distance(Each(dir.path()), Each()));
  }
};

TEST_F(Salvage, LeavesAFileThatCanBeReadAsItIs) {
  const QueueNo q = rig.open(1);
  rig.write(q, Ids{1, 2});
  store();
  struct stat before {
  }, after{};
  ASSERT_EQ(::stat(path.c_str(), &before), 0);
  const SalvageResult result = salvage_file(path, read_at);
  EXPECT_EQ(result.status, Status::kOk);
  EXPECT_EQ(result.lost_pages, 0u);
  EXPECT_EQ(result.kept_as, "");
  ASSERT_EQ(::stat(path.c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_EQ(files(), 1u);
}

TEST_F(Salvage, LeavesNoFileAlone) {
  EXPECT_EQ(salvage_file(path, read_at).status, Status::kOk);
  EXPECT_EQ(files(), 0u);
}

TEST_F(Salvage, DoesNotReadFreeBlocks) {
  store();
  unreadable.insert(static_cast<off_t>(block_offset(3) + 8192));
  EXPECT_EQ(salvage_file(path, read_at).kept_as, "");
}

// Rows in the page are gone; those before and behind it, and in other blocks, are not.
TEST_F(Salvage, KeepsWhatCanBeRead) {
  const off_t place = write_many();
  rig.write(rig.open(2), Ids{7});
  store();
  unreadable.insert(place + off_t{4} * 4096);
  const SalvageResult result = salvage_file(path, read_at);
  ASSERT_EQ(result.status, Status::kOk);
  EXPECT_EQ(result.lost_pages, 1u);
  EXPECT_EQ(result.kept_as, path + ".quarantined.1");
  EXPECT_EQ(files(), 2u);
  unreadable.clear();
  load();
  rig.recover();
  const Ids kept = rig.pending(rig.open(1));
  EXPECT_LT(kept.size(), kMany);
  EXPECT_GT(kept.size(), kMany / 2);
  EXPECT_EQ(kept.front(), 1);
  EXPECT_EQ(kept.back(), kMany);
  EXPECT_EQ(rig.pending(rig.open(2)), (Ids{7}));
}

// Without its header a block is known by its frames.
TEST_F(Salvage, KeepsABlockWhoseHeaderIsGone) {
  unreadable.insert(write_many());
  store();
  EXPECT_EQ(salvage_file(path, read_at).lost_pages, 1u);
  load();
  rig.recover();
  const Ids kept = rig.pending(rig.open(1));
  EXPECT_GT(kept.size(), kMany / 2);
  EXPECT_EQ(kept.back(), kMany);
}

TEST_F(Salvage, ManagesWithOneHeaderAndWithoutNotes) {
  constexpr FileIdentity kIdentity{42, 3, {1, 2, 3}};
  {
    BufferFile file;
    ASSERT_EQ(file.open(path, kMinBlocks, kIdentity, 77).status, Status::kOk);
    file.note_synced(5);
    file.note_checkpoint(6);
    file.note_starting(true);
    file.set_clean(true);
  }
  unreadable = {0, static_cast<off_t>(kFileNotesOffset)};
  EXPECT_EQ(salvage_file(path, read_at).lost_pages, 2u);
  BufferFile file;
  const OpenResult result = file.open(path, kMinBlocks, kIdentity, 78);
  ASSERT_EQ(result.status, Status::kOk);
  EXPECT_EQ(file.header().incarnation, 77u);
  EXPECT_FALSE(result.clean);
  EXPECT_EQ(file.synced(), 0u);
  EXPECT_EQ(file.checkpoint(), 0u);
  EXPECT_FALSE(file.is_starting());
}

TEST_F(Salvage, NeverOverwritesAFileThatWasSetAside) {
  unreadable.insert(write_many() + 4096);
  store();
  std::ofstream(path + ".quarantined.1") << "older";
  EXPECT_EQ(salvage_file(path, read_at).kept_as, path + ".quarantined.2");
  EXPECT_EQ(std::filesystem::file_size(path + ".quarantined.1"), 5u);
}

TEST_F(Salvage, OtherErrorsAreReported) {
  unreadable.insert(write_many());
  store();
  refusal = ENOMEM;
  const SalvageResult result = salvage_file(path, read_at);
  EXPECT_EQ(result.status, Status::kIoError);
  EXPECT_EQ(result.error, ENOMEM);
  EXPECT_EQ(files(), 1u);
}

}  // namespace
}  // namespace pgwc
