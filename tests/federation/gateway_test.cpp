// Real gateways, real workers, a real Redis: what becomes of every task when any of them goes away.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <random>
#include <set>
#include <thread>

#include "base/clock.hpp"
#include "engine/outbox.hpp"
#include "engine/query.hpp"
#include "federation/ended_log.hpp"
#include "federation/iso_time.hpp"
#include "federation/keys.hpp"
#include "federation/records.hpp"
#include "federation/scripts.hpp"
#include "federation/task_search.hpp"
#include "federation/transcript.hpp"
#include "shm/death.hpp"
#include "tests/federation/gateway_fixture.hpp"
#include "tests/support/wait.hpp"

namespace stem::test {
namespace {

using shm::Counter;
using shm::State;

TEST_F(GatewayTest, WorkGoesWhereTheWorkersAreAndNothingIsLeft) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  const std::string log = keys.ended("q");
  for (int i = 1; i <= 300; ++i) {
    const std::string long_ago = "1-" + std::to_string(i);
    (void)ask({"XADD", log, long_ago, "ended", "old"});
  }
  a.start_gateway();
  b.start_worker();
  b.start_gateway();
  for (std::uint64_t i = 0; i < 200; ++i) (void)a.enqueue(i);
  a.enqueue_many(200, 1000);
  ASSERT_TRUE(wait_until([&] { return ran() == 1000; }, kLong)) << ran() << " ran";
  expect_clean({&a, &b});
  EXPECT_EQ(ledger.extra(), 0u);
  EXPECT_EQ(a.counter(Counter::kExported), 1000u);
  EXPECT_EQ(b.counter(Counter::kImported), 1000u);
  EXPECT_GT(a.round_trips(), 0u);
  EXPECT_GT(b.round_trips(), 0u);
  // Nobody waits for their results: Redis keeps only which ones have ended, for an hour.
  EXPECT_TRUE(ask({"KEYS", "*:result:*"}).elements.empty());
  std::set<federation::EndMark> ended;
  for (federation::EndedPage next{"-", true}; next.more;)
    ASSERT_TRUE(federation::each_mark(ask({"EVAL", federation::kEndedScript, "1", log, next.from}), next,
                                      [&](federation::EndMark mark) { ended.insert(mark); }));
  EXPECT_TRUE(ask({"XRANGE", log, "1-1", "1-1"}).elements.empty()) << "what is older goes";
  EXPECT_EQ(ended.size(), 1000u);
  EXPECT_GT(ask({"PTTL", log}).integer, 0);
  EXPECT_LE(ask({"PTTL", log}).integer, 3'600'000);
}

TEST_F(GatewayTest, ALogOfTheEndedThatTakesNoMarkIsBegunAnew) {
  const std::string log = keys.ended("q"), last = "18446744073709551615-18446744073709551615";
  Host a(server.url(), ledger), b(server.url(), ledger);
  a.start_gateway();
  b.start_worker();
  b.start_gateway();
  (void)ask({"SET", log, "no stream"});
  for (std::uint64_t i = 0; i < 10; ++i) (void)a.enqueue(i);
  ASSERT_TRUE(wait_until([&] { return ran() == 10; }, kLong));
  expect_clean_streams();
  (void)ask({"XADD", log, last, "ended", "the last id"});
  for (std::uint64_t i = 10; i < 20; ++i) (void)a.enqueue(i);
  ASSERT_TRUE(wait_until([&] { return ran() == 20; }, kLong));
  expect_clean({&a, &b});
  EXPECT_GT(ask({"XLEN", log}).integer, 0);
}

TEST_F(GatewayTest, ATaskThatHasEndedIsFoundAgainByWhoAsksAgain) {
  std::string marks;
  federation::append_mark(marks, "some-task");
  (void)ask({"XADD", keys.stream("q", 0), "*", "id", "other"});
  (void)ask({"XADD", keys.ended("q"), "*", "ended", marks});
  auto client = federation::BlockingClient::connect(Connected::quick(server.url()));
  ASSERT_TRUE(client.ok());
  federation::TaskSearch search(**client, keys);
  for (int i = 0; i < 2; ++i) {
    const auto found = search.find("some-task");
    ASSERT_TRUE(found.ok() && *found) << i;
    EXPECT_EQ((*found)->state, federation::kEndedState);
  }
}

TEST_F(GatewayTest, AResultComesBackToWhoWaitsForIt) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  a.start_gateway();
  b.start_worker();
  b.start_gateway();
  const engine::TaskId id = a.enqueue(42, /*keep_result=*/true);
  std::vector<std::byte> bytes;
  engine::FailureRecord failure;
  ASSERT_TRUE(wait_until(
      [&] { return engine::read_result(*a.engine(), id, bytes, failure) == engine::ResultState::kSucceeded; }));
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), "{\"ran\":{\"n\":42}}");
}

