#include "core/buffer_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <vector>

#include "core/frame.hpp"
#include "unit/temp_dir.hpp"

namespace pgwc {
namespace {

constexpr std::uint32_t kBlocks = kMinBlocks;
constexpr FileIdentity kIdentity{42, 3, {1, 2, 3}};

struct BufferFileTest : ::testing::Test {
  test::TempDir dir;
  std::string path = dir / "buffer";

  OpenResult open(const FileIdentity& identity = kIdentity, std::uint32_t blocks = kBlocks,
                  BufferFile* file = nullptr) {
    BufferFile own;
    return (file ? file : &own)->open(path, blocks, identity, 77);
  }
  void make() { ASSERT_EQ(open().status, Status::kOk); }
  std::uint64_t size() {
    struct stat st {};
    return ::stat(path.c_str(), &st) == 0 ? static_cast<std::uint64_t>(st.st_size) : 0;
  }
  void write_at(std::uint64_t offset, const std::string& bytes) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT, 0600);
    ASSERT_EQ(::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes.size()));
    ::close(fd);
  }
  FileHeader header_copy(int copy) {
    FileHeader header{};
    const int fd = ::open(path.c_str(), O_RDONLY);
    EXPECT_EQ(::pread(fd, &header, sizeof(header), copy * static_cast<off_t>(kFileHeaderCopySize)),
              static_cast<ssize_t>(sizeof(header)));
    ::close(fd);
    return header;
  }
  // Flips a bit of a header copy at this offset.
  void damage_copy(int copy, std::size_t at) {
    FileHeader header = header_copy(copy);
    auto* bytes = reinterpret_cast<char*>(&header);
    bytes[at] = static_cast<char>(bytes[at] ^ 4);
    write_at(copy * kFileHeaderCopySize, std::string(bytes, sizeof(header)));
  }
  int newer_copy() { return header_copy(0).generation > header_copy(1).generation ? 0 : 1; }
};

TEST_F(BufferFileTest, IsMadeWithAllItsSpace) {
  BufferFile file;
  const OpenResult result = open(kIdentity, kBlocks, &file);
  ASSERT_EQ(result.status, Status::kOk);
  EXPECT_TRUE(result.created);
  EXPECT_TRUE(result.clean);
  EXPECT_FALSE(result.rebooted);
  EXPECT_EQ(size(), file_size(kBlocks));
  struct stat st {};
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_GE(static_cast<std::uint64_t>(st.st_blocks) * 512, file_size(kBlocks));
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  EXPECT_EQ(file.header().incarnation, 77u);
  EXPECT_EQ(file.header().run, 1u);
  EXPECT_EQ(file.sync(), 0);
}

TEST_F(BufferFileTest, KeepsItsBytesAndIncarnation) {
  {
    BufferFile file;
    ASSERT_EQ(open(kIdentity, kBlocks, &file).status, Status::kOk);
    file.data()[file_size(kBlocks) - 1] = std::byte{9};
  }
  BufferFile file;
  const OpenResult result = file.open(path, kBlocks, kIdentity, 78);
  ASSERT_EQ(result.status, Status::kOk);
  EXPECT_FALSE(result.created);
  EXPECT_EQ(file.data()[file_size(kBlocks) - 1], std::byte{9});
  EXPECT_EQ(file.header().incarnation, 77u);
}

TEST_F(BufferFileTest, CountsItsRuns) {
  for (std::uint64_t run = 1; run < 6; ++run) {
    BufferFile file;
    ASSERT_EQ(open(kIdentity, kBlocks, &file).status, Status::kOk);
    EXPECT_EQ(file.header().run, run);
  }
  BufferFile file;
  ASSERT_EQ(open(kIdentity, kBlocks, &file).status, Status::kOk);
  file.begin_run(kIdentity);
  EXPECT_EQ(file.header().run, 7u);
}

TEST_F(BufferFileTest, KeepsItsBlockCount) {
  make();
  const OpenResult result = open(kIdentity, 2 * kBlocks);
  EXPECT_EQ(result.status, Status::kOk);
  EXPECT_EQ(result.wanted_blocks_unmet, kBlocks);
  EXPECT_EQ(size(), file_size(kBlocks));
  EXPECT_EQ(BufferFile::peek_block_count(path), kBlocks);
}

