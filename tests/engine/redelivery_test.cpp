// What a worker held when it died runs elsewhere at once, ahead of the backlog: single tasks and runs.
#include "engine/dead_letters.hpp"
#include "virtual_host.hpp"

namespace stem::engine {
namespace {

class Redelivery : public VirtualHost {};

TEST_F(Redelivery, ARunIsAheadOfTheBacklogToo) {
  put_many(0, 15);
  put_many(100, 300);
  test::Attached victim(segment_, shm::Role::kWorker);
  Lease leases[15];
  ASSERT_EQ(victim->claim(queue_, leases, 15, now_), 15u);
  TaskView view;
  ASSERT_TRUE(victim->view(leases[4], view));
  ASSERT_EQ(victim->begin(leases[4], view, now_), Begin::kStart);
  EXPECT_GE(producer_->redeliver_held(victim.index(), now_), 1u);
  const auto order = drain();
  ASSERT_EQ(order.size(), 315u);
  EXPECT_EQ(order[0], 4u) << "the one that was running has waited longest";
  std::size_t before_backlog = 0;
  while (before_backlog < order.size() && order[before_backlog] < 100) ++before_backlog;
  EXPECT_GE(before_backlog, 2u) << "and the others of its run come with it";
}

TEST_F(Redelivery, AWholeRunInOneClaim) {
  put_many(0, 15);
  put_many(100, 300);
  test::Attached victim(segment_, shm::Role::kWorker);
  Lease leases[64];
  ASSERT_EQ(victim->claim(queue_, leases, 15, now_), 15u);
  TaskView view;
  ASSERT_TRUE(victim->view(leases[0], view));
  ASSERT_EQ(victim->begin(leases[0], view, now_), Begin::kStart);
  (void)producer_->redeliver_held(victim.index(), now_);
  const std::uint32_t n = worker_->claim(queue_, leases, 64, now_);
  ASSERT_GE(n, 15u);
  std::uint64_t returned = 0;
  for (std::uint32_t i = 0; i < n; ++i) {
    ASSERT_TRUE(worker_->view(leases[i], view));
    EXPECT_EQ(i < 15, test::number_of(view) < 100) << "first the run, then the backlog";
    returned += test::number_of(view) < 100 ? 1 : 0;
    EXPECT_EQ(worker_->succeed(leases[i], view, {}, now_), Settled::kDone);
  }
  EXPECT_EQ(returned, 15u);
  EXPECT_EQ(drain().size() + n, 315u);
}

TEST_F(Redelivery, AStartedTaskIsAheadOfTheBacklog) {
  put(1);
  for (std::uint64_t n = 100; n < 200; ++n) put(n);
  test::Attached victim(segment_, shm::Role::kWorker);
  ASSERT_TRUE(start(victim));
  (void)producer_->redeliver_held(victim.index(), now_);
  EXPECT_EQ(drain().at(0), 1u);
}

// A supervisor buries what its child overran, and another recoverer was quicker: one dead letter, one count.
TEST_F(Redelivery, TwoRecoverersMakeOneDeadLetter) {
  put(1);
  test::Attached child(segment_, shm::Role::kWorker);
  auto task = start(child);
  ASSERT_TRUE(task);
  const Failure failure{"hard-time-limit", "ran too long"};
  EXPECT_EQ(producer_->bury(task->lease, task->view, DeadReason::kHardTimeLimit, failure, now_), Settled::kDone);
  EXPECT_EQ(keeping_->bury(task->lease, task->view, DeadReason::kHardTimeLimit, failure, now_), Settled::kFenced);
  EXPECT_EQ(DeadLetters(*producer_).list({}).size(), 1u);
  EXPECT_EQ(tally(), "enqueued 1 started 1 failed 1 dead-added 1 fenced 1");
  EXPECT_EQ(slots(shm::State::kSettling), 0u);
}

}  // namespace
}  // namespace stem::engine