TEST_F(GatewayTest, WhatFailsForGoodIsADeadLetterInRedis) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  a.start_gateway();
  b.start_worker(Conduct::kFailForGood);
  b.start_gateway();
  const engine::TaskId id = a.enqueue(7, /*keep_result=*/true);
  ASSERT_TRUE(wait_until([&] { return ask({"LLEN", keys.dead("q")}).integer == 1; }, kLong));
  federation::DeadLetter letter;
  const std::string text = ask({"LINDEX", keys.dead("q"), "0"}).text;
  ASSERT_TRUE(decode_json(text, letter).ok()) << text;
  EXPECT_EQ(letter.reason, "permanent-failure");
  EXPECT_EQ(letter.envelope.args, "{\"n\":7}");
  EXPECT_EQ(letter.envelope.priority, 7);
  std::vector<std::byte> bytes;
  engine::FailureRecord failure;
  ASSERT_TRUE(wait_until(
      [&] { return engine::read_result(*a.engine(), id, bytes, failure) == engine::ResultState::kFailed; }, kLong));
  EXPECT_EQ(failure.message(), "it never works");
  EXPECT_EQ(in_redis(), (std::pair<std::int64_t, std::int64_t>(0, 0)));
  EXPECT_TRUE(wait_until([&] { return slots_in(b.segment(), State::kDead) == 0; }, kLong));
}

// Gateways of both sides, killed again and again, asleep or spinning: each task runs, and runs once.
TEST_F(GatewayTest, GatewaysKilledAtAnyTimeNeitherLoseNorDoubleATask) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  b.start_worker();
  a.start_gateway();
  b.start_gateway();
  std::mt19937 random(1);
  std::uint64_t next = 0;
  int kills = 0;
  while (next < 6000 || ran() < 6000) {
    if (next < 6000) {
      a.enqueue_many(next, next + 150);
      next += 150;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5 + random() % 60));
    if (next >= 6000 && kills >= 40) break;
    Host& victim = random() % 2 == 0 ? a : b;
    victim.kill_gateway();
    ++kills;
    victim.gateway_options().spin_ns = random() % 2 == 0 ? 0 : 1'000'000'000;
    victim.start_gateway();
  }
  ASSERT_TRUE(wait_until([&] { return ran() == 6000; }, std::chrono::seconds(60)))
      << ran() << " ran after " << kills << " kills";
  expect_clean({&a, &b});
  EXPECT_EQ(ledger.extra(), 0u) << kills << " kills";
  EXPECT_GE(kills, 40);
}

TEST_F(GatewayTest, RedisKilledAndBackLosesNothing) {
  RedisServer::Options options;
  options.arguments = {"--appendonly", "yes", "--appendfsync", "always"};
  RedisServer durable(options);
  Host a(durable.url(), ledger), b(durable.url(), ledger);
  b.start_worker();
  a.start_gateway();
  b.start_gateway();
  for (int round = 0; round < 4; ++round) {
    a.enqueue_many(static_cast<std::uint64_t>(round) * 500, static_cast<std::uint64_t>(round + 1) * 500);
    std::this_thread::sleep_for(std::chrono::milliseconds(30 + 40 * round));
    durable.kill();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    durable.restart();
  }
  ASSERT_TRUE(wait_until([&] { return ran() == 2000; }, std::chrono::seconds(60))) << ran();
  EXPECT_EQ(ledger.extra(), 0u);
  EXPECT_TRUE(wait_until([&] { return slots_in(a.segment(), State::kOutbox) == 0; }, kLong));
}

