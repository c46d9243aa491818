// Unique keys that hold on all hosts: of the tasks with one key one lives, whichever host made it.
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/clock.hpp"
#include "engine/control.hpp"
#include "engine/query.hpp"
#include "tests/federation/gateway_fixture.hpp"

namespace stem::test {
namespace {

class SharedKeys : public GatewayTest {
 protected:
  void begin(std::initializer_list<Host*> hosts) {
    for (Host* host : hosts) host->start_gateway();
    for (Host* host : hosts) ASSERT_TRUE(wait_until([&] { return asks(*host); }, kLong));
  }
  static shm::KeysShared keys_of(Host& host) {
    return shm::KeysShared::unpack(host.segment().queue(host.queue()).keys_shared.load());
  }
  // True when unique keys of the queue are asked for in Redis.
  static bool asks(Host& host) { return keys_of(host).until_ns > base::monotonic_ns(); }
  // A task with the key, for a minute, whose end is awaited.
  engine::TaskId put(Host& host, std::uint64_t key, std::int64_t for_ns = 60'000'000'000) {
    const auto made = offer(host, key, for_ns);
    EXPECT_EQ(made.status, engine::EnqueueStatus::kOk);
    return made.id;
  }
  static engine::EnqueueResult offer(Host& host, std::uint64_t key, std::int64_t for_ns = 60'000'000'000) {
    const std::string payload = "{\"n\":" + std::to_string(key) + "}";
    engine::TaskSpec spec;
    engine::TaskExtras extras;
    extras.unique_key = key;
    extras.unique_for_ns = for_ns;
    extras.unique_everywhere = true;
    spec.queue = host.queue();
    spec.keep_result = true;
    spec.payload = std::as_bytes(std::span(payload));
    spec.extras = &extras;
    return host.engine()->enqueue(spec, base::monotonic_ns());
  }
  // How it ended: "succeeded", or the kind of its failure.
  static std::string end_of(Host& host, engine::TaskId id, engine::Keeper* keeper = nullptr) {
    std::vector<std::byte> bytes;
    engine::FailureRecord failure;
    engine::ResultState state = engine::ResultState::kPending;
    EXPECT_TRUE(wait_until(
        [&] {
          if (keeper != nullptr) (void)keeper->step(base::monotonic_ns());
          return (state = engine::read_result(*host.engine(), id, bytes, failure)) != engine::ResultState::kPending;
        },
        kLong));
    return state == engine::ResultState::kSucceeded ? "succeeded" : std::string(failure.kind());
  }
};

TEST_F(SharedKeys, OfTwoHostsTasksWithOneKeyOneRuns) {
  Host a(server.url(), ledger), b(server.url(), ledger), c(server.url(), ledger);
  for (Host* host : {&a, &b}) host->gateway_options().policy = federation::Policy::kGlobal;
  begin({&a, &b});
  const engine::TaskId first = put(a, 7);
  ASSERT_TRUE(wait_until([&] { return in_redis().first == 1; }, kLong));
  const engine::TaskId second = put(b, 7), other = put(b, 8);
  EXPECT_EQ(end_of(b, second), "duplicate");
  c.start_worker();
  begin({&c});
  EXPECT_EQ(end_of(a, first), "succeeded");
  EXPECT_EQ(end_of(b, other), "succeeded");
  EXPECT_EQ(ledger.runs(7), 1u);
  EXPECT_TRUE(wait_until([&] { return ask({"KEYS", "stem:unique:*"}).elements.empty(); }, kLong));
  // The key is free again.
  const engine::TaskId third = put(b, 7);
  EXPECT_EQ(end_of(b, third), "succeeded");
  EXPECT_EQ(ledger.runs(7), 2u);
}

TEST_F(SharedKeys, AKeyIsFreeWhenItsTimeIsOver) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  for (Host* host : {&a, &b}) host->gateway_options().policy = federation::Policy::kGlobal;
  begin({&a, &b});
  (void)put(a, 7, 300'000'000);
  ASSERT_TRUE(wait_until([&] { return in_redis().first == 1; }, kLong));
  ASSERT_TRUE(wait_until([&] { return ask({"KEYS", "stem:unique:*"}).elements.empty(); }, kLong));
  (void)put(b, 7);
  EXPECT_TRUE(wait_until([&] { return in_redis().first == 2; }, kLong));
}

TEST_F(SharedKeys, ATaskThatIsSentAgainHasItsOwnKey) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  for (Host* host : {&a, &b}) host->gateway_options().policy = federation::Policy::kGlobal;
  b.start_worker();
  begin({&a});
  const engine::TaskId id = put(a, 7);
  ASSERT_TRUE(wait_until([&] { return in_redis().first == 1; }, kLong));
  // Redis loses the entry, and not the key.
  EXPECT_EQ(ask({"XTRIM", "stem:stream:q", "MAXLEN", "0"}).integer, 1);
  a.kill_gateway();
  a.sweep();
  begin({&a, &b});
  EXPECT_EQ(end_of(a, id), "succeeded");
}