TEST_F(BufferFileTest, PeekSeesNoFileWhereNoneIsUsable) {
  EXPECT_EQ(BufferFile::peek_block_count(path), 0u);
  write_at(0, std::string(100, 'x'));
  EXPECT_EQ(BufferFile::peek_block_count(path), 0u);
}

TEST_F(BufferFileTest, RefusesSizesOutOfRange) {
  for (std::uint32_t blocks : {0u, kMinBlocks - 1, kMaxBlocks + 1}) {
    const OpenResult result = open(kIdentity, blocks);
    EXPECT_EQ(result.status, Status::kIoError);
    EXPECT_EQ(result.error, EINVAL);
    EXPECT_EQ(::access(path.c_str(), F_OK), -1);
  }
}

// --- whose file it is ---

TEST_F(BufferFileTest, OfAnotherClusterIsForeign) {
  make();
  EXPECT_EQ(open({43, 3, {1}}).status, Status::kForeign);
}

TEST_F(BufferFileTest, OfAnotherTimelineIsForeign) {
  make();
  EXPECT_EQ(open({42, 4, {1}}).status, Status::kForeign);
}

TEST_F(BufferFileTest, FollowsItsServerToANewTimeline) {
  {
    BufferFile file;
    ASSERT_EQ(open(kIdentity, kBlocks, &file).status, Status::kOk);
    file.set_settled(4);
  }
  EXPECT_EQ(open().status, Status::kForeign);
  EXPECT_EQ(open({42, 4, {1, 2, 3}}).status, Status::kOk);
}

TEST_F(BufferFileTest, OfAnotherVersionIsForeign) {
  make();
  for (int copy : {0, 1}) damage_copy(copy, offsetof(FileHeader, version));
  const OpenResult result = open();
  EXPECT_EQ(result.status, Status::kForeign);
  EXPECT_NE(std::strstr(result.reason, "version"), nullptr);
}

TEST_F(BufferFileTest, ARefusedFileIsLeftAsItIs) {
  make();
  const FileHeader before[] = {header_copy(0), header_copy(1)};
  EXPECT_EQ(open({43, 3, {1}}).status, Status::kForeign);
  for (int copy : {0, 1}) {
    const FileHeader after = header_copy(copy);
    EXPECT_EQ(std::memcmp(&before[copy], &after, sizeof(after)), 0);
  }
}

TEST_F(BufferFileTest, KnowsWhetherTheSystemHasRestarted) {
  make();
  EXPECT_FALSE(open().rebooted);
  EXPECT_TRUE(open({42, 3, {9}}).rebooted);
  EXPECT_FALSE(open({42, 3, {9}}).rebooted);
  EXPECT_TRUE(open({42, 3, {}}).rebooted) << "unknown, so it may have";
  EXPECT_TRUE(open({42, 3, {}}).rebooted);
}

TEST_F(BufferFileTest, KnowsWhetherTheServerStoppedInOrder) {
  {
    BufferFile file;
    ASSERT_EQ(open(kIdentity, kBlocks, &file).status, Status::kOk);
    file.set_clean(true);
  }
  EXPECT_TRUE(open().clean);
  EXPECT_FALSE(open().clean) << "opened since, and not stopped in order";
}

// --- damage ---

TEST_F(BufferFileTest, OneDamagedHeaderCopyIsEnough) {
  for (std::size_t at : {offsetof(FileHeader, magic), offsetof(FileHeader, version),
                         offsetof(FileHeader, crc), offsetof(FileHeader, incarnation),
                         offsetof(FileHeader, timeline), offsetof(FileHeader, boot_id) + 15}) {
    for (int copy : {0, 1}) {
      ::unlink(path.c_str());
      make();
      damage_copy(copy, at);
      BufferFile file;
      ASSERT_EQ(open(kIdentity, kBlocks, &file).status, Status::kOk) << at;
      EXPECT_EQ(file.header().incarnation, 77u);
    }
  }
}

