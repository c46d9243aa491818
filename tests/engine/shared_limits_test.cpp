// Limits that a gateway keeps with other hosts: places come from what it has got, and from nowhere else.
#include "engine/shared_limits.hpp"

#include "virtual_host.hpp"

namespace stem::engine {
namespace {

constexpr std::uint64_t kKey = 77;

class SharedLimitsTest : public VirtualHost {
 protected:
  SharedLimitsTest() : limits_(*gateway_) { share(); }
  void share() { limits_.share(queue_, now_ + kHourNs); }

  static auto rate(Rate of, bool fail_closed = false) {
    return [of, fail_closed](TaskSpec&, TaskExtras& extras) {
      extras.rate_key = kKey;
      extras.rate = of;
      extras.limits_fail_closed = fail_closed;
    };
  }
  static auto at_once(std::uint32_t most, bool fail_closed = false) {
    return [most, fail_closed](TaskSpec&, TaskExtras& extras) {
      extras.concurrency_key = kKey;
      extras.concurrency_limit = most;
      extras.limits_fail_closed = fail_closed;
    };
  }
  // The one row that was asked for.
  std::uint32_t called() {
    std::vector<std::uint32_t> rows;
    limits_.called(rows);
    EXPECT_EQ(rows.size(), 1u);
    return rows.empty() ? 0 : rows[0];
  }
  // Starts as many as may start now, and leaves them running.
  std::vector<Held> start_all() {
    std::vector<Held> running;
    for (int nothing = 0; nothing < 3;) {
      Held held;
      if (worker_->claim(queue_, &held.lease, 1, now_) != 1) {
        ++nothing;
      } else if (worker_->view(held.lease, held.view) && worker_->begin(held.lease, held.view, now_) == Begin::kStart) {
        running.push_back(held);
      }
    }
    return running;
  }

