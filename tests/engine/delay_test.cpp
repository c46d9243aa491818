// Delayed tasks and tasks that expire. Time is CLOCK_MONOTONIC throughout: the engine never sees a wall
// clock, so stepping one cannot move anything; what steps here is the time the engine is given.
#include "virtual_host.hpp"

namespace stem::engine {
namespace {

using Delay = VirtualHost;

TEST_F(Delay, ATaskStartsAtItsTimeAndNotBefore) {
  const TaskId id = put(1, [this](TaskSpec& spec) { spec.due_ns = now_ + kSecondNs; });
  EXPECT_EQ(state_of(id), "delayed");
  pass(kSecondNs - kMillisecondNs);
  EXPECT_FALSE(start());
  EXPECT_EQ(state_of(id), "delayed");
  pass(kMillisecondNs + 2'000);
  EXPECT_EQ(state_of(id), "queued");
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{1}));
}

TEST_F(Delay, TheKeeperWakesWithinMicrosecondsOfTheTime) {
  put(1, [this](TaskSpec& spec) { spec.due_ns = now_ + 12'345'678; });
  const std::int64_t due = now_ + 12'345'678;
  const std::int64_t next = keeper_.step(now_);
  EXPECT_GE(next, due) << "a task never starts before its time";
  EXPECT_LE(next, due + 1'000) << "due words count microseconds";
  (void)keeper_.step(next);
  EXPECT_EQ(slots(shm::State::kReady), 1u);
}

TEST_F(Delay, TheEarliestIsFirstWhateverTheOrderOfEnqueueing) {
  for (const std::uint64_t n : {5u, 3u, 9u, 1u, 7u, 2u, 8u, 4u, 6u})
    put(n, [this, n](TaskSpec& spec) { spec.due_ns = now_ + static_cast<std::int64_t>(n) * kSecondNs; });
  std::vector<std::uint64_t> order;
  for (int second = 0; second < 10; ++second) {
    pass(kSecondNs + kMillisecondNs / 100);
    for (const std::uint64_t n : drain()) order.push_back(n);
  }
  EXPECT_EQ(order, (std::vector<std::uint64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST_F(Delay, ATimeThatHasPassedIsNow) {
  const TaskId id = put(1, [](TaskSpec& spec) { spec.due_ns = 1; });
  EXPECT_EQ(state_of(id), "queued");
  put(2, [](TaskSpec& spec) { spec.due_ns = INT64_MIN; });
  EXPECT_EQ(drain().size(), 2u);
}

TEST_F(Delay, ATimeBeyondAllTimeIsNever) {
  const TaskId id = put(1, [](TaskSpec& spec) { spec.due_ns = INT64_MAX; });
  pass(100 * kSecondNs);
  EXPECT_EQ(state_of(id), "delayed");
  EXPECT_EQ(Control(*producer_).revoke(id, false, now_), Revoked::kCancelled);
}

TEST_F(Delay, ThousandsAreAllPromoted) {
  constexpr std::uint64_t kTasks = 3000;
  for (std::uint64_t n = 0; n < kTasks; ++n)
    put(n, [this, n](TaskSpec& spec) {
      spec.due_ns = now_ + static_cast<std::int64_t>(1 + n % 50) * 10 * kMillisecondNs;
    });
  pass(kSecondNs);
  EXPECT_EQ(slots(shm::State::kDelayed), 0u);
  EXPECT_EQ(drain().size(), kTasks);
}

TEST_F(Delay, AKeeperThatComesLaterKnowsThemAll) {
  for (std::uint64_t n = 0; n < 100; ++n) put(n, [this](TaskSpec& spec) { spec.due_ns = now_ + kSecondNs; });
  pass(kMillisecondNs);
  test::Attached other(segment_, shm::Role::kSupervisor);
  Keeper successor(*other);
  for (int i = 0; i < 100 && !successor.holding(); ++i)
    now_ = std::min(successor.step(now_), now_ + 100 * kMillisecondNs);
  ASSERT_TRUE(successor.holding());
  (void)successor.step(now_ + kSecondNs);
  EXPECT_EQ(slots(shm::State::kReady), 100u);
  EXPECT_EQ(drain().size(), 100u);
}

// Participants read their clocks at slightly different moments, and a keeper that continues after a stop
// may be behind: time that comes in may go back.
TEST_F(Delay, TimeThatGoesBackAndForthLosesNothingAndStartsNothingEarly) {
  const std::int64_t begin = now_;
  put(1, [begin](TaskSpec& spec) { spec.due_ns = begin + 10 * kSecondNs; });
  for (const std::int64_t at : {3, 1, 5, 2, 9, 0, 8}) {
    (void)keeper_.step(begin + at * kSecondNs);
    now_ = begin + at * kSecondNs;
    ASSERT_FALSE(start()) << "at second " << at;
  }
  (void)keeper_.step(begin + 11 * kSecondNs);
  now_ = begin + 4 * kSecondNs;  // this worker's clock was read before the keeper's
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{1}));
  put(2, [this](TaskSpec& spec) { spec.due_ns = now_ + kSecondNs; });
  pass(2 * kSecondNs);
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{2}));
}

TEST_F(Delay, AfterAStepBackTheKeeperStillSweepsAndWatches) {
  (void)keeper_.step(now_ + 10 * kHourNs);  // one wrong reading
  put(1, [](TaskSpec&, TaskExtras& extras) { extras.visibility_ns = 2 * kSecondNs; });
  auto task = start();
  ASSERT_TRUE(task);
  stop_worker();
  pass(10 * kSecondNs);
  EXPECT_FALSE(worker_->holds(task->lease)) << "silence is noticed";
  EXPECT_EQ(drain().size(), 1u);
}

TEST_F(Delay, AnExpiredTaskIsCancelledInsteadOfStarted) {
  const TaskId id = put(1, [this](TaskSpec& spec, TaskExtras& extras) {
    extras.expires_ns = now_ + kSecondNs;
    spec.keep_result = true;
  });
  put(2, [this](TaskSpec&, TaskExtras& extras) { extras.expires_ns = now_ + kHourNs; });
  pass(kSecondNs);
  EXPECT_FALSE(start());
  EXPECT_EQ(began_, Begin::kExpired);
  EXPECT_EQ(state_of(id), "cancelled");
  std::vector<std::byte> bytes;
  FailureRecord failure;
  EXPECT_EQ(read_result(*producer_, id, bytes, failure), ResultState::kCancelled);
  EXPECT_EQ(failure.kind(), "expired");
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{2}));
  EXPECT_EQ(tally(), "enqueued 2 started 1 succeeded 1 expired 1");
}

TEST_F(Delay, ATaskMayExpireWhileItWaitsForItsRetry) {
  put(1, [this](TaskSpec&, TaskExtras& extras) { extras.expires_ns = now_ + 10 * kSecondNs; });
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_TRUE(fail(*task, "error", "no", 20 * kSecondNs));
  pass(21 * kSecondNs);
  EXPECT_FALSE(start());
  EXPECT_EQ(began_, Begin::kExpired);
  EXPECT_EQ(tally(), "enqueued 1 started 1 failed 1 retried 1 expired 1");
}

TEST_F(Delay, ADelayedTaskKeepsItsPriority) {
  put(1, [this](TaskSpec& spec) { spec.due_ns = now_ + kSecondNs, spec.priority = 9; });
  put(2);
  pass(2 * kSecondNs);
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{1, 2}));
}

}  // namespace
}  // namespace stem::engine