TEST_F(BufferFileTest, TheLossOfACopyRepeatsNoRun) {
  make();
  for (int round = 0; round < 6; ++round) {
    std::uint64_t run;
    {
      BufferFile file;
      ASSERT_EQ(open(kIdentity, kBlocks, &file).status, Status::kOk);
      run = file.header().run;
      file.set_clean(true);
    }
    damage_copy(round % 2 == 0 ? newer_copy() : 1 - newer_copy(), 40);
    BufferFile file;
    const OpenResult result = open(kIdentity, kBlocks, &file);
    ASSERT_EQ(result.status, Status::kOk);
    EXPECT_GT(file.header().run, run);
    EXPECT_FALSE(result.clean) << "nobody knows";
  }
}

TEST_F(BufferFileTest, WithoutAReadableHeaderIsDamaged) {
  make();
  for (int copy : {0, 1}) damage_copy(copy, 60);
  EXPECT_EQ(open().status, Status::kDamaged);
}

TEST_F(BufferFileTest, OfGarbageIsDamaged) {
  write_at(0, std::string(file_size(kBlocks), 'x'));
  EXPECT_EQ(open().status, Status::kDamaged);
}

TEST_F(BufferFileTest, TruncatedKeepsWhatIsLeft) {
  make();
  EXPECT_FALSE(open().truncated);
  for (std::uint64_t length : {file_size(kBlocks) - 1, kFileHeaderSpan + 5, kFileHeaderSpan,
                               std::uint64_t{kFileHeaderCopySize + 80}}) {
    write_at(length - 1, "x");
    ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(length)), 0);
    BufferFile file;
    const OpenResult result = open(kIdentity, kBlocks, &file);
    EXPECT_EQ(result.status, Status::kOk) << length;
    EXPECT_TRUE(result.truncated);
    EXPECT_FALSE(result.created);
    EXPECT_EQ(size(), file_size(kBlocks));
    if (length > kFileHeaderSpan) {
      EXPECT_EQ(file.data()[length - 1], std::byte{'x'});
    }
    EXPECT_EQ(file.data()[file_size(kBlocks) - 1], std::byte{0});
  }
}

TEST_F(BufferFileTest, WithImpossibleSizesIsDamaged) {
  make();
  for (std::uint32_t blocks : {0u, 1u, kMaxBlocks + 1, UINT32_MAX}) {
    FileHeader header = header_copy(newer_copy());
    header.generation += 10;
    header.block_count = blocks;
    constexpr std::size_t kFrom = offsetof(FileHeader, generation);
    header.crc = crc32c(reinterpret_cast<char*>(&header) + kFrom, sizeof(header) - kFrom);
    write_at(0, std::string(reinterpret_cast<char*>(&header), sizeof(header)));
    EXPECT_EQ(open().status, Status::kDamaged) << blocks;
    EXPECT_EQ(BufferFile::peek_block_count(path), 0u);
  }
}

// --- killed while it was being made ---

TEST_F(BufferFileTest, WithoutAnythingInItIsMadeAnew) {
  for (std::uint64_t length :
       {std::uint64_t{0}, std::uint64_t{100}, std::uint64_t{5000}, std::uint64_t{kFileHeaderSpan},
        kFileHeaderSpan + 7, file_size(kBlocks), file_size(2 * kBlocks)}) {
    ::unlink(path.c_str());
    write_at(0, "");
    ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(length)), 0);
    BufferFile file;
    const OpenResult result = open(kIdentity, kBlocks, &file);
    EXPECT_EQ(result.status, Status::kOk) << length;
    EXPECT_TRUE(result.created);
    EXPECT_GE(size(), file_size(kBlocks));
    EXPECT_EQ(file.header().run, 1u);
    EXPECT_EQ(result.reason, nullptr);
  }
}

TEST_F(BufferFileTest, WithoutAHeaderButWithRecordsIsDamaged) {
  make();
  std::byte block[sizeof(BlockHeader)];
  format_block(block, 1, 1, 1);
  write_at(block_offset(kBlocks - 1), std::string(reinterpret_cast<char*>(block), sizeof(block)));
  write_at(0, std::string(2 * kFileHeaderCopySize, '\0'));
  EXPECT_EQ(open().status, Status::kDamaged);
}

TEST_F(BufferFileTest, ShortAndNotEmptyIsDamaged) {
  write_at(0, std::string(50, 'x'));
  EXPECT_EQ(open().status, Status::kDamaged);
  EXPECT_EQ(size(), 50u);
}

// --- the operating system refuses ---