  test::Attached gateway_{segment_, shm::Role::kGateway};
  SharedLimits limits_;
};

TEST_F(SharedLimitsTest, NobodyStartsWithoutAPlaceOfTheCluster) {
  for (std::uint64_t n = 0; n < 3; ++n) put(n, rate({10, 1}));
  EXPECT_TRUE(drain().empty());
  EXPECT_EQ(limits_.key(called()), kKey);
  EXPECT_TRUE(limits_.is_rate(called()));
  EXPECT_EQ(limits_.rate(called()), (Rate{10, 1}));
  EXPECT_EQ(limits_.take_wanted(called()), 3u);
  pass(kSecondNs);
  EXPECT_TRUE(drain().empty());
  EXPECT_EQ(limits_.take_wanted(called()), 3u) << "they asked again";
}

TEST_F(SharedLimitsTest, EachPlaceIsOneStartAtItsTime) {
  for (std::uint64_t n = 0; n < 6; ++n) put(n, rate({10, 1}));
  EXPECT_TRUE(drain().empty());
  // Two at once, two half a second from now.
  EXPECT_EQ(limits_.add_places(called(), now_, 2, now_ + 5 * kSecondNs, now_), 0);
  EXPECT_EQ(limits_.add_places(called(), now_ + 1400 * kMillisecondNs, 2, now_ + 5 * kSecondNs, now_), 1);
  EXPECT_EQ(limits_.add_places(called(), now_, 2, now_ + kSecondNs, now_), -1) << "both batches have places left";
  EXPECT_EQ(limits_.places(called(), now_).left, 4u);
  pass(2 * kMillisecondNs);
  EXPECT_EQ(drain().size(), 2u);
  pass(480 * kMillisecondNs);
  EXPECT_EQ(drain().size(), 0u) << "the others have their places, and wait for their time";
  EXPECT_EQ(limits_.places(called(), now_).left, 0u);
  pass(30 * kMillisecondNs);
  EXPECT_EQ(drain().size(), 1u);
  pass(100 * kMillisecondNs);
  EXPECT_EQ(drain().size(), 1u);
  pass(10 * kSecondNs);
  EXPECT_TRUE(drain().empty()) << "two never got a place";
  EXPECT_EQ(Control(*producer_).purge(queue_, now_), 2u);
}

TEST_F(SharedLimitsTest, PlacesThatAreOverAreNotTaken) {
  put(1, rate({10, 1}));
  EXPECT_TRUE(drain().empty());
  EXPECT_EQ(limits_.add_places(called(), now_, 5, now_ + kMillisecondNs, now_), 0);
  pass(2 * kMillisecondNs);
  EXPECT_TRUE(drain().empty());
  EXPECT_TRUE(limits_.places(called(), now_).room);
  EXPECT_EQ(limits_.add_places(called(), now_, 5, now_ + kSecondNs, now_), 0);
  pass(200 * kMillisecondNs);
  EXPECT_EQ(drain().size(), 1u);
}

TEST_F(SharedLimitsTest, ATaskWithTwoRatesTakesBothPlacesOrNone) {
  const auto both = [](TaskSpec&, TaskExtras& extras) {
    extras.rate_key = kKey;
    extras.rate = {10, 1};
    extras.group_rate_key = kKey + 1;
    extras.group_rate = {10, 1};
  };
  put(1, both);
  EXPECT_TRUE(drain().empty());
  const std::uint32_t first = called();
  EXPECT_EQ(limits_.add_places(first, now_, 1, now_ + kHourNs, now_), 0);
  pass(kSecondNs);
  EXPECT_TRUE(drain().empty());
  EXPECT_EQ(limits_.places(first, now_).left, 1u) << "the first place was given back";
  std::vector<std::uint32_t> rows;
  limits_.called(rows);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(limits_.add_places(rows[0] == first ? rows[1] : rows[0], now_, 1, now_ + kHourNs, now_), 0);
  pass(kSecondNs);
  EXPECT_EQ(drain().size(), 1u);
}

TEST_F(SharedLimitsTest, NoMoreRunThanThereArePermits) {
  for (std::uint64_t n = 0; n < 6; ++n) put(n, at_once(4));
  EXPECT_TRUE(start_all().empty());
  const std::uint32_t row = called();
  EXPECT_FALSE(limits_.is_rate(row));
  EXPECT_EQ(limits_.most_at_once(row), 4u);
  EXPECT_GT(limits_.waiting(row), 0u);
  limits_.set_permits(row, 2, now_ + kHourNs, now_);
  std::vector<Held> running = start_all();
  EXPECT_EQ(running.size(), 2u) << "those that waited were let go at once";
  limits_.lower_permits(row, 1);
  EXPECT_EQ(limits_.running(row), 2u);
  EXPECT_EQ(succeed(running.back()), Settled::kDone);
  running.pop_back();
  pass(3 * kSecondNs);
  EXPECT_TRUE(start_all().empty()) << "one permit, and one runs";
  limits_.set_permits(row, 4, now_ + kHourNs, now_);
  pass(3 * kSecondNs);
  for (const Held& held : start_all()) running.push_back(held);
  EXPECT_EQ(running.size(), 4u);
  for (const Held& held : running) EXPECT_EQ(succeed(held), Settled::kDone);
  pass(3 * kSecondNs);
  EXPECT_EQ(drain().size(), 1u);
  EXPECT_EQ(limits_.running(row), 0u);
}

TEST_F(SharedLimitsTest, ARetryAsksForAPermitAsAnyOther) {
  put(1, at_once(1));
  EXPECT_TRUE(start_all().empty());
  const std::uint32_t row = called();
  limits_.set_permits(row, 1, now_ + kHourNs, now_);
  std::vector<Held> running = start_all();
  ASSERT_EQ(running.size(), 1u);
  bool retried = false;
  EXPECT_EQ(worker_->fail(running[0].lease, running[0].view, {"error", "no"}, 0, now_, retried), Settled::kDone);
  limits_.lower_permits(row, 0);  // another host has it
  pass(10 * kSecondNs);
  EXPECT_TRUE(start_all().empty());
  limits_.set_permits(row, 1, now_ + kHourNs, now_);
  EXPECT_EQ(drain().size(), 1u);
}

TEST_F(SharedLimitsTest, FewerPermitsThanPlacesThatAreTakenLetNobodyIn) {
  for (std::uint64_t n = 0; n < 6; ++n) put(n, at_once(6));
  EXPECT_TRUE(start_all().empty());
  const std::uint32_t row = called();
  limits_.set_permits(row, 4, now_ + kHourNs, now_);
  pass(kSecondNs);
  std::vector<Held> running = start_all();
  ASSERT_EQ(running.size(), 4u);
  limits_.lower_permits(row, 2);
  for (int i = 0; i < 2; ++i) {  // those in the first places end, two beyond them go on
    EXPECT_EQ(succeed(running.front()), Settled::kDone);
    running.erase(running.begin());
  }
  pass(kSecondNs);
  EXPECT_TRUE(start_all().empty()) << "two run, and there are two permits";
  for (const Held& held : running) EXPECT_EQ(succeed(held), Settled::kDone);
  limits_.set_permits(row, 6, now_ + kHourNs, now_);
  pass(kSecondNs);
  EXPECT_EQ(drain().size(), 2u);
}

TEST_F(SharedLimitsTest, PermitsThatAreOverAreNone) {
  put(1, at_once(4));
  EXPECT_TRUE(start_all().empty());
  limits_.set_permits(called(), 4, now_ + kSecondNs, now_);
  EXPECT_EQ(limits_.permits(called(), now_), 4u);
  pass(2 * kSecondNs);
  EXPECT_EQ(limits_.permits(called(), now_), 0u);
  EXPECT_TRUE(start_all().empty());
  limits_.set_permits(called(), 4, now_ + kHourNs, now_);
  EXPECT_EQ(drain().size(), 1u);
}

TEST_F(SharedLimitsTest, WhenNobodyCanBeAskedEachTasksModeCounts) {
  limits_.share(queue_, 1);
  for (std::uint64_t n = 0; n < 3; ++n) put(n, rate({2, 1}));
  for (std::uint64_t n = 3; n < 6; ++n) put(n, at_once(2));
  put(6, rate({2, 1}, /*fail_closed=*/true));
  put(7, at_once(2, /*fail_closed=*/true));
  EXPECT_EQ(drain().size(), 5u) << "two by this host's rate, three one after the other";
  pass(kHourNs);
  EXPECT_EQ(drain().size(), 1u);
  EXPECT_EQ(count(shm::Counter::kRateDegraded), 5u) << "one of them had its place already when it started";
  pass(kHourNs);
  EXPECT_TRUE(drain().empty()) << "those that fail closed wait";
  limits_.keep(queue_);
  pass(5 * kSecondNs);
  EXPECT_EQ(drain().size(), 2u);
}

TEST_F(SharedLimitsTest, ADroppedRowIsCalledAgain) {
  put(1, rate({10, 1}));
  EXPECT_TRUE(drain().empty());
  const std::uint32_t row = called();
  EXPECT_FALSE(limits_.drop(row)) << "somebody wants it";
  EXPECT_EQ(limits_.take_wanted(row), 1u);
  EXPECT_TRUE(limits_.drop(row));
  std::vector<std::uint32_t> rows;
  limits_.called(rows);
  EXPECT_TRUE(rows.empty());
  pass(kSecondNs);
  EXPECT_TRUE(drain().empty());
  EXPECT_EQ(called(), row);
  EXPECT_EQ(Control(*producer_).purge(queue_, now_), 1u);
}

}  // namespace
}  // namespace stem::engine
