// Rate limits: by task and key, by group, by queue. A burst of the rate is let through, then one each
// interval; who comes too early is given its time at once and waits for it without polling.
#include "engine/limiter.hpp"

#include <algorithm>

#include "virtual_host.hpp"

namespace stem::engine {
namespace {

class RateLimit : public VirtualHost {
 protected:
  // How many tasks start within `ns` from now.
  std::uint64_t started_within(std::int64_t ns) {
    const std::int64_t until = now_ + ns;
    std::uint64_t started = drain().size();
    while (now_ < until) {
      pass(std::min(10 * kMillisecondNs, until - now_));
      started += drain().size();
    }
    return started;
  }
  static auto limited(std::uint64_t key, Rate rate) {
    return [key, rate](TaskSpec&, TaskExtras& extras) {
      extras.rate_key = key;
      extras.rate = rate;
    };
  }
  void limit_queue(Rate rate) {
    Control::Limits limits;
    limits.set_rate = true;
    limits.rate = rate;
    Control(*producer_).set_limits(queue_, limits);
  }
};

TEST_F(RateLimit, ABurstThenOneEachInterval) {
  for (std::uint64_t n = 0; n < 40; ++n) put(n, limited(77, {10, 1}));
  EXPECT_EQ(drain().size(), 10u) << "the burst";
  EXPECT_EQ(started_within(kSecondNs - kMillisecondNs), 9u);
  EXPECT_EQ(started_within(kSecondNs), 10u);
  EXPECT_EQ(started_within(2 * kSecondNs), 11u);
  EXPECT_EQ(tally(), "enqueued 40 started 40 succeeded 40 rate-denied 30") << "each is held back once";
}

TEST_F(RateLimit, TheyStartInTheOrderTheyCame) {
  for (std::uint64_t n = 0; n < 30; ++n) put(n, limited(77, {5, 1}));
  std::vector<std::uint64_t> order;
  for (int i = 0; i < 700; ++i) {
    for (const std::uint64_t n : drain()) order.push_back(n);
    pass(10 * kMillisecondNs);
  }
  ASSERT_EQ(order.size(), 30u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_F(RateLimit, PerMinuteAndPerHour) {
  for (std::uint64_t n = 0; n < 4; ++n) put(n, limited(1, {2, 60}));
  EXPECT_EQ(started_within(29 * kSecondNs), 2u);
  EXPECT_EQ(started_within(2 * kSecondNs), 1u);
  EXPECT_EQ(started_within(30 * kSecondNs), 1u);
  for (std::uint64_t n = 0; n < 2; ++n) put(n, limited(2, {1, 3600}));
  EXPECT_EQ(drain().size(), 1u);
  pass(kHourNs - kSecondNs);
  EXPECT_TRUE(drain().empty());
  pass(2 * kSecondNs);
  EXPECT_EQ(drain().size(), 1u);
}

TEST_F(RateLimit, KeysDoNotTouchEachOther) {
  for (std::uint64_t n = 0; n < 100; ++n) put(n, limited(1 + n % 20, {1, 60}));
  EXPECT_EQ(drain().size(), 20u);
  EXPECT_EQ(Control(*producer_).purge(queue_, now_), 80u);
}

TEST_F(RateLimit, AGroupIsSharedByDifferentTasks) {
  for (std::uint64_t n = 0; n < 12; ++n)
    put(n, [n](TaskSpec&, TaskExtras& extras) {
      extras.rate_key = 100 + n;  // a rate of its own that is no limit here
      extras.rate = {1000, 1};
      extras.group_rate_key = 5;
      extras.group_rate = {3, 1};
    });
  EXPECT_EQ(drain().size(), 3u);
  EXPECT_EQ(started_within(kSecondNs + kMillisecondNs), 3u);
  EXPECT_EQ(started_within(2 * kSecondNs), 6u);
}

TEST_F(RateLimit, TheTighterLimitDecides) {
  limit_queue({4, 1});
  for (std::uint64_t n = 0; n < 20; ++n) put(n, limited(9, {2, 1}));
  EXPECT_EQ(drain().size(), 2u);
  EXPECT_EQ(started_within(2 * kSecondNs + kMillisecondNs), 4u);
  EXPECT_EQ(Control(*producer_).purge(queue_, now_), 14u);
}

TEST_F(RateLimit, AQueueLimitHoldsPlainTasksAndRunsBack) {
  put_many(0, 30);  // stored as runs, before the limit was set
  limit_queue({5, 1});
  put_many(30, 10);
  EXPECT_EQ(drain().size(), 5u);
  EXPECT_EQ(started_within(kSecondNs + kMillisecondNs), 5u);
  EXPECT_EQ(started_within(6 * kSecondNs), 30u);
  EXPECT_EQ(count(shm::Counter::kSucceeded), 40u);
}

TEST_F(RateLimit, ALimitThatIsLiftedLetsTheNextOnesGo) {
  limit_queue({1, 3600});
  for (std::uint64_t n = 0; n < 3; ++n) put(n);
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{0}));
  limit_queue({});
  put(3);
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{3})) << "those held back keep the time they were given";
  pass(2 * kHourNs + kSecondNs);
  EXPECT_EQ(drain().size(), 2u);
}

