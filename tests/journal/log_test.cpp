// The file layer: what finish() has promised is read again, whatever the disk does.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>
#include <system_error>
#include <thread>

#include "journal/disk_store.hpp"
#include "journal/log.hpp"
#include "journal/reader.hpp"
#include "tests/journal/disk_directory.hpp"
#include "tests/journal/power_store.hpp"

namespace stem::journal {
namespace {

void add(Batch& batch, std::uint64_t number, std::size_t filler = 0) {
  batch.begin(7);
  batch.put(number);
  batch.put_bytes(std::vector<std::byte>(filler, std::byte{0x5a}));
  batch.end();
}

// One batch of one record.
Result<void> append(Log& log, std::uint64_t number, std::size_t filler = 0) {
  Batch batch;
  add(batch, number, filler);
  if (auto started = log.start(batch); !started.ok()) return started;
  return log.finish();
}

struct Seen {
  std::vector<std::uint64_t> numbers;
  ReadReport report;
};

Seen read(Store& store, OnDamage on_damage = OnDamage::kStop) {
  Seen seen;
  auto report = read_journal(store, on_damage, [&](const Record& record) {
    std::uint64_t number = 0;
    if (record.body.size() < sizeof number) return false;
    std::memcpy(&number, record.body.data(), sizeof number);
    seen.numbers.push_back(number);
    return true;
  });
  EXPECT_TRUE(report.ok()) << report.error().message;
  seen.report = *report;
  return seen;
}

std::vector<std::uint64_t> count_to(std::uint64_t n) {
  std::vector<std::uint64_t> all;
  for (std::uint64_t i = 1; i <= n; ++i) all.push_back(i);
  return all;
}

TEST(JournalLog, ReadsBackInOrderOverManyFiles) {
  PowerStore store;
  Log log(store, kFileBytes, {});
  for (std::uint64_t i = 1; i <= 40; ++i) ASSERT_TRUE(append(log, i, i * 100).ok());
  const Seen seen = read(store);
  EXPECT_EQ(seen.numbers, count_to(40));
  EXPECT_GT(seen.report.files.size(), 5u);
  EXPECT_TRUE(seen.report.damage.empty());
  EXPECT_EQ(seen.report.torn_tails(), 0u);
  EXPECT_EQ(seen.report.last.lsn, 40u);
}

TEST(JournalLog, ABatchBeyondTheFileIsRefusedAndTheRestGoesOn) {
  PowerStore store;
  Log log(store, kFileBytes, {});
  const auto refused = append(log, 1, kFileBytes);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::kTooLarge);
  ASSERT_TRUE(append(log, 2).ok());
  EXPECT_EQ(read(store).numbers, std::vector<std::uint64_t>{2});
}

// A writer was killed with a write on its way, which arrives when the next one has read the journal: he does not know
// what it says, and it must not count later.
TEST(JournalLog, AWriteThatComesAfterItsSuccessorHasReadIsVoid) {
  PowerStore store;
  Log killed(store, 64 * kBlockBytes, {});
  for (std::uint64_t i = 1; i <= 3; ++i) ASSERT_TRUE(append(killed, i).ok());
  const LogPosition read_by_successor = read(store).report.last;
  ASSERT_TRUE(append(killed, 100).ok());
  ASSERT_TRUE(append(killed, 101).ok());
  Log next(store, 64 * kBlockBytes, read_by_successor);
  for (std::uint64_t i = 4; i <= 6; ++i) ASSERT_TRUE(append(next, i).ok());
  std::vector<Contents> kept;
  std::vector<std::uint64_t> seen;
  const auto report = read_journal(
      store, OnDamage::kStop,
      [&](const Record& record) {
        std::memcpy(&seen.emplace_back(), record.body.data(), sizeof(std::uint64_t));
        return true;
      },
      &kept);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(seen, count_to(6));
  EXPECT_TRUE(report->damage.empty());
  EXPECT_EQ(report->torn_tails(), 1u);
  EXPECT_EQ(kept.size(), 2u);
}

// Every write, every name: whatever power loss leaves, each batch that was promised is read, none that was never
// written, and nothing is taken for damage. Then the journal goes on from there.
TEST(JournalLog, PowerIsLostAtEveryWrite) {
  PowerStore store;
  Log log(store, kFileBytes, {});
  std::vector<std::size_t> promised;  // events at which batch i was
  base::Random random(1);
  for (std::uint64_t i = 1; i <= 24; ++i) {
    ASSERT_TRUE(append(log, i, random.below(9000)).ok());
    promised.push_back(store.events());
    if (i == 12 || i == 18) {
      ASSERT_TRUE(log.recycle(i == 12 ? 1 : 2).ok());
    }
  }
  std::size_t disks = 0;
  for (std::size_t event = 0; event <= store.events(); ++event) {
    const auto sure =
        static_cast<std::uint64_t>(std::upper_bound(promised.begin(), promised.end(), event) - promised.begin());
    store.lose_power(event, 24, random, [&](const Image& image) {
      ++disks;
      PowerStore after(image);
      const Seen seen = read(after);
      ASSERT_TRUE(seen.report.damage.empty()) << "event " << event << ": " << describe(seen.report.damage[0]);
      const std::uint64_t last = seen.numbers.empty() ? 0 : seen.numbers.back();
      ASSERT_GE(last, sure) << "event " << event;
      ASSERT_LE(last, sure + 1) << "event " << event;
      for (std::size_t i = 1; i < seen.numbers.size(); ++i) ASSERT_EQ(seen.numbers[i], seen.numbers[i - 1] + 1);
      Log next(after, kFileBytes, seen.report.last);
      ASSERT_TRUE(append(next, last + 1, 3000).ok());
      ASSERT_TRUE(append(next, last + 2, 3000).ok());
      const Seen again = read(after);
      ASSERT_TRUE(again.report.damage.empty()) << "event " << event << ": " << describe(again.report.damage[0]);
      ASSERT_EQ(again.numbers.back(), last + 2) << "event " << event;
      ASSERT_EQ(again.numbers.size(), seen.numbers.size() + 2) << "event " << event;
    });
  }
  EXPECT_GT(disks, 1000u);
  RecordProperty("disks", static_cast<int>(disks));
}

TEST(JournalLog, AFailedWriteGivesTheFileUpForGood) {
  for (const auto fault : {PowerStore::Fault::kShort, PowerStore::Fault::kError}) {
    for (int n = 0; n < 30; ++n) {
      PowerStore store;
      Log log(store, kFileBytes, {});
      store.fail_write(n, fault);
      std::vector<std::uint64_t> promised;
      int failures = 0;
      for (std::uint64_t i = 1; i <= 24; ++i) {
        if (append(log, i, 5000).ok())
          promised.push_back(i);
        else
          ++failures;
      }
      EXPECT_EQ(failures, 1);
      EXPECT_EQ(store.writes_after_failure(), 0);
      const Seen seen = read(store);
      EXPECT_TRUE(seen.report.damage.empty()) << "write " << n << ": " << describe(seen.report.damage[0]);
      EXPECT_EQ(seen.numbers, promised) << "write " << n;
    }
  }
}

TEST(JournalLog, AFullDiskRefusesAndComesBack) {
  PowerStore store;
  Log log(store, kFileBytes, {});
  std::uint64_t i = 0;
  while (log.fits(4000) || i == 0) {
    ASSERT_TRUE(append(log, ++i, 3000).ok());
  }
  store.refuse_new_files(true);
  EXPECT_FALSE(append(log, 999, 3000).ok());
  EXPECT_FALSE(append(log, 999, 3000).ok());
  store.refuse_new_files(false);
  ASSERT_TRUE(append(log, ++i, 3000).ok());
  EXPECT_EQ(read(store).numbers, count_to(i));
}

// Any one bit of any batch but the last: refused, with the place; skipped, it loses that batch alone.
TEST(JournalLog, AChangedBitIsFoundWhereverItIs) {
  PowerStore store;
  Log log(store, kFileBytes, {});
  for (std::uint64_t i = 1; i <= 12; ++i) ASSERT_TRUE(append(log, i, 100).ok());
  Image image = store.image();
  const Seen whole = read(store);
  ASSERT_EQ(whole.report.files.size(), 2u);
  for (std::uint64_t block = 1; block < 8; ++block) {
    for (const std::uint64_t byte : {0u, 5u, 9u, 17u, 30u, 44u, 60u, 100u, 140u}) {
      Image changed = image;
      changed[file_name(1)][block * kBlockBytes + byte] ^= std::byte{4};
      PowerStore damaged(changed);
      const Seen seen = read(damaged);
      ASSERT_EQ(seen.report.damage.size(), 1u) << "block " << block << " byte " << byte;
      EXPECT_EQ(seen.report.damage[0].file, file_name(1));
      EXPECT_EQ(seen.report.damage[0].offset, block * kBlockBytes);
      EXPECT_EQ(seen.report.damage[0].first_lsn, block);
      EXPECT_EQ(seen.report.damage[0].last_lsn, block);
      EXPECT_EQ(seen.numbers, count_to(block - 1));
      EXPECT_EQ(read(damaged, OnDamage::kSkip).numbers.size(), 11u);
    }
  }
  Image headless = image;
  headless[file_name(1)][20] ^= std::byte{1};
  PowerStore first_page(headless);
  EXPECT_FALSE(read(first_page).report.damage.empty());
  image.erase(file_name(1));  // the oldest may be gone: that is compaction
  PowerStore compacted(image);
  EXPECT_TRUE(read(compacted).report.damage.empty());
}

TEST(JournalLog, AMissingFileIsDamage) {
  PowerStore store;
  Log log(store, kFileBytes, {});
  for (std::uint64_t i = 1; i <= 30; ++i) ASSERT_TRUE(append(log, i, 3000).ok());
  ASSERT_TRUE(store.remove(file_name(3)).ok());
  const Seen seen = read(store);
  ASSERT_EQ(seen.report.damage.size(), 1u);
  EXPECT_EQ(seen.report.damage[0].file, file_name(3));
  EXPECT_EQ(seen.report.damage[0].what, "the file is missing");
}

TEST(JournalLog, StaleBatchesOfARecycledFileAreNotRead) {
  PowerStore store;
  Log log(store, kFileBytes, {});
  std::uint64_t i = 0;
  for (int file = 1; file <= 3; ++file) {
    do {
      ASSERT_TRUE(append(log, ++i, 100).ok());
    } while (log.fits(200));
  }
  ASSERT_TRUE(log.recycle(1).ok());
  ASSERT_TRUE(append(log, ++i, 100).ok());  // in the file that was the first
  const Seen seen = read(store);
  EXPECT_TRUE(seen.report.damage.empty());
  EXPECT_EQ(seen.report.torn_tails(), 0u);
  EXPECT_EQ(seen.numbers.back(), i);
  EXPECT_EQ(seen.numbers.front(), 8u);
}

// One file whose first page says so, and a batch for each LSN.
Image forged(FileHeader header, std::initializer_list<std::uint64_t> lsns) {
  header.salt = 5;
  header.checksum = checksum_of(header);
  std::vector<std::byte> file(kBlockBytes);
  std::memcpy(file.data(), &header, sizeof header);
  for (const std::uint64_t lsn : lsns) {
    Batch batch;
    add(batch, lsn);
    const auto sealed = batch.seal({.lsn = lsn, .salt = header.salt});
    file.insert(file.end(), sealed.begin(), sealed.end());
  }
  return {{file_name(header.sequence), file}};
}

// A writer that went on from there would come round to numbers that are read first.
TEST(JournalLog, NumbersThatNoWriterGivesAreRefused) {
  const std::uint64_t all = ~std::uint64_t{0}, half = kMostNumber / 2;
  const auto read_all = [](Store& store) {
    return read_journal(store, OnDamage::kSkip, [](const Record&) { return true; });
  };
  PowerStore sound(forged({.sequence = half, .first_lsn = half}, {half}));
  EXPECT_TRUE(read_all(sound).ok());
  for (const Image& image : {forged({.sequence = half + 1, .first_lsn = 1}, {1}),
                             forged({.sequence = 1, .first_lsn = half}, {half, half + 1})}) {
    PowerStore store(image);
    const auto refused = read_all(store);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, Errc::kCorrupt);
  }
  for (const Image& image :
       {forged({.sequence = 1, .first_lsn = 0}, {}), forged({.sequence = 1, .first_lsn = all}, {})}) {
    PowerStore store(image);
    EXPECT_EQ(read(store).report.damage.size(), 1u);
  }
  EXPECT_FALSE(sequence_of(file_name(all)));
  PowerStore beyond(forged({.sequence = 1, .first_lsn = 1}, {1, all}));
  EXPECT_EQ(read(beyond).numbers, count_to(1)) << "a batch of no writer's";
}

