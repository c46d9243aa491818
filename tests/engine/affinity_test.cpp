// Tasks of one key go to one worker while it lives; and whatever becomes of it, they run.
#include "engine/affinity.hpp"

#include "virtual_host.hpp"

namespace stem::engine {
namespace {

class Affinity : public VirtualHost {
 protected:
  Affinity() { other_->self().row().serves_all.store(1); }
  static auto of(std::uint64_t key) {
    return [key](TaskSpec&, TaskExtras& extras) { extras.affinity_key = key; };
  }
  std::vector<std::uint64_t> all_of(test::Attached& worker) {
    std::vector<std::uint64_t> numbers;
    while (auto task = start(worker)) {
      numbers.push_back(task->number());
      EXPECT_EQ(succeed(worker, *task), Settled::kDone);
    }
    return numbers;
  }
  test::Attached other_{segment_, shm::Role::kWorker};
};

TEST_F(Affinity, AKeyHasOneWorkerAndKeysSpread) {
  std::uint64_t first = 0, second = 0;
  for (std::uint64_t key = 1; key <= 40; ++key) {
    for (int i = 0; i < 3; ++i) put(key, of(key));
    const auto mine = all_of(worker_);
    const auto theirs = all_of(other_);
    ASSERT_EQ(mine.size() + theirs.size(), 3u);
    ASSERT_TRUE(mine.empty() || theirs.empty()) << "key " << key << " went to both";
    ++(theirs.empty() ? first : second);
  }
  EXPECT_GE(first, 8u);
  EXPECT_GE(second, 8u);
}

TEST_F(Affinity, WithoutAWorkerThatServesItAnybodyTakesIt) {
  worker_->self().row().serves_all.store(0);
  other_->self().row().serves_all.store(0);
  put(1, of(5));
  EXPECT_EQ(drain().size(), 1u);
}

// Somebody's own tasks come first, but never so that a run that fits only an empty hand waits for ever.
TEST_F(Affinity, ASteadyTrickleDoesNotKeepARunWaiting) {
  other_.engine.reset();
  other_.participant.reset();
  (void)put_many(100, kRunItems);
  std::size_t of_the_run = 0;
  for (std::uint64_t n = 0; n < 20; ++n) {
    put(n, of(5));
    Lease leases[kRunItems];
    const std::uint32_t claimed = worker_->claim(queue_, leases, kRunItems, now_);
    for (std::uint32_t i = 0; i < claimed; ++i) {
      TaskView view;
      ASSERT_TRUE(worker_->view(leases[i], view));
      of_the_run += test::number_of(view) >= 100;
      EXPECT_EQ(worker_->succeed(leases[i], view, {}, now_), Settled::kDone);
    }
  }
  EXPECT_EQ(of_the_run, kRunItems);
}

TEST_F(Affinity, ALongInboxOverflowsToEverybody) {
  for (std::uint64_t n = 0; n < 3 * kInboxBound; ++n) put(n, of(5));
  const auto target = producer_->worker_for(5, queue_);
  test::Attached& stranger = target == static_cast<std::int32_t>(worker_.index()) ? other_ : worker_;
  EXPECT_EQ(all_of(stranger).size(), 2 * kInboxBound);
  test::Attached& home = &stranger == &worker_ ? other_ : worker_;
  EXPECT_EQ(all_of(home).size(), kInboxBound);
}

TEST_F(Affinity, TheTasksOfADeadWorkerGoElsewhere) {
  auto victim = std::make_unique<test::Attached>(segment_, shm::Role::kWorker);
  (*victim)->self().row().serves_all.store(1);
  std::uint64_t key = 1;
  while (producer_->worker_for(key, queue_) != static_cast<std::int32_t>(victim->index())) ++key;
  for (std::uint64_t n = 0; n < 10; ++n) put(n, of(key));
  EXPECT_FALSE(start(worker_));
  victim.reset();
  patrol();
  EXPECT_EQ(all_of(worker_).size() + all_of(other_).size(), 10u);
}

TEST_F(Affinity, ARetryComesBackToTheSameWorker) {
  std::uint64_t key = 1;
  while (producer_->worker_for(key, queue_) != static_cast<std::int32_t>(worker_.index())) ++key;
  put(1, of(key));
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_TRUE(fail(*task, "error", "no", kSecondNs));
  pass(2 * kSecondNs);
  EXPECT_FALSE(start(other_));
  EXPECT_EQ(all_of(worker_).size(), 1u);
}

}  // namespace
}  // namespace stem::engine
