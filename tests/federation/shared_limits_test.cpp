// Limits that several hosts share: one count for all of them, and what becomes of it when Redis, a gateway
// or a host goes away.
#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>

#include "base/clock.hpp"
#include "federation/limit_scripts.hpp"
#include "tests/federation/gateway_fixture.hpp"

namespace stem::test {
namespace {

using shm::Counter;

class SharedLimits : public GatewayTest {
 protected:
  // True when the queue's limits are asked for in Redis.
  static bool shares(Host& host) {
    return host.segment().queue(host.queue()).limits_shared_until_ns.load() > base::monotonic_ns();
  }
  void begin(std::initializer_list<Host*> hosts) {
    for (Host* host : hosts) host->start_gateway();
    for (Host* host : hosts) ASSERT_TRUE(wait_until([&] { return shares(*host); }, kLong));
  }
  // Never more than `most`, and all of them in the end.
  void expect_at_once(std::uint64_t numbers, std::uint32_t most) {
    EXPECT_TRUE(wait_until([&] { return ran() == numbers; }, kLong)) << ran() << " ran";
    EXPECT_LE(ledger.most_at_once(), most);
    EXPECT_EQ(ledger.extra(), 0u);
  }
};

TEST_F(SharedLimits, ARateIsOneForAllHosts) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  const engine::Rate rate{100, 1};
  for (Host* host : {&a, &b}) {
    host->limit(rate, 0);
    host->gateway_options().policy = federation::Policy::kLocalOnly;
    host->start_worker();
  }
  begin({&a, &b});
  const std::int64_t began_ns = base::monotonic_ns();
  for (std::uint64_t i = 0; i < 150; ++i) {
    (void)a.enqueue(i);
    (void)b.enqueue(150 + i);
  }
  const auto too_many = [&] {
    const std::uint64_t started = a.counter(Counter::kStarted) + b.counter(Counter::kStarted);
    const double seconds = static_cast<double>(base::monotonic_ns() - began_ns) / 1e9;  // read after them
    return static_cast<double>(started) > 100 + 100 * seconds + 1;
  };
  EXPECT_TRUE(wait_until([&] { return too_many() || ran() == 300; }, kLong)) << ran() << " ran";
  EXPECT_FALSE(too_many());
  EXPECT_EQ(ran(), 300u);
  EXPECT_GT(a.counter(Counter::kStarted), 30u);
  EXPECT_GT(b.counter(Counter::kStarted), 30u);
  EXPECT_EQ(a.counter(Counter::kRateDegraded) + b.counter(Counter::kRateDegraded), 0u);
}

TEST_F(SharedLimits, AConcurrencyLimitIsOneForAllHosts) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  for (Host* host : {&a, &b}) {
    host->limit({}, 3);
    for (int i = 0; i < 3; ++i) host->start_worker(Conduct::kTakeTime);
  }
  begin({&a, &b});
  for (std::uint64_t i = 0; i < 150; ++i) {
    (void)a.enqueue(i);
    (void)b.enqueue(150 + i);
  }
  expect_at_once(300, 3);
  EXPECT_GT(a.counter(Counter::kStarted), 0u);
  EXPECT_GT(b.counter(Counter::kStarted), 0u);
  expect_clean({&a, &b});
  EXPECT_TRUE(wait_until(
      [&] {
        return ask({"KEYS", "stem:places:*"}).elements.empty();
      },
      kLong))
      << "what nobody uses is given back";
}

TEST_F(SharedLimits, TwoHostsTakeTurnsAtOnePlace) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  for (Host* host : {&a, &b}) {
    host->limit({}, 1);
    host->gateway_options().policy = federation::Policy::kLocalOnly;
    host->start_worker(Conduct::kTakeTime);
  }
  begin({&a, &b});
  for (std::uint64_t i = 0; i < 100; ++i) {
    (void)a.enqueue(i);
    (void)b.enqueue(100 + i);
  }
  // Neither waits until the other has done all of its own.
  EXPECT_TRUE(
      wait_until([&] { return a.counter(Counter::kSucceeded) > 0 && b.counter(Counter::kSucceeded) > 0; }, kLong));
  EXPECT_LT(ran(), 200u);
  expect_at_once(200, 1);
}