// Each block claims to be a batch up to the file's end: a checksum over all of them would be the file's bytes squared.
TEST(JournalLog, WhatOnlyLooksLikeBatchesIsGivenUp) {
  Image image = forged({.sequence = 1, .first_lsn = 1}, {1});
  std::vector<std::byte>& file = image[file_name(1)];
  file.resize(64 * kBlockBytes);
  for (std::uint64_t at = 2 * kBlockBytes; at < file.size(); at += kBlockBytes) {
    const BatchHeader claim{.bytes = static_cast<std::uint32_t>(file.size() - at - sizeof claim), .lsn = 2, .salt = 5};
    std::memcpy(file.data() + at, &claim, sizeof claim);
  }
  PowerStore store(image);
  const Seen seen = read(store, OnDamage::kSkip);
  ASSERT_EQ(seen.report.damage.size(), 1u);
  EXPECT_EQ(seen.report.damage[0].offset, 2 * kBlockBytes);
  EXPECT_EQ(seen.numbers, count_to(1));
}

TEST(JournalDisk, KeepsWhatItPromisedOnARealDisk) {
  test::DiskDirectory directory;
  auto store = open_disk_store(directory.path());
  ASSERT_TRUE(store.ok()) << store.error().message;
  Log log(**store, 1u << 20, {});
  for (std::uint64_t i = 1; i <= 100; ++i) {
    const auto done = append(log, i, 30'000);
    ASSERT_TRUE(done.ok()) << done.error().message;
  }
  ASSERT_TRUE(log.recycle(1).ok());
  ASSERT_TRUE(append(log, 101).ok());
  const Seen seen = read(**store);
  EXPECT_TRUE(seen.report.damage.empty());
  EXPECT_EQ(seen.numbers.back(), 101u);
}

TEST(JournalDisk, AFileIsMadeBeforehand) {
  test::DiskDirectory directory;
  auto store = open_disk_store(directory.path());
  ASSERT_TRUE(store.ok()) << store.error().message;
  const auto is_whole = [&](std::uint64_t bytes) {
    const auto contents = (*store)->read(kSpareName);
    return contents.ok() && contents->bytes == bytes &&
           std::all_of(contents->span().begin(), contents->span().end(), [](std::byte b) { return b == std::byte{}; });
  };
  const auto names = [&] {
    const auto found = (*store)->names();
    return found.ok() ? std::set<std::string>(found->begin(), found->end()) : std::set<std::string>{"unreadable"};
  };
  (*store)->prepare(kSpareName, 8u << 20);
  auto made = (*store)->create(kSpareName, 8u << 20);
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_TRUE(is_whole(8u << 20));
  EXPECT_EQ(names(), std::set<std::string>{kSpareName});
  (*store)->prepare(kSpareName, 1u << 20);  // another was wanted
  made = (*store)->create(kSpareName, 2u << 20);
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_TRUE(is_whole(2u << 20));
  (*store)->prepare(kSpareName, 1u << 20);  // there is one
  EXPECT_EQ(names(), std::set<std::string>{kSpareName});
  EXPECT_TRUE(is_whole(2u << 20));
  // Nobody takes it: nothing of it is left.
  ASSERT_TRUE((*store)->remove(kSpareName).ok());
  (*store)->prepare(kSpareName, 64u << 20);
  store = open_disk_store(directory.path());
  EXPECT_EQ(names(), std::set<std::string>{});
}

// A file that comes free while another is made is the spare one, and stays it: who has it open turns it into a file by
// its name.
TEST(JournalDisk, AFileThatIsMadeTakesNobodysName) {
  constexpr std::uint64_t kBytes = 1u << 20;
  test::DiskDirectory directory;
  auto store = open_disk_store(directory.path());
  ASSERT_TRUE(store.ok()) << store.error().message;
  Log log(**store, kBytes, {});
  ASSERT_TRUE(append(log, 1).ok());
  (*store)->prepare(kSpareName, kBytes);
  ASSERT_TRUE((*store)->rename(file_name(1), kSpareName).ok());  // as recycle() does
  const auto was = (*store)->read(kSpareName);
  ASSERT_TRUE(was.ok());
  const std::filesystem::path made = directory.path() + "/" + kSpareName + kUnfinishedSuffix;
  std::error_code gone;
  while (std::filesystem::file_size(made, gone) < kBytes && !gone) std::this_thread::yield();
  store = open_disk_store(directory.path());  // the old one has waited for it
  const auto is = (*store)->read(kSpareName);
  ASSERT_TRUE(is.ok());
  EXPECT_TRUE(std::equal(was->span().begin(), was->span().end(), is->span().begin(), is->span().end()));
  EXPECT_FALSE(std::filesystem::exists(made));
}

TEST(JournalDisk, WhatWasMadeBeforehandIsTakenWhenNoOtherIsSpare) {
  constexpr std::uint64_t kBytes = 1u << 20;
  test::DiskDirectory directory;
  auto store = open_disk_store(directory.path());
  ASSERT_TRUE(store.ok()) << store.error().message;
  Log log(**store, kBytes, {});
  for (std::uint64_t i = 1; i <= 3; ++i) {
    (*store)->prepare(kSpareName, kBytes);
    ASSERT_TRUE(append(log, i).ok());
    if (i == 1) {
      ASSERT_TRUE(log.recycle(1).ok());
    }
    ASSERT_TRUE(log.turn_over().ok());
  }
  const Seen seen = read(**store);
  EXPECT_TRUE(seen.report.damage.empty());
  EXPECT_EQ(seen.numbers, (std::vector<std::uint64_t>{2, 3}));
}

TEST(JournalDisk, OneWriterAtATime) {
  test::DiskDirectory directory;
  {
    const auto mine = WriterLock::take(directory.path());
    ASSERT_TRUE(mine.ok()) << mine.error().message;
    const auto another = WriterLock::take(directory.path());
    ASSERT_FALSE(another.ok());
    EXPECT_EQ(another.error().code, Errc::kRefused);
  }
  EXPECT_TRUE(WriterLock::take(directory.path()).ok());
}

}  // namespace
}  // namespace stem::journal
