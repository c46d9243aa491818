// How a lease ends when nobody acknowledges: by silence, by the clock, by death; and what keeps it.
#include "engine/extension.hpp"
#include "virtual_host.hpp"

namespace stem::engine {
namespace {

class LeaseTest : public VirtualHost {
 protected:
  std::uint64_t redelivered_by(LeaseEnd end) {
    return count(shm::counter_after(shm::Counter::kRedeliveredFirst, static_cast<std::uint32_t>(end)));
  }
};

TEST_F(LeaseTest, LifeSignsKeepItForAsLongAsTheHandlerRuns) {
  put(1);
  auto task = start();
  ASSERT_TRUE(task);
  pass(kHourNs);
  EXPECT_TRUE(worker_->holds(task->lease));
  EXPECT_EQ(succeed(*task), Settled::kDone);
  EXPECT_EQ(tally(), "enqueued 1 started 1 succeeded 1");
}

TEST_F(LeaseTest, SilenceEndsItAfterTheVisibilityTimeout) {
  put(1, [](TaskSpec&, TaskExtras& extras) { extras.visibility_ns = 5 * kSecondNs; });
  put(2);  // the default, 30 s
  auto short_one = start();
  auto long_one = start();
  ASSERT_TRUE(short_one && long_one);
  stop_worker();
  pass(4 * kSecondNs);
  EXPECT_TRUE(worker_->holds(short_one->lease));
  pass(2 * kSecondNs);
  EXPECT_FALSE(worker_->holds(short_one->lease));
  EXPECT_TRUE(worker_->holds(long_one->lease));
  pass(26 * kSecondNs);
  EXPECT_FALSE(worker_->holds(long_one->lease));
  EXPECT_EQ(count(shm::Counter::kRedelivered), 2u);
  EXPECT_EQ(redelivered_by(LeaseEnd::kSilent), 2u);
  // It wakes up, and is refused.
  EXPECT_EQ(succeed(*short_one), Settled::kFenced);
  EXPECT_EQ(succeed(*long_one), Settled::kFenced);
  // A silent worker is no dead one: what it was running has used an attempt, but no death is counted.
  worker_beats_ = true;
  std::uint32_t attempts = 0;
  for (int i = 0; i < 2; ++i) {
    auto again = start();
    ASSERT_TRUE(again);
    attempts += again->view.tally.attempts;
    EXPECT_EQ(again->view.tally.deaths, 0u);
    EXPECT_EQ(succeed(*again), Settled::kDone);
  }
  EXPECT_EQ(attempts, 1u) << "one of the two was running, the other had been begun before it";
  EXPECT_EQ(tally(), "enqueued 2 started 4 succeeded 2 redelivered 2 fenced 2");
}

// The host was suspended: the clock is hours on, and nobody could beat meanwhile.
TEST_F(LeaseTest, AJumpOfTheClockEndsNothing) {
  put(1);
  auto task = start();
  ASSERT_TRUE(task);
  for (int jump = 0; jump < 20; ++jump) {
    pass(kSecondNs);
    now_ += 12 * kHourNs;  // nobody ran in between
    (void)keeper_.step(now_);
  }
  EXPECT_TRUE(worker_->holds(task->lease));
  EXPECT_EQ(succeed(*task), Settled::kDone);
  EXPECT_EQ(tally(), "enqueued 1 started 1 succeeded 1");
}

TEST_F(LeaseTest, WithoutRenewalTheClockEndsIt) {
  put(1, [](TaskSpec& spec, TaskExtras& extras) {
    spec.auto_renew = false;
    extras.visibility_ns = 2 * kSecondNs;
  });
  auto task = start();
  ASSERT_TRUE(task);
  pass(kSecondNs);
  EXPECT_TRUE(worker_->holds(task->lease));
  pass(2 * kSecondNs);
  EXPECT_FALSE(worker_->holds(task->lease)) << "although its worker beats";
  EXPECT_EQ(redelivered_by(LeaseEnd::kExpired), 1u);
  EXPECT_EQ(count(shm::Counter::kRedelivered), 1u);
  EXPECT_EQ(count(shm::Counter::kLeaseRenewed), 0u) << "its first end is no renewal";
  EXPECT_EQ(succeed(*task), Settled::kFenced);
  auto again = start();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->view.tally.attempts, 1u);
  EXPECT_EQ(succeed(*again), Settled::kDone);
  EXPECT_EQ(tally(), "enqueued 1 started 2 succeeded 1 redelivered 1 fenced 1");
}

TEST_F(LeaseTest, WithoutRenewalTheDefaultTimeoutHoldsToo) {
  put(1, [](TaskSpec& spec) { spec.auto_renew = false; });
  auto task = start();
  ASSERT_TRUE(task);
  pass(kDefaultVisibilityNs - kSecondNs);
  EXPECT_TRUE(worker_->holds(task->lease));
  pass(2 * kSecondNs);
  EXPECT_FALSE(worker_->holds(task->lease));
  EXPECT_EQ(drain().size(), 1u);
}

TEST_F(LeaseTest, AnExtensionMovesTheEnd) {
  put(1, [](TaskSpec& spec, TaskExtras& extras) {
    spec.auto_renew = false;
    extras.visibility_ns = 2 * kSecondNs;
  });
  auto task = start();
  ASSERT_TRUE(task);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(worker_->extend(task->lease, now_ + 2 * kSecondNs), Settled::kDone);
    pass(kSecondNs);
    ASSERT_TRUE(worker_->holds(task->lease));
  }
  pass(2 * kSecondNs);
  EXPECT_FALSE(worker_->holds(task->lease));
  EXPECT_EQ(worker_->extend(task->lease, now_ + kHourNs), Settled::kFenced);
  EXPECT_EQ(drain().size(), 1u);
}

