// `stem journal compact` and `repair` without the program around them.
#include "journal/rewrite.hpp"

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>

#include "journal/image.hpp"
#include "journal/live_set.hpp"
#include "journal/records.hpp"
#include "shm/limits.hpp"
#include "tests/journal/power_store.hpp"

namespace stem::journal {
namespace {

constexpr std::uint32_t kEpoch = 7;

void put_name(Batch& batch, NameKind kind, std::uint32_t number, std::string_view name) {
  batch.begin(static_cast<std::uint32_t>(RecordType::kNames));
  batch.put(NamesHead{kEpoch, static_cast<std::uint16_t>(kind), 1, number});
  batch.put(static_cast<std::uint16_t>(name.size()));
  batch.put_bytes(std::as_bytes(std::span(name)));
  batch.end();
}

void put_task(Batch& batch, std::uint32_t slot) {
  batch.begin(static_cast<std::uint32_t>(RecordType::kTask));
  batch.put(TaskKey{kEpoch, slot, 1});
  batch.put(TaskState{});
  TaskHead head;
  head.payload_bytes = 100;
  batch.put(head);
  batch.put_bytes(std::vector<std::byte>(100));
  batch.end();
}

// A run of four, in slot 0.
void put_run(Batch& batch) {
  batch.begin(static_cast<std::uint32_t>(RecordType::kRun));
  batch.put(TaskKey{kEpoch, 0, 1});
  RunRecord head;
  head.count = 4;
  batch.put(head);
  batch.put_bytes(std::vector<std::byte>(4));  // of no bytes each
  batch.end();
}

// What has become of one of its items, in another slot.
void put_moved(Batch& batch, std::uint32_t slot, std::uint32_t item) {
  batch.begin(static_cast<std::uint32_t>(RecordType::kTask));
  batch.put(TaskKey{kEpoch, slot, 1});
  batch.put(TaskState{});
  TaskHead head;
  head.flags = kHasFormer;
  batch.put(head);
  const std::uint64_t was = engine::TaskId::make(kEpoch, 0, 1, item).handle;
  batch.put(FormerHead{kEpoch, kEpoch, was, was});
  batch.end();
}

void put_end(Batch& batch, std::uint32_t slot) {
  batch.begin(static_cast<std::uint32_t>(RecordType::kEnd));
  batch.put(TaskKey{kEpoch, slot, 1});
  batch.end();
}

void write(Log& log, Batch& batch) {
  ASSERT_TRUE(log.start(batch).ok());
  ASSERT_TRUE(log.finish().ok());
  batch.clear();
}

// Forty tasks, each in a batch of its own; every other one is over.
void fill(Store& store) {
  Log log(store, kFileBytes, {});
  Batch batch;
  put_name(batch, NameKind::kQueue, 0, "q");
  put_name(batch, NameKind::kTask, 0, "t");
  write(log, batch);
  for (std::uint32_t slot = 0; slot < 40; ++slot) {
    put_task(batch, slot);
    write(log, batch);
  }
  for (std::uint32_t slot = 0; slot < 40; slot += 2) put_end(batch, slot);
  write(log, batch);
}

std::vector<std::uint32_t> alive(Store& store) {
  LiveSet live;
  std::vector<Contents> contents;
  const auto report = read_journal(
      store, OnDamage::kStop, [&](const Record& r) { return live.apply(r); }, &contents);
  EXPECT_TRUE(report.ok());
  if (!report.ok()) return {};
  EXPECT_TRUE(report->damage.empty()) << describe(report->damage[0]);
  std::vector<std::uint32_t> slots;
  const auto epoch = live.epochs().find(kEpoch);
  if (epoch == live.epochs().end()) return slots;
  for (const Life& life : epoch->second.lives)
    if (life.alive()) slots.push_back(life.slot);
  std::sort(slots.begin(), slots.end());
  return slots;
}

std::vector<std::uint32_t> odd() {
  std::vector<std::uint32_t> slots;
  for (std::uint32_t slot = 1; slot < 40; slot += 2) slots.push_back(slot);
  return slots;
}

TEST(JournalRewrite, CompactingKeepsWhatLivesInFewerFiles) {
  PowerStore store;
  fill(store);
  const auto before = examine_journal(store, OnDamage::kStop);
  ASSERT_TRUE(before.ok());
  EXPECT_EQ(before->tasks, 20u);
  const auto done = rewrite_journal(store, kFileBytes, OnDamage::kStop);
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_EQ(done->tasks, 20u);
  EXPECT_LT(done->files_after, done->files_before);
  EXPECT_EQ(alive(store), odd());
}

// Power went before the run's record said that two of its items had moved out; one of these has ended, and what said so
// is not written again.
TEST(JournalRewrite, AnItemThatMovedOutStaysMoved) {
  PowerStore store;
  {
    Log log(store, kFileBytes, {});
    Batch batch;
    put_name(batch, NameKind::kQueue, 0, "q");
    put_name(batch, NameKind::kTask, 0, "t");
    put_run(batch);
    put_moved(batch, 1, 2);
    put_moved(batch, 2, 4);
    put_end(batch, 2);
    write(log, batch);
  }
  const auto before = examine_journal(store, OnDamage::kStop);
  ASSERT_TRUE(before.ok());
  EXPECT_EQ(before->tasks, 3u);  // two of the run, and one that moved out
  ASSERT_TRUE(rewrite_journal(store, kFileBytes, OnDamage::kStop).ok());
  LiveSet live;
  std::vector<Contents> contents;
  ASSERT_TRUE(read_journal(
                  store, OnDamage::kStop, [&](const Record& r) { return live.apply(r); }, &contents)
                  .ok());
  EXPECT_EQ(live.alive(), 3u);
  for (const Life& life : live.epochs().at(kEpoch).lives)
    EXPECT_EQ(life.items_over, life.run ? 0b1010 : 0) << "slot " << life.slot;
}

TEST(JournalRewrite, ANumberThatNoNameHasIsRefused) {
  const auto takes = [](NameKind kind, std::uint32_t number) {
    PowerStore store;
    Log log(store, kFileBytes, {});
    Batch batch;
    put_name(batch, kind, number, "n");
    write(log, batch);
    LiveSet live;
    const auto report = read_journal(store, OnDamage::kStop, [&](const Record& r) { return live.apply(r); });
    return report.ok() && report->damage.empty();
  };
  EXPECT_TRUE(takes(NameKind::kQueue, shm::kMaxQueues - 1));
  EXPECT_FALSE(takes(NameKind::kQueue, shm::kMaxQueues));
  EXPECT_TRUE(takes(NameKind::kTask, shm::kMaxTaskNames - 1));
  EXPECT_FALSE(takes(NameKind::kTask, shm::kMaxTaskNames));
  EXPECT_FALSE(takes(NameKind::kTask, ~0u));
}

// A slot's number says nothing of how much there is.
TEST(JournalRewrite, AHighSlotTakesNoMoreMemoryThanALowOne) {
  const auto allocated = [] {
    const struct mallinfo2 now = ::mallinfo2();
    return now.uordblks + now.hblkhd;
  };
  const std::size_t before = allocated();
  LiveSet live;
  const TaskKey key{kEpoch, shm::kMaxSlots - 1, 1};
  EXPECT_TRUE(live.apply({static_cast<std::uint32_t>(RecordType::kEnd), std::as_bytes(std::span(&key, 1)), 1}));
  EXPECT_EQ(live.epochs().at(kEpoch).lives.size(), 1u);
  EXPECT_LT(allocated() - before, 64u << 10);
}

TEST(JournalRewrite, PowerIsLostAtEveryWriteOfIt) {
  PowerStore first;
  fill(first);
  PowerStore store(first.image());
  ASSERT_TRUE(rewrite_journal(store, kFileBytes, OnDamage::kStop).ok());
  base::Random random(5);
  std::size_t disks = 0;
  for (std::size_t event = 0; event <= store.events(); ++event) {
    store.lose_power(event, 6, random, [&](const Image& image) {
      ++disks;
      PowerStore after(image);
      ASSERT_EQ(alive(after), odd()) << "event " << event;
    });
  }
  EXPECT_GT(disks, 20u);
}

TEST(JournalRewrite, RepairLosesWhatTheDamagedBatchSaidAndNothingElse) {
  PowerStore first;
  fill(first);
  for (std::uint64_t block = 1; block <= 6; ++block) {  // names, then the tasks 0 to 4
    Image image = first.image();
    image[file_name(1)][block * kBlockBytes + 60] ^= std::byte{1};
    PowerStore store(image);
    const auto refused = rewrite_journal(store, kFileBytes, OnDamage::kStop);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, Errc::kCorrupt);
    const auto told = examine_journal(store, OnDamage::kSkip);
    ASSERT_TRUE(told.ok());
    ASSERT_EQ(told->damage.size(), 1u);
    EXPECT_EQ(told->damage[0].offset, block * kBlockBytes);
    const auto done = rewrite_journal(store, kFileBytes, OnDamage::kSkip);
    ASSERT_TRUE(done.ok()) << done.error().message;
    EXPECT_EQ(done->tasks, told->tasks);
    auto left = odd();
    if (block == 1) left.clear();  // nobody knows their queue any more
    if (block >= 2) std::erase(left, static_cast<std::uint32_t>(block - 2));
    EXPECT_EQ(alive(store), left) << "block " << block;
    EXPECT_EQ(done->unnamed, block == 1 ? 20u : 0u);
  }
}

}  // namespace
}  // namespace stem::journal
