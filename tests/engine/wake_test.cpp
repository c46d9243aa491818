// Who is woken when: a sleeping worker is rung for each task, or once for many while wakes are held.
#include "engine/due_sleep.hpp"
#include "shm/doorbell.hpp"
#include "shm/names.hpp"
#include "virtual_host.hpp"

namespace stem::engine {
namespace {

class Wakes : public VirtualHost {
 protected:
  std::uint32_t rings() { return worker_->self().row().doorbell.load(); }
};

TEST_F(Wakes, ASleepingWorkerIsRungForATask) {
  const std::uint32_t before = rings();
  shm::set_sleep_bit(worker_->self());
  put(1);
  EXPECT_EQ(rings(), before + 1);
}

TEST_F(Wakes, HeldWakesAreOneForAll) {
  const std::uint32_t before = rings();
  shm::set_sleep_bit(worker_->self());
  producer_->hold_wakes(true);
  for (std::uint64_t n = 0; n < 5; ++n) put(n);
  EXPECT_EQ(rings(), before);
  producer_->wake_held(queue_);
  EXPECT_EQ(rings(), before + 1);
  shm::set_sleep_bit(worker_->self());
  producer_->hold_wakes(false);
  producer_->wake_held(queue_);
  EXPECT_EQ(rings(), before + 1) << "nothing came since";
  put(6);
  EXPECT_EQ(rings(), before + 2);
  EXPECT_EQ(drain().size(), 6u);
}

TEST_F(Wakes, ASleepingWorkerIsRungAheadOfADueTimeOnce) {
  const std::int64_t due = now_ + kSecondNs;
  put(1, [due](TaskSpec& spec) { spec.due_ns = due; });
  (void)keeper_.step(now_);
  const std::uint32_t before = rings();
  shm::set_sleep_bit(worker_->self());
  keeper_.rouse();
  EXPECT_EQ(rings(), before + 1);
  shm::set_sleep_bit(worker_->self());
  keeper_.rouse();
  EXPECT_EQ(rings(), before + 1) << "once for each due time";
  shm::clear_sleep_bit(worker_->self());
  EXPECT_EQ(keeper_.due_ns(), segment_->header().keeper_due_ns.load());
  EXPECT_EQ(due_soon_ns(*segment_, now_), now_) << "a second is not soon";
  const std::int64_t shortly_before = keeper_.due_ns() - DueLead::kMostNs;
  EXPECT_EQ(due_soon_ns(*segment_, shortly_before), keeper_.due_ns());
  EXPECT_EQ(due_soon_ns(*segment_, keeper_.due_ns() + 1), keeper_.due_ns() + 1) << "what is over is not awaited";
  pass(kSecondNs + kMillisecondNs);
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{1}));
  EXPECT_EQ(keeper_.due_ns(), INT64_MAX);
  EXPECT_EQ(due_soon_ns(*segment_, now_), now_) << "a time that never comes is not soon";
}

TEST_F(Wakes, ADueTimeOfAnotherQueueRousesNobody) {
  const std::uint32_t other = *shm::intern_queue(*segment_, "other");
  put(1, [&](TaskSpec& spec) {
    spec.queue = other;
    spec.due_ns = now_ + kSecondNs;
  });
  (void)keeper_.step(now_);
  ASSERT_NE(keeper_.due_ns(), INT64_MAX);
  const std::uint32_t before = rings();
  worker_->self().row().serves_all.store(0);
  shm::set_sleep_bit(worker_->self());
  keeper_.rouse();
  EXPECT_EQ(rings(), before);
}

TEST_F(Wakes, WhatWasCancelledOrIsPausedRousesNobody) {
  const TaskId id = put(1, [this](TaskSpec& spec) { spec.due_ns = now_ + kSecondNs; });
  put(2, [this](TaskSpec& spec) { spec.due_ns = now_ + 2 * kSecondNs; });
  (void)keeper_.step(now_);
  const std::int64_t first = keeper_.due_ns();
  ASSERT_EQ(Control(*producer_).revoke(id, false, now_), Revoked::kCancelled);
  shm::set_sleep_bit(worker_->self());
  const std::uint32_t before = rings();
  keeper_.rouse();
  EXPECT_EQ(rings(), before);
  (void)keeper_.step(now_);
  EXPECT_GT(keeper_.due_ns(), first) << "what does not stand any more is not waited for";
  segment_->queue(queue_).paused.store(1);
  keeper_.rouse();
  EXPECT_EQ(rings(), before);
  segment_->queue(queue_).paused.store(0);
}

