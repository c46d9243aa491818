// Who is woken when: a sleeping worker is rung for each task, or once for many while wakes are held.
#include "engine/due_lead.hpp"
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

TEST_F(Wakes, ASleepingWorkerIsRungAheadOfADueTimeAndLooksUntilThen) {
  const std::int64_t due = now_ + kSecondNs;
  put(1, [due](TaskSpec& spec) { spec.due_ns = due; });
  (void)keeper_.step(now_);
  const std::uint32_t before = rings();
  keeper_.rouse();
  EXPECT_EQ(rings(), before) << "nobody sleeps";
  shm::set_sleep_bit(worker_->self());
  keeper_.rouse();
  EXPECT_EQ(rings(), before + 1);
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
  const std::uint32_t before = rings();
  worker_->self().row().serves_all.store(0);
  shm::set_sleep_bit(worker_->self());
  keeper_.rouse();
  EXPECT_EQ(rings(), before);
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
