// One task from enqueue to its end, and who may still say something about it.
#include "virtual_host.hpp"

namespace stem::engine {
namespace {

using LifeCycle = VirtualHost;

TEST_F(LifeCycle, ATaskRunsOnceAndIsForgotten) {
  const TaskId id = put(7);
  EXPECT_EQ(state_of(id), "queued");
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_EQ(task->number(), 7u);
  EXPECT_EQ(task->view.id, id);
  EXPECT_EQ(task->view.tally.attempts, 0u);
  EXPECT_EQ(state_of(id), "running");
  EXPECT_EQ(succeed(*task), Settled::kDone);
  EXPECT_EQ(state_of(id), "gone");
  EXPECT_FALSE(start());
  EXPECT_EQ(tally(), "enqueued 1 started 1 succeeded 1");
}

TEST_F(LifeCycle, TasksOfALaneRunInTheOrderTheyCame) {
  for (std::uint64_t n = 0; n < 500; ++n) put(n);
  const auto numbers = drain();
  ASSERT_EQ(numbers.size(), 500u);
  for (std::uint64_t n = 0; n < 500; ++n) ASSERT_EQ(numbers[n], n);
}

TEST_F(LifeCycle, AnIdNamesOneLifeOfItsSlot) {
  const TaskId first = put(1);
  drain();
  // Slots come round; none of the later tasks answers to the first one's name.
  bool reused = false;
  for (std::uint64_t n = 0; n < 3 * shm::kReserveSlots; ++n) {
    const TaskId later = put(n);
    reused |= later.slot() == first.slot();
    ASSERT_FALSE(later == first);
    ASSERT_EQ(state_of(first), "gone");
    ASSERT_EQ(Control(*producer_).revoke(first, false, now_), Revoked::kOver);
    drain();
  }
  EXPECT_TRUE(reused) << "the test has not reached what it is about";
}

TEST_F(LifeCycle, TheResultIsThereWithTheAcknowledgement) {
  const TaskId id = put(1, [](TaskSpec& spec) { spec.keep_result = true; });
  std::vector<std::byte> bytes;
  FailureRecord failure;
  EXPECT_EQ(read_result(*producer_, id, bytes, failure), ResultState::kPending);
  auto task = start();
  ASSERT_TRUE(task);
  EXPECT_EQ(read_result(*producer_, id, bytes, failure), ResultState::kPending);
  EXPECT_EQ(succeed(*task, "forty-two"), Settled::kDone);
  ASSERT_EQ(read_result(*producer_, id, bytes, failure), ResultState::kSucceeded);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), "forty-two");
  EXPECT_EQ(state_of(id), "succeeded");
}

// Everything a late holder can say is refused, changes nothing, and is counted as such.
class Late : public VirtualHost {
 protected:
  // A task that worker_ has lost to `other_`.
  Held lose(void (*change)(TaskSpec&, TaskExtras&)) {
    id_ = put(1, change);
    auto late = start();
    EXPECT_TRUE(late);
    EXPECT_TRUE(keeping_->redeliver(late->lease.slot, late->lease.word, late->view.id.handle, LeaseEnd::kSilent, now_));
    auto now = start(other_);
    EXPECT_TRUE(now);
    holder_ = *now;
    return *late;
  }
  void expect_untouched() {
    EXPECT_EQ(descriptor(id_).control.load(), holder_.lease.word);
    EXPECT_TRUE(other_->holds(holder_.lease));
    EXPECT_EQ(succeed(other_, holder_, "right"), Settled::kDone);
    std::vector<std::byte> bytes;
    FailureRecord failure;
    if ((holder_.view.flags & shm::kKeepResult) != 0) {
      ASSERT_EQ(read_result(*producer_, id_, bytes, failure), ResultState::kSucceeded);
      EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), "right");
    }
  }
  test::Attached other_{segment_, shm::Role::kWorker};
  TaskId id_;
  Held holder_;
};

