// Marks of changed slots: none is lost, whoever sets it while they are taken.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "base/random.hpp"
#include "shm/journal_line.hpp"
#include "tests/support/scratch.hpp"

namespace stem::shm {
namespace {

std::vector<std::uint32_t> take_all(JournalMarks& marks) {
  std::vector<std::uint32_t> slots;
  JournalMarks::Line line;
  for (std::uint32_t at = 0; marks.take(at, line); ++at)
    for (std::uint32_t bit = 0; bit < kMarkLineSlots; ++bit)
      if ((line[bit / 64] >> (bit % 64) & 1) != 0) slots.push_back(at * kMarkLineSlots + bit);
  return slots;
}

TEST(JournalMarks, AreTakenOnceAndInOrder) {
  const test::ScratchDirectory directory;
  auto options = test::small_segment(directory);
  options.slot_count = 200'001;  // no multiple of anything
  const auto segment = test::must_create(options);
  ASSERT_TRUE(commit_journal_marks(*segment));
  JournalMarks marks(*segment);
  EXPECT_FALSE(marks.any());
  const std::vector<std::uint32_t> slots{0, 1, 63, 64, 511, 512, 32'767, 32'768, 100'000, 200'000};
  for (auto it = slots.rbegin(); it != slots.rend(); ++it) marks.set(*it);
  marks.set(64);  // a second time
  EXPECT_TRUE(marks.any());
  EXPECT_EQ(marks.count(), slots.size());
  EXPECT_EQ(take_all(marks), slots);
  EXPECT_FALSE(marks.any());
  EXPECT_TRUE(take_all(marks).empty());
}

TEST(JournalMarks, WhoTakesOneSeesTheChangeBeforeIt) {
  constexpr std::uint32_t kSlots = 4096;
  constexpr int kThreads = 3;
  constexpr int kChanges = 60'000;
  const test::ScratchDirectory directory;
  const auto segment = test::must_create(test::small_segment(directory));
  ASSERT_TRUE(commit_journal_marks(*segment));
  std::vector<std::atomic<std::uint32_t>> changes(kSlots);
  std::vector<std::uint32_t> seen(kSlots);
  std::atomic<int> running{kThreads};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      JournalMarks marks(*segment);
      base::Random random(static_cast<std::uint64_t>(t) + 1);
      for (int i = 0; i < kChanges; ++i) {
        const auto slot = static_cast<std::uint32_t>(random.below(i % 2 == 0 ? 8 : kSlots));  // some very busy ones
        changes[slot].fetch_add(1, std::memory_order_relaxed);
        marks.set(slot);
      }
      --running;
    });
  JournalMarks marks(*segment);
  for (bool last = false;;) {
    for (const std::uint32_t slot : take_all(marks)) seen[slot] = changes[slot].load(std::memory_order_relaxed);
    if (last) break;
    last = running == 0;
  }
  for (std::thread& thread : threads) thread.join();
  for (std::uint32_t slot = 0; slot < kSlots; ++slot) ASSERT_EQ(seen[slot], changes[slot].load()) << "slot " << slot;
}

}  // namespace
}  // namespace stem::shm