// A keeper's sleep by a clock that the test moves: each look at it takes 100 ns.
class DueSleeps : public Wakes {
 protected:
  void SetUp() override {
    put(1, [this](TaskSpec& spec) { spec.due_ns = now_ + 50 * kMillisecondNs; });
    (void)keeper_.step(now_);
    due_ = keeper_.due_ns();
    at_ = now_;
    shm::set_sleep_bit(worker_->self());
    rung_before_ = rings();
  }
  // One sleep, which ends `late_ns` after its time, or at `woken_at` by something that came.
  void sleep(DueSleep& sleeper, std::int64_t next_ns, std::int64_t late_ns, std::int64_t woken_at = 0) {
    slept_until_ = 0;
    sleeper.until(
        next_ns, [this] { return at_ += 100; },
        [&](std::int64_t until_ns) {
          slept_until_ = until_ns;
          at_ = woken_at != 0 ? woken_at : until_ns + late_ns;
        },
        [] { return false; });
  }
  std::uint32_t new_rings() { return rings() - rung_before_; }

  std::int64_t due_ = 0, at_ = 0, slept_until_ = 0;
  std::uint32_t rung_before_ = 0;
};

TEST_F(DueSleeps, EndsAheadRingsAndSpins) {
  DueSleep sleeper(keeper_, true);
  sleep(sleeper, due_, 50'000);
  EXPECT_EQ(slept_until_, due_ - DueLead::kFirstNs);
  EXPECT_EQ(new_rings(), 1u);
  EXPECT_GE(at_, due_);
  EXPECT_LT(at_, due_ + 1'000);
}

TEST_F(DueSleeps, WhoIsWokenShortlyBeforeDoesNotTakeItForAShortWait) {
  DueSleep sleeper(keeper_, true);
  sleep(sleeper, now_ + kMillisecondNs, 5 * kMillisecondNs);  // a sleep for something else has ended very late
  put(2, [this](TaskSpec& spec) { spec.due_ns = at_ + 20 * kMillisecondNs; });
  (void)keeper_.step(at_);
  const std::int64_t due = keeper_.due_ns();
  ASSERT_LT(due, due_);
  sleep(sleeper, due, 0, due - kMillisecondNs);
  EXPECT_EQ(slept_until_, due - DueLead::kMostNs);
  EXPECT_EQ(new_rings(), 0u);
  sleep(sleeper, due, 0);
  EXPECT_EQ(slept_until_, due - DueLead::kMostNs) << "as it was";
  EXPECT_EQ(new_rings(), 1u);
}

TEST_F(DueSleeps, WhatIsOverdueIsDoneBeforeAnybodyIsRung) {
  DueSleep sleeper(keeper_, true);
  sleep(sleeper, due_, DueLead::kFirstNs + 1);
  EXPECT_EQ(new_rings(), 0u);
}

TEST_F(DueSleeps, BeforeOtherThingsNobodySpins) {
  DueSleep sleeper(keeper_, true);
  const std::int64_t next = now_ + 10 * kMillisecondNs;
  sleep(sleeper, next, 2'000);
  EXPECT_EQ(slept_until_, next);
  EXPECT_LT(at_, next + 3'000) << "it returned at once";
  EXPECT_EQ(new_rings(), 0u);
}

TEST_F(DueSleeps, OtherThingsShortlyBeforeADueTimeEndTheSpinAndNotTheLead) {
  DueSleep sleeper(keeper_, true);
  const std::int64_t next = due_ - 20'000;
  sleep(sleeper, next, 10'000);
  EXPECT_EQ(slept_until_, due_ - DueLead::kFirstNs);
  EXPECT_GE(at_, next);
  EXPECT_LT(at_, due_);
}

TEST_F(DueSleeps, OnOneProcessorNobodySpins) {
  DueSleep sleeper(keeper_, false);
  sleep(sleeper, due_, 1'000);
  EXPECT_EQ(slept_until_, due_);
  EXPECT_EQ(new_rings(), 0u);
}

TEST(DueLead, FollowsWhatTheSleepsShow) {
  constexpr std::int64_t kLong = 100'000'000;
  DueLead lead;
  const std::int64_t first = lead.before(kLong);
  lead.slept(first);  // later than it thought: at once
  EXPECT_EQ(lead.before(kLong), 2 * first);
  lead.slept(60'000'000);
  EXPECT_EQ(lead.before(kLong), DueLead::kMostNs) << "a machine that stood still is no measure";
  for (int i = 0; i < 5000; ++i) lead.slept(5'000);
  EXPECT_LT(lead.before(kLong), first) << "it comes down where sleeps end in time";
  EXPECT_GT(lead.before(kLong), 10'000);
}

TEST(DueLead, AKeeperOfManyDueTimesDoesNotSpinAllTheTime) {
  DueLead lead;
  lead.slept(60'000'000);
  EXPECT_EQ(lead.before(1'000'000), 250'000);
  EXPECT_EQ(lead.before(200'000), DueLead::kFirstNs);
}

}  // namespace
}  // namespace stem::engine