// ---- with the policy local-first: tasks that could run where they were made

TEST_F(SharedKeys, OfTwoHostsThatCouldRunTheirOwnOneDoes) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  for (Host* host : {&a, &b}) host->start_worker(Conduct::kUntilRevoked);
  for (Host* host : {&a, &b}) host->start_worker(Conduct::kUntilRevoked);
  begin({&a, &b});
  const engine::TaskId first = put(a, 7);
  ASSERT_TRUE(wait_until([&] { return ledger.runs(7) == 1; }, kLong));
  EXPECT_EQ(end_of(b, put(b, 7)), "duplicate");
  const engine::TaskId other = put(b, 8);
  EXPECT_TRUE(wait_until([&] { return ledger.runs(8) == 1; }, kLong));
  EXPECT_EQ(ledger.runs(7), 1u);
  // Its key is free when it has ended, however it did.
  (void)engine::Control(*a.engine()).revoke(first, /*terminate=*/true, base::monotonic_ns());
  EXPECT_EQ(end_of(a, first), "revoked");
  const engine::TaskId third = put(b, 7);
  EXPECT_TRUE(wait_until([&] { return ledger.runs(7) == 2; }, kLong));
  for (const engine::TaskId id : {other, third})
    (void)engine::Control(*b.engine()).revoke(id, /*terminate=*/true, base::monotonic_ns());
  EXPECT_TRUE(wait_until([&] { return ask({"KEYS", "stem:unique:*"}).elements.empty(); }, kLong));
}

TEST_F(SharedKeys, KilledGatewaysLetNoTwoRun) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  for (Host* host : {&a, &b}) {
    host->gateway_options().unique_keys = federation::UniqueKeys::kFailClosed;
    for (int i = 0; i < 2; ++i) host->start_worker(Conduct::kTakeTime);
  }
  begin({&a, &b});
  std::vector<std::pair<Host*, engine::TaskId>> accepted;
  for (int i = 0; i < 200; ++i) {
    Host& host = i % 2 == 0 ? a : b;
    const auto made = offer(host, 7);
    if (made.status == engine::EnqueueStatus::kOk) accepted.emplace_back(&host, made.id);
    ::usleep(2000);
    if (i % 40 != 20) continue;
    host.kill_gateway();
    host.sweep();
    host.start_gateway();
  }
  std::uint32_t succeeded = 0, duplicates = 0;
  for (const auto& [host, id] : accepted) {
    const std::string end = end_of(*host, id);
    succeeded += end == "succeeded";
    duplicates += end == "duplicate";
  }
  EXPECT_EQ(succeeded + duplicates, accepted.size()) << "each has ended, and is told how";
  EXPECT_EQ(ledger.runs(7), succeeded);
  EXPECT_GT(succeeded, 1u);
  EXPECT_GT(duplicates, 0u);
  EXPECT_EQ(ledger.most_at_once(), 1u);
  EXPECT_TRUE(wait_until([&] { return ask({"KEYS", "stem:unique:*"}).elements.empty(); }, kLong));
}

