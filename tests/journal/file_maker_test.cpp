// New files: reserved first, zeros in the time that the writer leaves, taken as they are.
#include "journal/file_maker.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "journal/disk_store.hpp"
#include "journal/log.hpp"
#include "journal/reader.hpp"
#include "tests/journal/disk_directory.hpp"

namespace stem::journal {
namespace {

constexpr std::uint64_t kNewBytes = 8u << 20;

std::uint64_t bytes_on_disk(const std::string& path) {
  struct stat s {};
  return ::stat(path.c_str(), &s) == 0 ? static_cast<std::uint64_t>(s.st_blocks) * 512 : 0;
}

bool are_zeros(Store& store, const std::string& name, std::uint64_t bytes) {
  const auto contents = store.read(name);
  return contents.ok() && contents->bytes == bytes &&
         std::all_of(contents->span().begin(), contents->span().end(), [](std::byte b) { return b == std::byte{}; });
}

// A file being made, and the zeros that it has.
struct Making {
  explicit Making(const std::string& path_of_it) : path(path_of_it) { maker.begin(path, kNewBytes); }
  void await_zeros() const {
    while (zeroed.load() < kNewBytes) std::this_thread::yield();
  }
  // The file system may take a few more, for its own.
  void await_blocks() const {
    while (bytes_on_disk(path) < kNewBytes) std::this_thread::yield();
  }

  std::string path;
  DiskLoad load;
  std::atomic<std::uint64_t> zeroed{0};
  FileMaker maker{load, zeroed};
};

TEST(JournalFileMaker, AnIdleDiskIsFilledWithZeros) {
  test::DiskDirectory directory;
  Making making(directory.path() + "/new");
  making.await_zeros();
  EXPECT_TRUE(making.maker.take(making.path, kNewBytes));
  EXPECT_EQ(making.zeroed, kNewBytes);
}

// Who waits for a small write waits for the disk to be done: zeros get their share of its time.
TEST(JournalFileMaker, SmallWritesDoNotHoldItUp) {
  test::DiskDirectory directory;
  DiskLoad load;
  std::atomic<std::uint64_t> zeroed{0};
  FileMaker maker(load, zeroed);
  load.begin(kBlockBytes);
  maker.begin(directory.path() + "/new", kNewBytes);
  while (zeroed.load() < kNewBytes) std::this_thread::yield();
  load.end();
  EXPECT_TRUE(maker.take(directory.path() + "/new", kNewBytes));
}

// A journal that is filled at full speed writes each byte once.
TEST(JournalFileMaker, LargeWritesComeBeforeZeros) {
  test::DiskDirectory directory;
  DiskLoad load;
  std::atomic<std::uint64_t> zeroed{0};
  FileMaker maker(load, zeroed);
  load.begin(256u << 10);
  const std::string path = directory.path() + "/new";
  maker.begin(path, kNewBytes);
  while (bytes_on_disk(path) < kNewBytes) std::this_thread::yield();
  Making beside(directory.path() + "/beside");  // another disk, idle: as long as this takes, no zero is written here
  beside.await_zeros();
  EXPECT_EQ(zeroed, 0u);
  load.end();
  while (zeroed.load() < kNewBytes) std::this_thread::yield();  // and now it has time
  EXPECT_TRUE(maker.take(path, kNewBytes));
}

TEST(JournalFileMaker, WhoWantsItTakesItWithTheZerosThatItHas) {
  test::DiskDirectory directory;
  std::atomic<std::uint64_t> zeroed{0};
  auto store = open_disk_store(directory.path(), &zeroed);
  ASSERT_TRUE(store.ok()) << store.error().message;
  auto busy = (*store)->create("busy", 1u << 20);
  ASSERT_TRUE(busy.ok()) << busy.error().message;
  EXPECT_EQ(zeroed, 1u << 20) << "the first file has no one to be filled beside";
  const std::unique_ptr<std::byte, decltype(&std::free)> page(
      static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, 256u << 10)), &std::free);
  std::fill_n(page.get(), 256u << 10, std::byte{0x5a});
  ASSERT_TRUE((*busy)->start(0, {page.get(), 256u << 10}).ok());
  (*store)->prepare(kSpareName, kNewBytes);
  auto taken = (*store)->create(kSpareName, kNewBytes);  // with a write on its way that does not end before
  ASSERT_TRUE(taken.ok()) << taken.error().message;
  ASSERT_TRUE((*busy)->finish().ok());
  EXPECT_EQ(zeroed, 1u << 20);
  EXPECT_GE(bytes_on_disk(directory.path() + "/" + kSpareName), kNewBytes) << "no room is missing inside it";
  EXPECT_TRUE(are_zeros(**store, kSpareName, kNewBytes));
  for (const std::uint64_t at : {std::uint64_t{0}, kNewBytes / 2, kNewBytes - (256u << 10)}) {
    ASSERT_TRUE((*taken)->start(at, {page.get(), 256u << 10}).ok());
    ASSERT_TRUE((*taken)->finish().ok());
  }
  const auto contents = (*store)->read(kSpareName);
  ASSERT_TRUE(contents.ok());
  EXPECT_EQ(std::count(contents->span().begin(), contents->span().end(), std::byte{0x5a}), 3 * (256 << 10));
}