void plain(TaskSpec&, TaskExtras&) {}
void keeping(TaskSpec& spec, TaskExtras&) { spec.keep_result = true; }
void linked(TaskSpec&, TaskExtras& extras) { extras.link = extras.link_error = "none"; }

constexpr void (*kKinds[])(TaskSpec&, TaskExtras&) = {plain, keeping, linked};

TEST_F(Late, SuccessIsRefused) {
  std::uint64_t refused = 0;
  for (auto kind : kKinds) {
    const Held late = lose(kind);
    EXPECT_EQ(succeed(worker_, late, "wrong"), Settled::kFenced);
    EXPECT_EQ(count(shm::Counter::kFenced), ++refused);
    expect_untouched();
  }
  EXPECT_EQ(tally(), "enqueued 3 started 6 succeeded 3 redelivered 3 fenced 3");
}

TEST_F(Late, FailureIsRefused) {
  std::uint64_t refused = 0;
  for (auto kind : kKinds) {
    const Held late = lose(kind);
    bool retried = true;
    EXPECT_EQ(worker_->fail(late.lease, late.view, {"error", "no"}, 0, now_, retried), Settled::kFenced);
    EXPECT_FALSE(retried);
    EXPECT_EQ(count(shm::Counter::kFenced), ++refused);
    expect_untouched();
  }
  EXPECT_EQ(tally(), "enqueued 3 started 6 succeeded 3 redelivered 3 fenced 3");
}

TEST_F(Late, ItsLastFailureIsRefused) {
  std::uint64_t refused = 0;
  for (auto kind : kKinds) {
    Held late = lose(kind);
    late.view.max_retries = 0;
    bool retried = true;
    EXPECT_EQ(worker_->fail(late.lease, late.view, {"error", "no"}, 0, now_, retried), Settled::kFenced);
    EXPECT_EQ(worker_->bury(late.lease, late.view, DeadReason::kPermanentFailure, {"x", "y"}, now_), Settled::kFenced);
    EXPECT_EQ(count(shm::Counter::kFenced), refused += 2);
    expect_untouched();
  }
  EXPECT_EQ(tally(), "enqueued 3 started 6 succeeded 3 redelivered 3 fenced 6");
}

TEST_F(Late, SnoozeReleaseCancelExtendAndProgressAreRefused) {
  std::uint64_t refused = 0;
  for (auto kind : kKinds) {
    const Held late = lose(kind);
    EXPECT_EQ(worker_->snooze(late.lease, late.view, kSecondNs, now_), Settled::kFenced);
    EXPECT_EQ(worker_->release(late.lease, now_), Settled::kFenced);
    EXPECT_EQ(worker_->cancel(late.lease, late.view, shm::Counter::kCancelled, {"x", "y"}, now_), Settled::kFenced);
    EXPECT_EQ(worker_->extend(late.lease, now_ + kHourNs), Settled::kFenced);
    EXPECT_EQ(set_progress(*worker_, late.lease, 0.5, "half"), Settled::kFenced);
    EXPECT_EQ(count(shm::Counter::kFenced), refused += 2) << "only outcomes count as late";
    Progress progress;
    EXPECT_FALSE(read_progress(*producer_, late.lease.slot, holder_.lease.word, holder_.lease.item, progress));
    expect_untouched();
  }
}

TEST_F(Late, ADropOfTheLeaseTellsTheHandler) {
  const Held late = lose(plain);
  EXPECT_FALSE(worker_->holds(late.lease));
  Held again = late;
  EXPECT_FALSE(worker_->view(again.lease, again.view));
  expect_untouched();
}

TEST_F(Late, AlsoWhenTheSlotLivesOn) {
  const Held late = lose(plain);
  expect_untouched();  // over; its slot is free
  for (std::uint64_t n = 0; n < 200; ++n) put(n);
  EXPECT_EQ(succeed(worker_, late), Settled::kFenced);
  EXPECT_EQ(worker_->release(late.lease, now_), Settled::kFenced);
  EXPECT_EQ(drain().size(), 200u);
}

}  // namespace
}  // namespace stem::engine