TEST_F(SharedLimits, AKilledGatewayTakesNoPlaceWithIt) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  for (Host* host : {&a, &b}) {
    host->limit({}, 2);
    host->gateway_options().policy = federation::Policy::kLocalOnly;
    for (int i = 0; i < 2; ++i) host->start_worker(Conduct::kTakeTime);
  }
  begin({&a, &b});
  for (std::uint64_t i = 0; i < 100; ++i) {
    (void)a.enqueue(i);
    (void)b.enqueue(100 + i);
  }
  for (int kill = 1; kill <= 4; ++kill) {
    ASSERT_TRUE(wait_until([&] { return ran() >= 20u * static_cast<unsigned>(kill); }, kLong)) << ran() << " ran";
    a.kill_gateway();
    a.sweep();
    a.start_gateway();
  }
  expect_at_once(200, 2);
}

TEST_F(SharedLimits, WithoutRedisEachTasksModeCounts) {
  Host a(server.url(), ledger);
  a.start_worker();
  begin({&a});
  server.stop();
  ASSERT_TRUE(wait_until([&] { return !shares(a); }, kLong));
  const auto limited = [&](std::uint64_t number, bool fail_closed) {
    Numbered task(a.queue(), 0, number);
    engine::TaskExtras extras;
    extras.rate_key = 5;
    extras.rate = {100, 1};
    extras.concurrency_key = 6;
    extras.concurrency_limit = 2;
    extras.limits_fail_closed = fail_closed;
    task.spec.extras = &extras;
    EXPECT_EQ(a.engine()->enqueue(task.spec, base::monotonic_ns()).status, engine::EnqueueStatus::kOk);
  };
  for (std::uint64_t i = 0; i < 10; ++i) limited(i, i % 2 == 0);
  EXPECT_TRUE(wait_until([&] { return a.counter(Counter::kSucceeded) == 5; }, kLong));
  EXPECT_TRUE(wait_until([&] { return a.counter(Counter::kRateDegraded) == 5; }, kLong));
  EXPECT_EQ(a.counter(Counter::kStarted), 5u) << "the others fail closed";
  server.resume();
  EXPECT_TRUE(wait_until([&] { return a.counter(Counter::kSucceeded) == 10; }, kLong));
}

TEST_F(SharedLimits, LocalLimitsAreEachHostsOwn) {
  Host a(server.url(), ledger);
  a.limit({1000, 1}, 4);
  a.start_worker();
  begin({&a});
  a.kill_gateway();
  a.sweep();
  a.gateway_options().local_limits = true;
  a.start_gateway();
  ASSERT_TRUE(wait_until([&] { return a.segment().queue(a.queue()).limits_shared_until_ns.load() == 0; }, kLong));
  for (std::uint64_t i = 0; i < 20; ++i) (void)a.enqueue(i);
  EXPECT_TRUE(wait_until([&] { return ran() == 20; }, kLong));
  EXPECT_TRUE(ask({"KEYS", "stem:rate:*"}).elements.empty());
}

TEST_F(SharedLimits, TravelWithTheirTask) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  b.start_worker();
  begin({&a, &b});
  for (std::uint64_t i = 0; i < 30; ++i) {
    Numbered task(a.queue(), 0, i);
    engine::TaskExtras extras;
    extras.rate_key = 0xfedcba9876543210;
    extras.rate = {20, 1};
    task.spec.extras = &extras;
    EXPECT_EQ(a.engine()->enqueue(task.spec, base::monotonic_ns()).status, engine::EnqueueStatus::kOk);
  }
  EXPECT_TRUE(wait_until([&] { return b.counter(Counter::kSucceeded) == 30; }, kLong));
  EXPECT_EQ(ask({"KEYS", "stem:rate:*"}).elements.size(), 1u);
  EXPECT_EQ(b.counter(Counter::kRateDenied) > 0, true);
}