TEST_F(BufferFileTest, WithoutRoomIsNotMade) {
  struct rlimit old {};
  ::getrlimit(RLIMIT_FSIZE, &old);
  auto* old_handler = ::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small { file_size(kBlocks) - 1, old.rlim_max };
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const OpenResult result = open();
  ::setrlimit(RLIMIT_FSIZE, &old);
  ::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(result.status, Status::kIoError);
  EXPECT_EQ(result.error, EFBIG);
  EXPECT_EQ(::access(path.c_str(), F_OK), -1) << "nothing is left behind";
}

TEST_F(BufferFileTest, InAFolderThatIsNotThereIsAnError) {
  path = dir / "no/buffer";
  const OpenResult result = open();
  EXPECT_EQ(result.status, Status::kIoError);
  EXPECT_EQ(result.error, ENOENT);
}

TEST_F(BufferFileTest, ThatIsNoFileIsDamaged) {
  ASSERT_EQ(::mkdir(path.c_str(), 0700), 0);
  EXPECT_EQ(open().status, Status::kDamaged);
  EXPECT_EQ(BufferFile::peek_block_count(path), 0u);
  EXPECT_FALSE(BufferFile::holds_nothing(path));
  ASSERT_EQ(::rmdir(path.c_str()), 0);
  // Nobody waits for somebody to write to it.
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(BufferFile::peek_block_count(path), 0u);
  EXPECT_FALSE(BufferFile::holds_nothing(path));
  EXPECT_EQ(open().status, Status::kDamaged);
}

TEST_F(BufferFileTest, TouchingItChangesNothing) {
  BufferFile file;
  ASSERT_EQ(open(kIdentity, kBlocks, &file).status, Status::kOk);
  for (std::uint64_t at = 0; at < file_size(kBlocks); at += 1000)
    if (at >= kFileHeaderSpan) file.data()[at] = static_cast<std::byte>(at / 1000);
  const std::vector<std::byte> before(file.data(), file.data() + file_size(kBlocks));
  file.touch_all();
  EXPECT_EQ(std::memcmp(before.data(), file.data(), before.size()), 0);
}

// --- notes ---

TEST_F(BufferFileTest, NotesWhatIsSynced) {
  BufferFile file;
  ASSERT_EQ(open(kIdentity, kBlocks, &file).status, Status::kOk);
  EXPECT_EQ(file.synced(), 0u);
  file.note_synced(1234);
  EXPECT_EQ(file.synced(), 1234u);
  EXPECT_EQ(file.sync_notes(), 0);
  // Killed between the two stores, in either direction.
  auto& notes = *reinterpret_cast<FileNotes*>(file.data() + kFileNotesOffset);
  notes.synced.value = 5678;
  EXPECT_EQ(file.synced(), 1234u);
  notes.synced.value = 12;
  EXPECT_EQ(file.synced(), 12u);
  file.note_synced(UINT64_MAX);
  EXPECT_EQ(file.synced(), UINT64_MAX);
}

TEST_F(BufferFileTest, NotesTheLatestCheckpointAndWhetherAStartIsThrough) {
  BufferFile file;
  EXPECT_EQ(BufferFile::peek_checkpoint(path), 0u);
  ASSERT_EQ(open(kIdentity, kBlocks, &file).status, Status::kOk);
  EXPECT_EQ(file.checkpoint(), 0u);
  for (std::uint64_t lsn : {7u, 5u, 9u, 8u}) file.note_checkpoint(lsn);
  EXPECT_EQ(file.checkpoint(), 9u);
  EXPECT_EQ(BufferFile::peek_checkpoint(path), 9u);
  EXPECT_FALSE(file.is_starting());
  file.note_starting(true);
  EXPECT_TRUE(file.is_starting());
  file.note_starting(false);
  EXPECT_FALSE(file.is_starting());
}

// --- two servers ---

TEST_F(BufferFileTest, BelongsToOneServerAtATime) {
  BufferFile one;
  ASSERT_EQ(open(kIdentity, kBlocks, &one).status, Status::kOk);
  BufferFile two;
  EXPECT_EQ(two.claim(path), Status::kInUse);
  EXPECT_EQ(open(kIdentity, kBlocks, &two).status, Status::kInUse);
  EXPECT_EQ(one.claim(path), Status::kOk);
  std::string moved;
  ASSERT_TRUE(quarantine_file(path, &moved));
  EXPECT_EQ(two.claim(path), Status::kOk) << "there is none";
  EXPECT_EQ(open(kIdentity, kBlocks, &two).status, Status::kOk);
  EXPECT_EQ(one.claim(path), Status::kInUse) << "it is another one";
}