// A whole host goes with tasks in hand: another has them after their visibility timeout.
TEST_F(GatewayTest, ALostHostsTasksRunElsewhere) {
  Host a(server.url(), ledger), b(server.url(), ledger), c(server.url(), ledger);
  a.start_gateway();
  b.start_worker(Conduct::kHang);
  b.start_gateway();
  for (std::uint64_t i = 0; i < 20; ++i) (void)a.enqueue(i, false, 500'000'000);
  ASSERT_TRUE(wait_until([&] { return b.counter(Counter::kImported) > 0 && ran() > 0; }, kLong));
  b.kill_workers();
  b.kill_gateway();
  c.start_worker();
  c.start_gateway();
  ASSERT_TRUE(wait_until([&] { return ran() == 20; }, kLong)) << ran();
  EXPECT_TRUE(wait_until([&] { return in_redis() == std::pair<std::int64_t, std::int64_t>(0, 0); }, kLong));
  EXPECT_LE(ledger.extra(), 1u) << "only what had started on the lost host";
}

// Workers gone, gateway there: what waits there goes to who has workers, under its own name.
TEST_F(GatewayTest, AHostWithoutWorkersGivesBackWhatWaits) {
  Host a(server.url(), ledger), b(server.url(), ledger), c(server.url(), ledger);
  a.start_gateway();
  b.start_worker(Conduct::kHang);
  b.start_gateway();
  for (std::uint64_t i = 0; i < 20; ++i) (void)a.enqueue(i);
  ASSERT_TRUE(wait_until([&] { return b.counter(Counter::kImported) >= 10 && ran() > 0; }, kLong));
  b.kill_workers();
  b.sweep();
  c.start_worker();
  c.start_gateway();
  ASSERT_TRUE(wait_until([&] { return ran() == 20; }, kLong)) << ran();
  expect_clean({&a, &b, &c});
  EXPECT_EQ(ledger.extra(), 1u) << "only what had started";
  EXPECT_EQ(b.counter(Counter::kExported), 0u) << "they are a's";
}

// Stopped beyond its leases, then let go on: what it says then counts for nothing.
TEST_F(GatewayTest, AHostThatComesBackLateIsFenced) {
  Host a(server.url(), ledger), b(server.url(), ledger), c(server.url(), ledger);
  a.start_gateway();
  b.start_worker(Conduct::kHang);
  b.start_gateway();
  (void)a.enqueue(3, true, 400'000'000);
  ASSERT_TRUE(wait_until([&] { return ran() == 1; }, kLong));
  b.gateway().stop();
  c.start_worker();
  c.start_gateway();
  ASSERT_TRUE(wait_until([&] { return ledger.runs(3) == 2; }, kLong)) << "the other host has it";
  ASSERT_TRUE(wait_until([&] { return in_redis() == std::pair<std::int64_t, std::int64_t>(0, 0); }, kLong));
  b.kill_workers();  // its task comes back there, and would run again
  b.sweep();
  b.gateway().resume();
  EXPECT_TRUE(wait_until(
      [&] { return slots_in(b.segment(), State::kReady) + slots_in(b.segment(), State::kDone) == 0; }, kLong))
      << "the late host gives it up";
  EXPECT_EQ(ledger.runs(3), 2u);
}