// The time at which a delayed task was due is not the end of the lease that follows.
TEST_F(LeaseTest, WhatWasDelayedIsNotLateWhenItIsClaimed) {
  put(1, [this](TaskSpec& spec) {
    spec.auto_renew = false;
    spec.due_ns = now_ + kSecondNs;
  });
  pass(2 * kSecondNs);
  auto waits = take();  // claimed, but not begun: the worker is busy with another
  ASSERT_TRUE(waits);
  pass(5 * kSecondNs);
  EXPECT_TRUE(worker_->holds(waits->lease));
  EXPECT_EQ(worker_->begin(waits->lease, waits->view, now_), Begin::kStart);
  EXPECT_EQ(succeed(*waits), Settled::kDone);
  EXPECT_EQ(tally(), "enqueued 1 started 1 succeeded 1");
}

TEST_F(LeaseTest, ATimeoutBeyondAllTimeIsNone) {
  put(1, [](TaskSpec& spec, TaskExtras& extras) {
    spec.auto_renew = false;
    extras.visibility_ns = INT64_MAX;
    extras.result_ttl_ns = INT64_MAX;
    spec.keep_result = true;
  });
  auto task = start();
  ASSERT_TRUE(task);
  pass(2 * kHourNs);
  EXPECT_TRUE(worker_->holds(task->lease));
  EXPECT_EQ(succeed(*task, "r"), Settled::kDone);
  pass(kSecondNs);
  EXPECT_EQ(state_of(task->view.id), "succeeded");
}

TEST_F(LeaseTest, ReleasedTasksCameBackUntouched) {
  put(1);
  auto task = take();
  ASSERT_TRUE(task);
  EXPECT_EQ(worker_->release(task->lease, now_), Settled::kDone);
  EXPECT_EQ(worker_->release(task->lease, now_), Settled::kFenced);
  auto again = start();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->view.tally.attempts, 0u);
  EXPECT_EQ(again->view.tally.releases, 1u);
  EXPECT_EQ(succeed(*again), Settled::kDone);
  EXPECT_EQ(tally(), "enqueued 1 started 1 succeeded 1");
}

TEST_F(LeaseTest, AWorkerThatDetachesGivesBackWhatItHolds) {
  for (std::uint64_t n = 0; n < 3; ++n) put(n);
  {
    test::Attached leaving(segment_, shm::Role::kWorker);
    Lease leases[3];
    ASSERT_EQ(leaving->claim(queue_, leases, 3, now_), 3u);
    EXPECT_TRUE(drain().empty());
  }
  EXPECT_EQ(drain().size(), 3u);
  EXPECT_EQ(tally(), "enqueued 3 started 3 succeeded 3");
}

TEST_F(LeaseTest, TheDeathOfItsWorkerEndsItAtOnce) {
  for (std::uint64_t n = 0; n < 3; ++n) put(n);
  auto victim = std::make_unique<test::Attached>(segment_, shm::Role::kWorker);
  auto running = start(*victim);
  auto held = take(*victim);
  ASSERT_TRUE(running && held);
  EXPECT_EQ(producer_->redeliver_held(victim->index(), now_), 2u);
  EXPECT_EQ(producer_->redeliver_held(victim->index(), now_), 0u) << "once is enough";
  EXPECT_EQ(succeed(*victim, *running), Settled::kFenced);
  auto first = start();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->number(), running->number()) << "what was running has waited longest";
  EXPECT_EQ(first->view.tally.attempts, 1u);
  EXPECT_EQ(first->view.tally.deaths, 1u);
  EXPECT_EQ(succeed(*first), Settled::kDone);
  for (int i = 0; i < 2; ++i) {
    auto next = start();
    ASSERT_TRUE(next);
    EXPECT_EQ(next->view.tally.attempts, 0u) << "not started, nothing used";
    EXPECT_EQ(succeed(*next), Settled::kDone);
  }
  EXPECT_EQ(tally(), "enqueued 3 started 4 succeeded 3 redelivered 2 fenced 1");
}

TEST_F(LeaseTest, ASilentKeeperIsReplaced) {
  put(1, [this](TaskSpec& spec) { spec.due_ns = now_ + kSecondNs; });
  pass(kMillisecondNs);
  ASSERT_TRUE(keeper_.holding());
  test::Attached other(segment_, shm::Role::kSupervisor);
  Keeper rival(*other);
  EXPECT_FALSE(rival.hold(now_)) << "the holder lives";
  // The keeper is stopped; the rival looks every now and then.
  for (int i = 0; i < 100 && !rival.holding(); ++i) now_ = std::min(rival.step(now_), now_ + 100 * kMillisecondNs);
  ASSERT_TRUE(rival.holding());
  EXPECT_TRUE(start()) << "the delayed task was due meanwhile";
  (void)keeper_.step(now_);  // continued: it finds its role taken
  EXPECT_FALSE(keeper_.holding());
  keeper_.patrol_all(now_);  // what it still does late does no harm
}

}  // namespace
}  // namespace stem::engine