TEST_F(SharedKeys, OneThatRunsGivesItsKeyUpWhenItsTimeIsOver) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  for (Host* host : {&a, &b})
    for (int i = 0; i < 2; ++i) host->start_worker(Conduct::kUntilRevoked);
  begin({&a, &b});
  (void)put(a, 7, 1'000'000'000);
  ASSERT_TRUE(wait_until([&] { return ledger.runs(7) == 1; }, kLong));
  ASSERT_TRUE(wait_until([&] { return ask({"KEYS", "stem:unique:*"}).elements.empty(); }, kLong));
  (void)put(b, 7);
  EXPECT_TRUE(wait_until([&] { return ledger.runs(7) == 2; }, kLong));
}

TEST_F(SharedKeys, WithoutRedisEachHostsModeCounts) {
  Host open(server.url(), ledger), closed(server.url(), ledger);
  closed.gateway_options().unique_keys = federation::UniqueKeys::kFailClosed;
  for (Host* host : {&open, &closed}) host->start_worker();
  begin({&open, &closed});
  server.stop();
  ASSERT_TRUE(wait_until([&] { return !asks(open) && !asks(closed); }, kLong));
  const engine::TaskId waits = put(closed, 7);
  EXPECT_EQ(end_of(open, put(open, 7)), "succeeded") << "unique on this host alone";
  EXPECT_EQ(open.counter(shm::Counter::kUniqueDegraded), 1u);
  EXPECT_EQ(closed.counter(shm::Counter::kStarted), 0u);
  server.resume();
  EXPECT_EQ(end_of(closed, waits), "succeeded");
  EXPECT_EQ(closed.counter(shm::Counter::kUniqueDegraded), 0u);
}

TEST_F(SharedKeys, WithoutAGatewayTheyAreTheHostsOwn) {
  Host a(server.url(), ledger);
  a.start_worker();
  EXPECT_EQ(end_of(a, put(a, 1)), "succeeded") << "there never was one";
  begin({&a});
  a.kill_gateway();
  engine::Keeper supervisor(*a.engine());
  EXPECT_EQ(end_of(a, put(a, 2), &supervisor), "succeeded") << "nor does anybody wait for ever for one that is gone";
  a.sweep();
  a.gateway_options().unique_keys = federation::UniqueKeys::kFailClosed;
  begin({&a});
  a.kill_gateway();
  ASSERT_TRUE(wait_until([&] { return !asks(a); }, kLong));
  const engine::TaskId waits = put(a, 3);
  ASSERT_TRUE(wait_until([&] { return slots_in(a.segment(), shm::State::kDelayed) == 1; }, kLong));
  // The queue is exported by nobody any more.
  a.sweep();
  a.gateway_options().exports.clear();
  a.start_gateway();
  EXPECT_EQ(end_of(a, waits, &supervisor), "succeeded");
  EXPECT_EQ(keys_of(a).gateway, 0u);
}

TEST_F(SharedKeys, AQueueThatIsNotImportedHereKeepsItsOwnTasks) {
  Host a(server.url(), ledger);
  a.gateway_options().imports.clear();
  a.start_worker();
  EXPECT_EQ(end_of(a, put(a, 6)), "succeeded") << "the worker is there: nothing need leave";
  a.start_gateway();
  ASSERT_TRUE(wait_until([&] { return a.round_trips() > 0; }, kLong));
  EXPECT_EQ(end_of(a, put(a, 7)), "succeeded");
  EXPECT_EQ(keys_of(a).gateway, 0u);
  EXPECT_EQ(in_redis().first, 0);
}

}  // namespace
}  // namespace stem::test