TEST_F(GatewayTest, WhatOthersWriteIsRunSettledOrRefused) {
  Host b(server.url(), ledger);
  b.start_worker();
  b.start_gateway();
  const std::string stream = keys.stream("q", 0), high = keys.stream("q", 9);
  (void)ask({"XADD", stream, "*", "id", "dart-1", "name", "count", "args", "{\"n\":1}"});
  (void)ask({"XADD",
             high,
             "*",
             "id",
             "dart-2",
             "name",
             "count",
             "args",
             "{\"n\":2}",
             "headers",
             "{}",
             "enqueuedAt",
             "2026-01-31T12:03:04.123456Z",
             "notBefore",
             "",
             "priority",
             "9",
             "attempt",
             "2",
             "maxRetries",
             "5",
             "visibilityTimeout",
             "60000",
             "queue",
             "q",
             "meta",
             "{}",
             "somethingNew",
             "x"});
  (void)ask({"XADD", stream, "*", "nonsense", "1"});
  const std::string due = std::to_string(
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count() +
      300);
  (void)ask({"ZADD", keys.delayed("q"), due, R"({"id":"dart-3","name":"count","args":{"n":3},"queue":"q"})"});
  ASSERT_TRUE(wait_until([&] { return ran() == 3; }, kLong)) << ran();
  ASSERT_TRUE(wait_until([&] { return in_redis() == std::pair<std::int64_t, std::int64_t>(0, 0); }, kLong));
  ASSERT_EQ(ask({"LLEN", keys.dead("q")}).integer, 1);
  federation::DeadLetter letter;
  const std::string text = ask({"LINDEX", keys.dead("q"), "0"}).text;
  ASSERT_TRUE(decode_json(text, letter).ok()) << text;
  EXPECT_EQ(letter.reason, "payload-invalid");
  federation::TaskStatus status;
  const std::string result = ask({"GET", keys.result("q", "dart-2")}).text;
  ASSERT_TRUE(decode_json(result, status).ok()) << result;
  EXPECT_EQ(status.state, "succeeded");
  EXPECT_EQ(status.payload, "{\"ran\":{\"n\":2}}");
  EXPECT_EQ(ask({"ZCARD", keys.delayed("q")}).integer, 0);
}

// On a host without workers nobody else would let it go.
TEST_F(GatewayTest, ADelayedTaskOfAHostWithoutWorkersLeavesWhenItIsDue) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  a.start_gateway();
  b.start_worker();
  b.start_gateway();
  const std::string_view payload = "{\"n\":5}";
  engine::TaskSpec spec;
  spec.queue = a.queue();
  spec.task = must_task(a.segment(), "count");
  spec.payload = std::as_bytes(std::span(payload));
  spec.due_ns = base::monotonic_ns() + 50'000'000;
  ASSERT_EQ(a.engine()->enqueue(spec, base::monotonic_ns()).status, engine::EnqueueStatus::kOk);
  EXPECT_TRUE(wait_until([&] { return ledger.runs(5) == 1; }, kLong));
}

// Somebody else is at sweeping the gateway before: what it left is waited for, not passed by.
TEST_F(GatewayTest, AStartWaitsUntilItsPredecessorIsSwept) {
  Host a(server.url(), ledger);
  std::uint32_t dead = 0;
  {
    Process before([&] {
      Attached self(must_attach("test", a.gateway_options().directory), shm::Role::kGateway);
      engine::Outbox outbox(*self);
      engine::Parcel parcel;
      std::vector<engine::Lease> imported;
      while (outbox.take(a.queue(), &parcel, 1, imported, base::monotonic_ns()) == 0) std::this_thread::yield();
      return ::raise(SIGKILL);
    });
    (void)a.enqueue(1);
    ASSERT_EQ(before.wait(), 128 + SIGKILL);
  }
  for (const auto& one : engine::Query(*a.engine()).workers())
    if (one.role == shm::Role::kGateway) dead = one.participant;
  auto sweeping = shm::DeathProof::obtain(a.segment(), dead);
  ASSERT_TRUE(sweeping);
  a.start_gateway();
  EXPECT_FALSE(wait_until(
      [&] {
        return ask({"CLIENT", "LIST"}).text.find("stem-gateway") != std::string::npos;
      },
      std::chrono::milliseconds(300)));
  sweeping.reset();
  a.sweep();
  EXPECT_TRUE(wait_until([&] { return a.counter(Counter::kExported) == 1; }, kLong));
}

