// What people do to queues and tasks from outside: revoke, pause, resume, purge; and what a running task
// says of itself.
#include "engine/control.hpp"

#include "engine/dead_letters.hpp"
#include "virtual_host.hpp"

namespace stem::engine {
namespace {

class ControlTest : public VirtualHost {
 protected:
  Control control_{*producer_};
};

TEST_F(ControlTest, ARevokedTaskNeverStarts) {
  const TaskId ready = put(1);
  const TaskId delayed = put(2, [this](TaskSpec& spec) { spec.due_ns = now_ + kSecondNs; });
  put(3);
  EXPECT_EQ(control_.revoke(ready, false, now_), Revoked::kCancelled);
  EXPECT_EQ(control_.revoke(ready, false, now_), Revoked::kOver);
  EXPECT_EQ(control_.revoke(delayed, false, now_), Revoked::kCancelled);
  pass(2 * kSecondNs);
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{3}));
  EXPECT_EQ(control_.revoke(TaskId::make(segment_->epoch() + 1, 0, 1), false, now_), Revoked::kUnknown);
  EXPECT_EQ(control_.revoke(TaskId::make(segment_->epoch(), 1u << 23, 1), false, now_), Revoked::kUnknown);
  EXPECT_EQ(tally(), "enqueued 3 started 1 succeeded 1 cancelled 2");
}

TEST_F(ControlTest, WhoWaitsForItIsToldForAsLongAsTheTaskWanted) {
  const TaskId id = put(1, [](TaskSpec& spec, TaskExtras& extras) {
    spec.keep_result = true;
    extras.result_ttl_ns = 10 * kSecondNs;
  });
  EXPECT_EQ(control_.revoke(id, false, now_), Revoked::kCancelled);
  std::vector<std::byte> bytes;
  FailureRecord failure;
  EXPECT_EQ(read_result(*producer_, id, bytes, failure), ResultState::kCancelled);
  EXPECT_EQ(failure.kind(), "revoked");
  pass(12 * kSecondNs);
  EXPECT_EQ(read_result(*producer_, id, bytes, failure), ResultState::kGone);
}

TEST_F(ControlTest, ARunningTaskIsLeftAloneOrAskedToStop) {
  const TaskId id = put(1);
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_EQ(control_.revoke(id, false, now_), Revoked::kRunning);
  EXPECT_FALSE(Control::revoke_requested(worker_->self().row(), id));
  EXPECT_EQ(control_.revoke(id, true, now_), Revoked::kAsked);
  EXPECT_TRUE(Control::revoke_requested(worker_->self().row(), id));
  EXPECT_TRUE(Control::take_revoke_request(worker_->self().row(), id));
  EXPECT_FALSE(Control::take_revoke_request(worker_->self().row(), id)) << "asked once";
  EXPECT_EQ(worker_->cancel(task->lease, task->view, shm::Counter::kCancelled, {"revoked", ""}, now_), Settled::kDone);
  EXPECT_EQ(tally(), "enqueued 1 started 1 cancelled 1");
}

TEST_F(ControlTest, ManyRequestsToOneWorkerLeaveTheLatest) {
  std::vector<Held> running;
  for (std::uint64_t n = 0; n < 3 * shm::kRevokeWords; ++n) put(n);
  while (auto task = start()) running.push_back(*task);
  for (const Held& task : running) EXPECT_EQ(control_.revoke(task.view.id, true, now_), Revoked::kAsked);
  int asked = 0;
  for (const Held& task : running) {
    asked += Control::take_revoke_request(worker_->self().row(), task.view.id) ? 1 : 0;
    EXPECT_EQ(succeed(task), Settled::kDone);
  }
  EXPECT_GE(asked, 1);
  EXPECT_LE(asked, static_cast<int>(shm::kRevokeWords));
}

TEST_F(ControlTest, ADeadLetterIsOverForARevoke) {
  const TaskId id = put(1, [](TaskSpec& spec) { spec.max_retries = 0; });
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_FALSE(fail(*task));
  EXPECT_EQ(control_.revoke(id, true, now_), Revoked::kOver);
  EXPECT_EQ(state_of(id), "dead");
}

TEST_F(ControlTest, APausedQueueStartsNothingAndLosesNothing) {
  const std::uint32_t other = test::must_queue(*segment_, "other");
  put_many(0, 20);
  auto running = start();
  ASSERT_TRUE(running);
  control_.pause(queue_, now_);
  EXPECT_TRUE(stats().paused);
  EXPECT_FALSE(start());
  put(20);
  put(21, [this](TaskSpec& spec) { spec.due_ns = now_ + kSecondNs; });
  EXPECT_EQ(succeed(*running), Settled::kDone) << "what runs may end";
  pass(5 * kSecondNs);
  EXPECT_FALSE(start());
  std::swap(queue_, const_cast<std::uint32_t&>(other));
  put(100);
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{100})) << "other queues go on";
  std::swap(queue_, const_cast<std::uint32_t&>(other));
  control_.resume(queue_, now_);
  EXPECT_EQ(drain().size(), 21u);
}

TEST_F(ControlTest, ARedeliveredTaskOfAPausedQueueWaits) {
  put(1);
  {
    test::Attached victim(segment_, shm::Role::kWorker);
    ASSERT_TRUE(start(victim));
    control_.pause(queue_, now_);
    (void)producer_->redeliver_held(victim.index(), now_);
  }
  EXPECT_FALSE(start());
  control_.resume(queue_, now_);
  EXPECT_EQ(drain().size(), 1u);
}

TEST_F(ControlTest, PurgeTakesEverythingThatHasNotStarted) {
  put_many(0, 40);
  for (std::uint64_t n = 100; n < 110; ++n) put(n);
  put(200, [this](TaskSpec& spec) { spec.due_ns = now_ + kHourNs; });
  put(201, [](TaskSpec& spec) { spec.priority = 9; });
  auto running = start();
  ASSERT_TRUE(running);
  ASSERT_EQ(running->number(), 201u);
  EXPECT_EQ(control_.purge(queue_, now_), 51u);
  EXPECT_EQ(control_.purge(queue_, now_), 0u);
  EXPECT_EQ(succeed(*running), Settled::kDone);
  EXPECT_TRUE(drain().empty());
  EXPECT_EQ(tally(), "enqueued 52 started 1 succeeded 1 cancelled 51");
}

TEST_F(ControlTest, ProgressIsSeenFromOutside) {
  const TaskId id = put(1);
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_FALSE(Query(*producer_).task(id)->has_progress);
  for (int i = 1; i <= 50; ++i) {
    const std::string text = "step " + std::to_string(i);
    ASSERT_EQ(set_progress(*worker_, task->lease, i / 50.0, text), Settled::kDone);
    const auto info = Query(*producer_).task(id);
    ASSERT_TRUE(info && info->has_progress);
    EXPECT_NEAR(info->progress, i / 50.0, 1e-6);
    EXPECT_EQ(info->progress_data, text);
  }
  EXPECT_TRUE(fail(*task, "error", "no", 0));
  auto again = start();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->view.tally.attempts, 1u) << "its progress is not taken for its tally";
  EXPECT_FALSE(Query(*producer_).task(id)->has_progress) << "a new run has said nothing yet";
  EXPECT_EQ(set_progress(*worker_, again->lease, 7, ""), Settled::kDone);
  EXPECT_EQ(Query(*producer_).task(id)->progress, 1.0) << "clamped";
  EXPECT_EQ(succeed(*again), Settled::kDone);
}

}  // namespace
}  // namespace stem::engine