TEST_F(BufferFileTest, IsFreeWhenItsServerHasGone) {
  {
    BufferFile file;
    ASSERT_EQ(open(kIdentity, kBlocks, &file).status, Status::kOk);
  }
  BufferFile file;
  EXPECT_EQ(file.claim(path), Status::kOk);
  EXPECT_EQ(open(kIdentity, kBlocks, &file).status, Status::kOk);
}

TEST_F(BufferFileTest, SparseGetsItsSpace) {
  make();
  const FileHeader header = header_copy(1);
  ::unlink(path.c_str());
  write_at(kFileHeaderCopySize,
           std::string(reinterpret_cast<const char*>(&header), sizeof(header)));
  ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(file_size(kBlocks))), 0);
  ASSERT_EQ(open().status, Status::kOk);
  struct stat st {};
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_GE(static_cast<std::uint64_t>(st.st_blocks) * 512, file_size(kBlocks));
}

// --- nothing in it ---

TEST_F(BufferFileTest, HoldsNothingWhenMissingFreshOrFree) {
  EXPECT_TRUE(BufferFile::holds_nothing(path));
  make();
  EXPECT_TRUE(BufferFile::holds_nothing(path));
  BlockHeader header{};
  header.magic = kFreeMagic;
  header.epoch = 7;
  write_at(block_offset(3), std::string(reinterpret_cast<const char*>(&header), sizeof(header)));
  EXPECT_TRUE(BufferFile::holds_nothing(path));
}

TEST_F(BufferFileTest, HoldsSomethingWhenABlockIsUsedOrDoubtful) {
  make();
  BlockHeader header{};
  header.magic = kBlockMagic;
  write_at(block_offset(kBlocks - 1),
           std::string(reinterpret_cast<const char*>(&header), sizeof(header)));
  EXPECT_FALSE(BufferFile::holds_nothing(path));
  header.magic = 0;
  header.epoch = 1;  // its first use was cut short, or its magic is damaged
  write_at(block_offset(kBlocks - 1),
           std::string(reinterpret_cast<const char*>(&header), sizeof(header)));
  EXPECT_FALSE(BufferFile::holds_nothing(path));
}

TEST_F(BufferFileTest, AFileThatIsNotWholeMayHaveHeldAnything) {
  make();
  ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(file_size(kBlocks) - kBlockSize)), 0);
  EXPECT_FALSE(BufferFile::holds_nothing(path));
  ASSERT_EQ(::truncate(path.c_str(), 100), 0);
  EXPECT_FALSE(BufferFile::holds_nothing(path));
  write_at(0, std::string(200, 'x'));
  EXPECT_FALSE(BufferFile::holds_nothing(path));
}

// --- quarantine ---

TEST_F(BufferFileTest, QuarantineKeepsEveryEarlierFile) {
  std::string moved;
  for (int n = 1; n <= 3; ++n) {
    write_at(0, std::string(static_cast<std::size_t>(n), 'x'));
    ASSERT_TRUE(quarantine_file(path, &moved));
    EXPECT_EQ(moved, path + ".quarantined." + std::to_string(n));
    EXPECT_EQ(::access(path.c_str(), F_OK), -1);
  }
  struct stat st {};
  ASSERT_EQ(::stat((path + ".quarantined.2").c_str(), &st), 0);
  EXPECT_EQ(st.st_size, 2);
}

TEST_F(BufferFileTest, QuarantineOfNothingSaysWhy) {
  std::string moved;
  EXPECT_FALSE(quarantine_file(path, &moved));
  EXPECT_EQ(errno, ENOENT);
}

TEST_F(BufferFileTest, AfterQuarantineANewFileIsMade) {
  make();
  std::string moved;
  BufferFile file;
  ASSERT_EQ(open({43, 1, {1}}, kBlocks, &file).status, Status::kForeign);
  ASSERT_TRUE(quarantine_file(path, &moved));
  EXPECT_TRUE(open({43, 1, {1}}, kBlocks, &file).created);
}

}  // namespace
}  // namespace pgwc