TEST_F(RateLimit, EachAttemptPaysAndWaitingPaysOnce) {
  put(1, limited(3, {1, 60}));
  put(2, limited(3, {1, 60}));
  auto first = start();
  ASSERT_TRUE(first);
  EXPECT_FALSE(start());
  EXPECT_EQ(began_, Begin::kLimited);
  EXPECT_TRUE(fail(*first, "error", "no", 0));
  EXPECT_FALSE(start()) << "a retry takes a token too: the one after the second task's";
  pass(60 * kSecondNs + kMillisecondNs);
  auto second = start();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->number(), 2u);
  EXPECT_FALSE(start());
  EXPECT_EQ(succeed(*second), Settled::kDone);
  pass(60 * kSecondNs);
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{1}));
  EXPECT_EQ(count(shm::Counter::kRateDenied), 2u);
}

// The time it was given is not taken from it when its worker dies before it could start.
TEST_F(RateLimit, ADeathDoesNotPayTwice) {
  put(1, limited(3, {1, 60}));
  {
    test::Attached victim(segment_, shm::Role::kWorker);
    ASSERT_TRUE(start(victim));
    (void)producer_->redeliver_held(victim.index(), now_);
  }
  put(2, limited(3, {1, 60}));
  std::uint64_t started = started_within(61 * kSecondNs);
  EXPECT_EQ(started, 1u) << "it runs again as a start of its own";
  started += started_within(60 * kSecondNs);
  EXPECT_EQ(started, 2u);
}

TEST_F(RateLimit, AnUnusedTokenIsNotSavedUp) {
  put(0, limited(4, {5, 1}));
  EXPECT_EQ(drain().size(), 1u);
  pass(kHourNs);
  for (std::uint64_t n = 0; n < 20; ++n) put(n, limited(4, {5, 1}));
  EXPECT_EQ(drain().size(), 5u);
  EXPECT_EQ(Control(*producer_).purge(queue_, now_), 15u);
}

TEST_F(RateLimit, AFullTableLetsEverythingThrough) {
  Limiter limiter(*segment_);
  const std::uint32_t rows = segment_->geometry().limiter_count;
  for (std::uint64_t key = 1; key <= 2 * std::uint64_t{rows}; ++key) (void)limiter.take_rate(key, {1, 3600}, LimitsOf::kHost, 0, now_);
  // Keys that found a row are limited; those that found none are not.
  std::uint64_t open = 0, closed = 0;
  for (std::uint64_t key = 1; key <= 2 * std::uint64_t{rows}; ++key)
    (limiter.take_rate(key, {1, 3600}, LimitsOf::kHost, 0, now_).at_ns > now_ ? closed : open)++;
  EXPECT_GT(closed, rows / 2);
  EXPECT_GT(open, rows / 2);
}

}  // namespace
}  // namespace stem::engine
