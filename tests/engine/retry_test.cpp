// Attempts: what uses one, when the next comes, and when there is none.
#include <signal.h>

#include <algorithm>

#include "engine/dead_letters.hpp"
#include "virtual_host.hpp"

namespace stem::engine {
namespace {

class Retry : public VirtualHost {
 protected:
  // Fails the task at once each time it comes, until it is dead or `most` times; the waits between.
  std::vector<std::int64_t> waits_of(TaskId id, int most, std::string_view kind = "error") {
    std::vector<std::int64_t> waits;
    for (int i = 0; i < most; ++i) {
      auto task = start();
      if (!task) break;
      if (!fail(*task, kind)) break;
      const std::int64_t due = producer_->due_ns(id.slot(), descriptor(id).control.load());
      waits.push_back(due - now_);
      now_ = due;
      (void)keeper_.step(now_);
    }
    return waits;
  }
  std::vector<DeadLetter> dead() { return DeadLetters(*producer_).list({}); }
};

TEST_F(Retry, ThreeAfterTheFirstByDefault) {
  const TaskId id = put(1);
  const auto waits = waits_of(id, 10);
  ASSERT_EQ(waits.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {  // 2 s doubled each time, less up to a quarter
    const std::int64_t full = 2 * kSecondNs << i;
    EXPECT_LE(waits[i], full + 1000);
    EXPECT_GE(waits[i], full - full / 4);
  }
  EXPECT_EQ(state_of(id), "dead");
  ASSERT_EQ(dead().size(), 1u);
  EXPECT_EQ(dead()[0].failure.reason, static_cast<std::uint8_t>(DeadReason::kMaxRetriesExhausted));
  EXPECT_EQ(dead()[0].failure.attempts, 4u);
  EXPECT_EQ(tally(), "enqueued 1 started 4 failed 4 retried 3 dead-added 1");
}

TEST_F(Retry, NoneWhenNoneIsWanted) {
  const TaskId id = put(1, [](TaskSpec& spec) { spec.max_retries = 0; });
  EXPECT_TRUE(waits_of(id, 10).empty());
  EXPECT_EQ(state_of(id), "dead");
  EXPECT_EQ(tally(), "enqueued 1 started 1 failed 1 dead-added 1");
}

TEST_F(Retry, ThePolicyOfTheTaskSaysWhen) {
  const TaskId constant = put(1, [](TaskSpec& spec, TaskExtras& extras) {
    spec.max_retries = 4;
    extras.retry = {RetryKind::kConstant, 7 * kSecondNs, kHourNs};
  });
  EXPECT_EQ(waits_of(constant, 10), std::vector<std::int64_t>(4, 7 * kSecondNs));
  const TaskId linear = put(2, [](TaskSpec& spec, TaskExtras& extras) {
    spec.max_retries = 4;
    extras.retry = {RetryKind::kLinear, 10 * kSecondNs, 25 * kSecondNs};
  });
  EXPECT_EQ(waits_of(linear, 10),
            (std::vector<std::int64_t>{10 * kSecondNs, 20 * kSecondNs, 25 * kSecondNs, 25 * kSecondNs}));
}

TEST_F(Retry, TheHandlerMayNameTheDelay) {
  put(1);
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_TRUE(fail(*task, "error", "no", 0));
  task = start();
  ASSERT_TRUE(task) << "at once";
  EXPECT_EQ(task->view.tally.attempts, 1u);
  EXPECT_TRUE(fail(*task, "error", "no", 90 * kSecondNs));
  pass(89 * kSecondNs);
  EXPECT_FALSE(start());
  pass(2 * kSecondNs);
  task = start();
  ASSERT_TRUE(task);
  EXPECT_TRUE(fail(*task, "error", "no", INT64_MAX));
  pass(100 * kSecondNs);
  EXPECT_FALSE(start());
  EXPECT_EQ(Control(*producer_).purge(queue_, now_), 1u);
}

TEST_F(Retry, WhatFailedTogetherDoesNotReturnTogether) {
  for (std::uint64_t n = 0; n < 64; ++n) put(n);
  std::vector<std::int64_t> dues;
  for (int i = 0; i < 64; ++i) {
    auto task = start();
    ASSERT_TRUE(task);
    EXPECT_TRUE(fail(*task));
    dues.push_back(producer_->due_ns(task->lease.slot, descriptor(task->view.id).control.load()));
  }
  std::sort(dues.begin(), dues.end());
  EXPECT_GT(dues.back() - dues.front(), kSecondNs / 4);
  EXPECT_GT(std::unique(dues.begin(), dues.end()) - dues.begin(), 60);
  EXPECT_EQ(Control(*producer_).purge(queue_, now_), 64u);
}

TEST_F(Retry, KindsThatAreNotRetriedDieAtOnce) {
  const TaskId never = put(1, [](TaskSpec&, TaskExtras& extras) { extras.no_retry_for = "bug,worse"; });
  EXPECT_TRUE(waits_of(never, 10, "worse").empty());
  const TaskId only = put(2, [](TaskSpec&, TaskExtras& extras) { extras.retry_for = "io,timeout"; });
  EXPECT_TRUE(waits_of(only, 10, "bug").empty());
  ASSERT_EQ(dead().size(), 2u);
  for (const DeadLetter& letter : dead())
    EXPECT_EQ(letter.failure.reason, static_cast<std::uint8_t>(DeadReason::kPermanentFailure));
  const TaskId retried = put(3, [](TaskSpec&, TaskExtras& extras) { extras.retry_for = "io,timeout"; });
  EXPECT_EQ(waits_of(retried, 10, "timeout").size(), 3u);
}

TEST_F(Retry, AFailureForGoodIsNoRetry) {
  const TaskId id = put(1);
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_EQ(worker_->bury(task->lease, task->view, DeadReason::kPermanentFailure, {"bad-input", "no such file"}, now_),
            Settled::kDone);
  EXPECT_EQ(state_of(id), "dead");
  ASSERT_EQ(dead().size(), 1u);
  EXPECT_EQ(dead()[0].failure.kind(), "bad-input");
  EXPECT_EQ(dead()[0].failure.message(), "no such file");
  EXPECT_EQ(tally(), "enqueued 1 started 1 failed 1 dead-added 1");
}

TEST_F(Retry, WhatWentWrongIsVisibleWhileTheTaskWaits) {
  const TaskId id = put(1);
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_TRUE(fail(*task, "io", "connection refused"));
  auto info = Query(*producer_).task(id);
  ASSERT_TRUE(info && info->failure);
  EXPECT_EQ(info->state_name, "retried");
  EXPECT_EQ(info->tally.attempts, 1u);
  EXPECT_EQ(info->failure->message(), "connection refused");
  pass(3 * kSecondNs);
  task = start();
  ASSERT_TRUE(task);
  EXPECT_TRUE(fail(*task, "io", "connection reset"));
  EXPECT_EQ(Query(*producer_).task(id)->failure->message(), "connection reset");
  pass(5 * kSecondNs);
  EXPECT_EQ(drain().size(), 1u);
}

TEST_F(Retry, ASnoozeUsesNoAttempt) {
  const TaskId id = put(1);
  for (int i = 0; i < 10; ++i) {
    auto task = start();
    ASSERT_TRUE(task);
    EXPECT_EQ(task->view.tally.attempts, 0u);
    EXPECT_EQ(task->view.tally.releases, static_cast<std::uint32_t>(i));
    EXPECT_EQ(worker_->snooze(task->lease, task->view, 10 * kSecondNs, now_), Settled::kDone);
    pass(9 * kSecondNs);
    EXPECT_FALSE(start());
    pass(2 * kSecondNs);
  }
  EXPECT_EQ(waits_of(id, 10).size(), 3u) << "all retries are still there";
  EXPECT_EQ(tally(), "enqueued 1 started 14 failed 4 retried 3 dead-added 1 snoozed 10");
}

TEST_F(Retry, AWorkerThatDiesUsesAnAttemptAndNoRetryDelay) {
  put(1);
  for (std::uint32_t deaths = 0; deaths < 2; ++deaths) {
    test::Attached victim(segment_, shm::Role::kWorker);
    auto task = start(victim);
    ASSERT_TRUE(task);
    EXPECT_EQ(task->view.tally.attempts, deaths);
    EXPECT_EQ(task->view.tally.deaths, deaths);
    EXPECT_EQ(producer_->redeliver_held(victim.index(), now_), 1u);
  }
  EXPECT_EQ(drain().size(), 1u);
  EXPECT_EQ(tally(), "enqueued 1 started 3 succeeded 1 redelivered 2");
}

TEST_F(Retry, TheThirdDeathMakesItAPoisonPill) {
  const TaskId id = put(1, [](TaskSpec& spec) { spec.max_retries = 1000; });
  for (std::uint32_t deaths = 0; deaths < kPoisonLimit; ++deaths) {
    test::Attached victim(segment_, shm::Role::kWorker);
    auto task = start(victim);
    ASSERT_TRUE(task);
    victim->self().row().crash.signal = SIGSEGV;
    victim->self().row().crash.task.store(id.handle);
    (void)producer_->redeliver_held(victim.index(), now_);
  }
  EXPECT_EQ(state_of(id), "dead");
  ASSERT_EQ(dead().size(), 1u);
  EXPECT_EQ(dead()[0].failure.reason, static_cast<std::uint8_t>(DeadReason::kPoisonPill));
  EXPECT_EQ(dead()[0].failure.message(), "its process died 3 times while running it, last by SIGSEGV");
  EXPECT_EQ(dead()[0].failure.attempts, 3u);
  EXPECT_EQ(tally(), "enqueued 1 started 3 dead-added 1 redelivered 2");
}

TEST_F(Retry, FailuresAndDeathsAreCountedApart) {
  put(1, [](TaskSpec& spec) { spec.max_retries = 1000; });
  for (int i = 0; i < 5; ++i) {  // between two deaths it fails: that is no third death
    auto task = start();
    ASSERT_TRUE(task);
    EXPECT_TRUE(fail(*task, "error", "no", 0));
    if (i >= 2) continue;
    test::Attached victim(segment_, shm::Role::kWorker);
    ASSERT_TRUE(start(victim));
    (void)producer_->redeliver_held(victim.index(), now_);
  }
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_EQ(task->view.tally.attempts, 7u);
  EXPECT_EQ(task->view.tally.deaths, 2u);
  EXPECT_EQ(succeed(*task), Settled::kDone);
}

// 4,095 grants: a task that only ever runs again ends as a dead letter, and is not lost.
TEST_F(Retry, EndlessSnoozesEndInTheDeadLetters) {
  const TaskId id = put(1);
  int snoozes = 0;
  for (;; ++snoozes) {
    ASSERT_LE(snoozes, 5000);
    auto task = start();
    if (!task) break;
    ASSERT_EQ(worker_->snooze(task->lease, task->view, 0, now_), Settled::kDone);
  }
  EXPECT_GT(snoozes, 4000);
  EXPECT_EQ(state_of(id), "dead");
  ASSERT_EQ(dead().size(), 1u);
  EXPECT_EQ(dead()[0].failure.reason, static_cast<std::uint8_t>(DeadReason::kDeliveryLimit));
  EXPECT_EQ(count(shm::Counter::kDeadAdded), 1u);
}

TEST_F(Retry, NeitherRetriesNorReleasesNorRedeliveriesAreEndless) {
  put(1, [](TaskSpec& spec) { spec.max_retries = 65'535; });
  put(2);
  put(3);
  for (int round = 0; round < 5000; ++round) {
    Lease leases[3];
    const std::uint32_t n = worker_->claim(queue_, leases, 3, now_);
    if (n == 0) break;
    for (std::uint32_t i = 0; i < n; ++i) {
      TaskView view;
      if (!worker_->view(leases[i], view)) continue;
      bool retried = false;
      switch (test::number_of(view)) {
        case 1: ASSERT_EQ(worker_->fail(leases[i], view, {"error", "no"}, 0, now_, retried), Settled::kDone); break;
        case 2: ASSERT_EQ(worker_->release(leases[i], now_), Settled::kDone); break;
        default: ASSERT_TRUE(keeping_->redeliver(leases[i].slot, leases[i].word, 0, LeaseEnd::kSilent, now_)); break;
      }
    }
  }
  ASSERT_EQ(dead().size(), 3u);
  for (const DeadLetter& letter : dead())
    EXPECT_EQ(letter.failure.reason, static_cast<std::uint8_t>(DeadReason::kDeliveryLimit));
}

}  // namespace
}  // namespace stem::engine