// ---- the scripts, at a real Redis

class LimitScripts : public GatewayTest {
 protected:
  struct Taken {
    std::int64_t count = 0;
    double us = 0;
  };
  Taken take(std::string_view wanted, std::string_view interval, std::string_view tolerance) {
    const OwnedReply reply =
        ask({"EVAL", federation::kTakeRateScript, "1", "stem:rate:x", wanted, interval, tolerance, "500000"});
    EXPECT_EQ(reply.elements.size(), 2u) << reply.text;
    if (reply.elements.size() != 2) return {};
    return {reply.elements[0].integer, std::strtod(reply.elements[1].text.c_str(), nullptr)};
  }
  std::vector<std::int64_t> places(std::string_view host, std::string_view needs, std::string_view wants,
                                   std::string_view limit) {
    const OwnedReply reply =
        ask({"EVAL", federation::kTakePlacesScript, "1", "stem:places:x", host, needs, wants, limit, "30000", "200"});
    EXPECT_EQ(reply.elements.size(), 3u) << reply.text;
    std::vector<std::int64_t> values;
    for (const OwnedReply& one : reply.elements) values.push_back(one.integer);
    return values;
  }
};

TEST_F(LimitScripts, ABurstThenHalfOfTheHorizon) {
  // 10 in an hour, none of them taken: the burst is there at once, and nothing more within the horizon.
  EXPECT_EQ(take("100", "360000000", "3240000000").count, 10);
  const Taken none = take("1", "360000000", "3240000000");
  EXPECT_EQ(none.count, 0);
  EXPECT_GT(none.us, 300e6) << "the next is six minutes away, less the horizon";
  EXPECT_LT(none.us, 360e6);
  // 1000/s: 1000 at once, and half of the 500 that start within the horizon.
  (void)ask({"DEL", "stem:rate:x"});
  EXPECT_EQ(take("5000", "1000", "999000").count, 1250);
}

TEST_F(LimitScripts, ARateThatIsNonsenseInRedisIsNew) {
  for (const std::string_view nonsense : {"x", "-5", "99999999999999999999", "nan", "inf"}) {
    (void)ask({"SET", "stem:rate:x", nonsense});
    const Taken taken = take("1", "1000000", "0");
    EXPECT_LE(taken.us, 1e6) << nonsense;
    EXPECT_GE(taken.us, 0) << nonsense;
  }
}

TEST_F(LimitScripts, PlacesAreSharedAndGivenBack) {
  using Answer = std::vector<std::int64_t>;
  EXPECT_EQ(places("a", "0", "4", "4"), (Answer{4, 4, 0}));
  EXPECT_EQ(places("b", "0", "2", "4"), (Answer{0, 2, 0})) << "there is none yet";
  EXPECT_EQ(places("a", "4", "4", "4"), (Answer{4, 2, 1})) << "it is to give two back";
  EXPECT_EQ(places("a", "2", "4", "4"), (Answer{2, 2, 1}));
  EXPECT_EQ(places("b", "0", "2", "4"), (Answer{2, 2, 1}));
  EXPECT_EQ(places("a", "0", "0", "4"), (Answer{0, 0, 0}));
  EXPECT_EQ(places("b", "2", "4", "4"), (Answer{4, 4, 0}));
  EXPECT_EQ(places("b", "0", "0", "4"), (Answer{0, 0, 0}));
  EXPECT_EQ(ask({"EXISTS", "stem:places:x"}).integer, 0);
}

TEST_F(LimitScripts, TheSilentAndNonsenseHoldNoPlaces) {
  (void)ask({"HSET", "stem:places:x", "gone", "3 3 1", "odd", "many", "odder", "9 9"});
  EXPECT_EQ(places("a", "0", "4", "4"), (std::vector<std::int64_t>{4, 4, 0}));
  EXPECT_EQ(ask({"HLEN", "stem:places:x"}).integer, 1);
}

}  // namespace
}  // namespace stem::test