TEST_F(GatewayTest, AQueueNamedTwiceIsImportedOnce) {
  Host b(server.url(), ledger);
  const std::string stream = keys.stream("q", 0), group = keys.group("q");
  const std::string consumer = federation::Transcript(b.segment()).host();
  for (int i = 0; i < 20; ++i) {
    const std::string id = "t-" + std::to_string(i), args = "{\"n\":" + std::to_string(i) + "}";
    (void)ask({"XADD", stream, "*", "id", id, "name", "count", "args", args});
  }
  (void)ask({"XGROUP", "CREATE", stream, group, "0"});
  (void)ask({"XREADGROUP", "GROUP", group, consumer, "STREAMS", stream, ">"});  // by a gateway that was killed
  b.gateway_options().imports = {"q", "q"};
  b.start_worker();
  b.start_gateway();
  ASSERT_TRUE(wait_until([&] { return ran() == 20; }, kLong)) << ran();
  expect_clean({&b});
  EXPECT_EQ(ledger.extra(), 0u);
}

// A delayed task that cannot be moved stays what it is, or is a dead letter; it never is nowhere.
TEST_F(GatewayTest, ADelayedTaskThatCannotMoveIsNotLost) {
  Host b(server.url(), ledger);
  (void)ask({"SET", keys.stream("q", 4), "not a stream"});
  (void)ask({"ZADD", keys.delayed("q"), "1", R"({"id":"a","name":"count","args":{"n":1},"priority":4})"});
  std::string wide = R"({"id":"b","name":"count","args":{"n":2})";
  for (int i = 0; i < 5000; ++i) wide += ",\"f" + std::to_string(i) + "\":\"x\"";
  wide += '}';
  (void)ask({"ZADD", keys.delayed("q"), "2", wide});
  (void)ask({"ZADD", keys.delayed("q"), "3", R"({"id":"c","name":"count","args":{"n":3}})"});
  b.start_worker();
  b.start_gateway();
  ASSERT_TRUE(wait_until([&] { return ask({"ZCARD", keys.delayed("q")}).integer <= 1; }, kLong));
  EXPECT_TRUE(wait_until([&] { return ask({"LLEN", keys.dead("q")}).integer == 1; }, kLong));
  EXPECT_EQ(ask({"ZSCORE", keys.delayed("q"), R"({"id":"a","name":"count","args":{"n":1},"priority":4})"}).text, "1");
  (void)ask({"DEL", keys.stream("q", 4)});
  EXPECT_TRUE(wait_until([&] { return ran() == 2; }, kLong)) << ran();
}

// More than one reply may carry: what waits in a stream when an answer was lost, and results that are there together.
TEST_F(GatewayTest, LargePayloadsAndResultsDoNotStopTheGateway) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  const std::string stream = keys.stream("q", 0);
  const std::string args = "{\"x\":\"" + std::string(1'000'000, 'x') + "\"}";
  for (int i = 0; i < 80; ++i) {
    const std::string id = "large-" + std::to_string(i);
    (void)ask({"XADD", stream, "*", "id", id, "name", "count", "args", args});
  }
  const engine::TaskId large = a.enqueue(50, /*keep_result=*/true);
  std::vector<engine::TaskId> ids;
  for (std::uint64_t i = 0; i < 9; ++i) ids.push_back(a.enqueue(i * 10, /*keep_result=*/true));
  {
    Attached before(must_attach("test", a.gateway_options().directory), shm::Role::kGateway);  // killed before it knew
    engine::Outbox outbox(*before);
    engine::Parcel parcels[16];
    std::vector<engine::Lease> imported;
    const std::uint32_t n = outbox.take(a.queue(), parcels, 16, imported, base::monotonic_ns());
    ASSERT_EQ(n, 10u);
    for (std::uint32_t i = 0; i < n; ++i) outbox.leave(parcels[i]);
  }
  const std::string host = federation::Transcript(a.segment()).host();
  const std::string result = R"({"id":"x","state":"succeeded","payload":")" + std::string(2'000'000, 'y') + "\"}";
  for (const engine::TaskId id : ids) {
    const std::string wire = federation::wire_id(host, id);
    (void)ask({"SET", keys.result("q", wire), result});
  }
  a.gateway_options().imports.clear();
  a.start_gateway();
  std::vector<std::byte> bytes;
  engine::FailureRecord failure;
  for (const engine::TaskId id : ids) {
    ASSERT_TRUE(wait_until(
        [&] { return engine::read_result(*a.engine(), id, bytes, failure) == engine::ResultState::kFailed; }));
    EXPECT_EQ(failure.kind(), "result-too-large");
  }
  EXPECT_TRUE(wait_until([&] { return ask({"XLEN", stream}).integer == 81; }, kLong)) << "the tenth is sent";
  EXPECT_EQ(engine::read_result(*a.engine(), large, bytes, failure), engine::ResultState::kPending);
}