// Files that are taken as they are made, some of them filled and recycled: what was written is read, and no more.
TEST(JournalFileMaker, RecordsBehindTheZerosAreReadBack) {
  test::DiskDirectory directory;
  auto store = open_disk_store(directory.path());
  ASSERT_TRUE(store.ok()) << store.error().message;
  Log log(**store, 1u << 20, {});
  std::vector<std::uint64_t> numbers;
  for (std::uint64_t n = 1; n <= 60; ++n) {
    (*store)->prepare(kSpareName, 1u << 20);
    Batch batch;
    batch.begin(7);
    batch.put(n);
    batch.put_bytes(std::vector<std::byte>(100'000, std::byte{0x5a}));
    batch.end();
    ASSERT_TRUE(log.start(batch).ok());
    ASSERT_TRUE(log.finish().ok());
    if (log.sequence() >= 3) (void)log.recycle(log.sequence() - 2);
  }
  const auto report = read_journal(**store, OnDamage::kStop, [&](const Record& record) {
    std::uint64_t number = 0;
    std::memcpy(&number, record.body.data(), sizeof number);
    numbers.push_back(number);
    return true;
  });
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_TRUE(report->damage.empty());
  EXPECT_EQ(report->torn_tails(), 0u);
  ASSERT_FALSE(numbers.empty());
  EXPECT_EQ(numbers.back(), 60u);
  for (std::size_t i = 1; i < numbers.size(); ++i) EXPECT_EQ(numbers[i], numbers[i - 1] + 1);
}

TEST(JournalFileMaker, WhatNobodyTakesGoes) {
  test::DiskDirectory directory;
  const std::string path = directory.path() + "/new";
  for (const bool whole : {false, true}) {
    {
      Making making(path);
      making.await_blocks();
      if (whole) making.await_zeros();
    }
    EXPECT_FALSE(std::filesystem::exists(path)) << whole;
  }
  Making making(path);
  making.await_zeros();
  EXPECT_FALSE(making.maker.take(path, kNewBytes / 2)) << "another one was wanted";
  EXPECT_FALSE(std::filesystem::exists(path));
}

// A file that the disk has no room for is refused before anything is written to it, and leaves nothing.
TEST(JournalFileMaker, WhatCannotBeReservedIsRefused) {
  test::DiskDirectory directory;
  std::atomic<std::uint64_t> zeroed{0};
  auto store = open_disk_store(directory.path(), &zeroed);
  ASSERT_TRUE(store.ok()) << store.error().message;
  rlimit was{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &was), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit less{kNewBytes / 2, was.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &less), 0);
  (*store)->prepare(kSpareName, kNewBytes);
  const auto refused = (*store)->create(kSpareName, kNewBytes);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &was), 0);
  (void)std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(zeroed.load(), 0u) << "nothing is written before it is known that there is room";
  EXPECT_EQ((*store)->names()->size(), 0u);
  (*store)->prepare(kSpareName, kNewBytes);
  EXPECT_TRUE((*store)->create(kSpareName, kNewBytes).ok());
}

}  // namespace
}  // namespace stem::journal
