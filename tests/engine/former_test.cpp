// Ids from before a reboot: found by an index, whatever has lain in its rows before.
#include "engine/former.hpp"

#include <gtest/gtest.h>

#include <map>

#include "shm/former_rows.hpp"
#include "shm/names.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/scratch.hpp"

namespace stem::engine {
namespace {

constexpr std::uint32_t kTasks = 10'000;  // in three chunks

TaskId before(std::uint64_t number, std::uint32_t epoch) {
  return TaskId::make(epoch, static_cast<std::uint32_t>(number * 7919 % (1u << 20)), number / 50 + 1);
}

class Former : public ::testing::Test {
 protected:
  Former() {
    auto options = test::small_segment(scratch_);
    options.slot_count = 1u << 14;
    segment_ = test::must_create(options);
    self_.emplace(segment_);
    queue_ = test::must_queue(*segment_, "q");
    task_ = test::must_task(*segment_, "t");
  }

  TaskId put(std::uint64_t number) {
    const auto made = (*self_)->enqueue(test::Numbered(queue_, task_, number).spec, base::monotonic_ns());
    EXPECT_EQ(made.status, EnqueueStatus::kOk);
    return made.id;
  }
  void end_all() {
    Lease lease;
    TaskView view;
    while ((*self_)->claim(queue_, &lease, 1, base::monotonic_ns()) == 1) {
      ASSERT_TRUE((*self_)->view(lease, view));
      ASSERT_EQ((*self_)->begin(lease, view, base::monotonic_ns()), Begin::kStart);
      ASSERT_EQ((*self_)->succeed(lease, view, {}, base::monotonic_ns()), Settled::kDone);
    }
  }
  void remember(TaskId now, TaskId first, TaskId last) {
    ASSERT_TRUE(remember_former(*segment_, now.slot(), now.generation(), {first, last}));
  }

  test::ScratchDirectory scratch_;
  std::shared_ptr<shm::Segment> segment_;
  std::optional<test::Attached> self_;
  std::uint32_t queue_ = 0, task_ = 0;
};

// Tasks come back three times, each time over the rows of the last: every one is found by both its ids, none by those of a
// life that is over.
TEST_F(Former, BothIdsLeadToTheTaskByAnIndex) {
  for (std::uint32_t round = 1; round <= 3; ++round) {
    std::vector<TaskId> now(kTasks);
    for (std::uint32_t n = 0; n < kTasks; ++n) {
      now[n] = put(n);
      remember(now[n], before(n, round), before(n, 100 + round));
    }
    for (std::uint32_t n = 0; n < kTasks; ++n) {
      ASSERT_EQ(current_id(*segment_, before(n, round)), now[n]) << n << " in round " << round;
      ASSERT_EQ(current_id(*segment_, before(n, 100 + round)), now[n]) << n << " in round " << round;
      const TaskId gone = before(n, round - 1 + 100);
      ASSERT_EQ(current_id(*segment_, gone), gone) << n << " in round " << round;
    }
    end_all();
  }
}

// More ids in one bucket than it has room for: they are found in the next ones, also once what filled these is over and
// others have come. With more than all of these hold, those beyond are not found, and nobody else is: it stays bounded.
TEST_F(Former, ABucketThatOverflowsForgetsNobody) {
  constexpr std::size_t kRoom = std::size_t{shm::kFormerProbes} * shm::kFormerWays;
  std::uint64_t next = 1;
  const auto crowd_of = [&next](std::size_t many) {
    std::vector<TaskId> crowd;
    for (; crowd.size() < many; ++next) {
      const TaskId id = TaskId::make(7, static_cast<std::uint32_t>(next % 1000), next);
      if (shm::FormerChunk::hash_of(id.epoch, id.handle) % shm::kFormerBuckets == shm::kFormerBuckets - 1)
        crowd.push_back(id);
    }
    return crowd;
  };
  for (const std::size_t many : {kRoom, kRoom / 2, kRoom, kRoom + 5}) {
    const std::vector<TaskId> crowd = crowd_of(many);
    std::vector<TaskId> now;
    for (const TaskId id : crowd) {
      now.push_back(put(id.handle));
      ASSERT_LT(now.back().slot(), shm::kFormerChunkRows);
      remember(now.back(), id, id);
    }
    for (std::size_t i = 0; i < many; ++i)
      EXPECT_EQ(current_id(*segment_, crowd[i]), i < kRoom ? now[i] : crowd[i]) << i << " of " << many;
    end_all();
    for (const TaskId id : crowd) EXPECT_EQ(current_id(*segment_, id), id) << "it is over";
  }
}

// Nonsense in the index leads nowhere, and nowhere else.
TEST_F(Former, AnIndexThatSomebodySpoiltIsNotBelieved) {
  const TaskId now = put(1), first = before(1, 3);
  remember(now, first, first);
  auto& chunk = *segment_->at<shm::FormerChunk>(segment_->layout().former);
  const std::uint64_t hash = shm::FormerChunk::hash_of(first.epoch, first.handle);
  for (const std::uint32_t row : {0u, 1u, now.slot(), 4095u, 4096u, 8190u, 8191u}) {
    for (auto* entry = chunk.bucket_of(hash); entry != chunk.bucket_of(hash) + shm::kFormerWays; ++entry)
      entry->store(shm::FormerEntry(hash, row).bits());
    const TaskId found = current_id(*segment_, first);
    EXPECT_TRUE(found == (row == now.slot() ? now : first)) << row;
  }
}

}  // namespace
}  // namespace stem::engine