TEST_F(GatewayTest, LargeEntriesThatArePendingComeOneByOne) {
  Host b(server.url(), ledger);
  const std::string stream = keys.stream("q", 0), group = keys.group("q");
  const std::string consumer = federation::Transcript(b.segment()).host();
  (void)ask({"XGROUP", "CREATE", stream, group, "0", "MKSTREAM"});
  for (int i = 0; i < 80; ++i) {
    const std::string id = "t-" + std::to_string(i);
    const std::string args = "{\"n\":" + std::to_string(i) + ",\"x\":\"" + std::string(1'000'000, 'x') + "\"}";
    (void)ask({"XADD", stream, "*", "id", id, "name", "count", "args", args});
    (void)ask({"XREADGROUP", "GROUP", group, consumer, "STREAMS", stream, ">"});  // by a gateway that was killed
  }
  b.start_worker();
  b.start_gateway();
  EXPECT_TRUE(wait_until([&] { return ran() == 80; }, kLong)) << ran();
  EXPECT_EQ(ledger.extra(), 0u);
}

TEST_F(GatewayTest, ASecondGatewayOfAHostIsRefused) {
  Host a(server.url(), ledger);
  a.start_gateway();
  Host* host = &a;
  ASSERT_TRUE(wait_until(
      [&] {
        for (const auto& worker : engine::Query(*host->engine()).workers())
          if (worker.role == shm::Role::kGateway) return true;
        return false;
      },
      kLong));
  const auto second = federation::run_gateway(a.gateway_options());
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message.find("has a gateway already"), std::string::npos) << second.error().message;
}

// Without Redis local work goes on, and what waits in the outbox goes when it is back.
TEST_F(GatewayTest, ALongStopOfRedisStopsNobody) {
  Host a(server.url(), ledger);
  a.start_worker();
  a.start_gateway();
  (void)a.enqueue(0);
  ASSERT_TRUE(wait_until([&] { return ran() == 1; }, kLong));
  server.stop();
  for (std::uint64_t i = 1; i < 16; ++i) (void)a.enqueue(i);
  EXPECT_TRUE(wait_until([&] { return ran() == 16; }, kLong)) << "local work waits for Redis";
  server.resume();
}

// Told to stop while Redis stands still: what is on its way stays for the next gateway.
TEST_F(GatewayTest, AStopWhileRedisIsSilentLosesNothing) {
  Host a(server.url(), ledger);
  a.gateway_options().drain_ns = 50'000'000;
  a.gateway_options().imports.clear();
  a.start_gateway();
  (void)a.enqueue(0);
  ASSERT_TRUE(wait_until([&] { return a.counter(Counter::kExported) == 1; }, kLong));
  server.stop();
  for (std::uint64_t i = 1; i < 60; ++i) (void)a.enqueue(i);
  ASSERT_TRUE(wait_until([&] { return slots_in(a.segment(), State::kOutbox) == 59; }, kLong));
  a.gateway().signal(SIGTERM);
  EXPECT_EQ(a.gateway().wait(), 0);
  server.resume();
  a.start_gateway();
  EXPECT_TRUE(wait_until([&] { return a.counter(Counter::kExported) == 60; }, kLong));
  EXPECT_EQ(in_redis().first, 60);
}

TEST_F(GatewayTest, AFlushedDatabaseIsSetUpAgain) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  a.start_gateway();
  b.start_worker();
  b.start_gateway();
  (void)a.enqueue(0);
  ASSERT_TRUE(wait_until([&] { return ran() == 1; }, kLong));
  (void)ask({"FLUSHALL"});
  (void)a.enqueue(1);
  EXPECT_TRUE(wait_until([&] { return ran() == 2; }, kLong));
}

}  // namespace
}  // namespace stem::test
