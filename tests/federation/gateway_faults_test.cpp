// Faults of Redis and of the network: what becomes of every task.
#include "base/clock.hpp"
#include "engine/outbox.hpp"
#include "engine/query.hpp"
#include "federation/ended_log.hpp"
#include "federation/task_search.hpp"
#include "federation/transcript.hpp"
#include "tests/federation/gateway_fixture.hpp"
#include "tests/support/private_network.hpp"
#include "tests/support/slow_link.hpp"

namespace stem::test {
namespace {

using shm::Counter;
using shm::State;

// The importer's reader of this host waits for entries: it has looked at what was pending.
bool reads(const std::string& clients, const std::string& host) {
  const std::string name = "name=stem-gateway:" + host + ":";
  for (std::size_t at = clients.find(name); at != std::string::npos; at = clients.find(name, at + 1)) {
    const std::string line = clients.substr(at, clients.find('\n', at) - at);
    if (line.find(":reader:0 ") != std::string::npos && line.find("cmd=xreadgroup") != std::string::npos) return true;
  }
  return false;
}

TEST_F(GatewayTest, RestartsDuringOneTaskAreNoDeliveries) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  a.start_gateway();
  b.start_worker(Conduct::kHang);
  b.start_gateway();
  (void)a.enqueue(1, true);
  ASSERT_TRUE(wait_until([&] { return ran() == 1; }, kLong));
  const std::string host = federation::Transcript(b.segment()).host();
  for (int restart = 0; restart < 20; ++restart) {
    b.kill_gateway();
    b.start_gateway();
    ASSERT_TRUE(wait_until([&] { return reads(ask({"CLIENT", "LIST"}).text, host); }, kLong)) << restart;
  }
  const std::string stream = keys.stream("q", 1), group = keys.group("q");
  const OwnedReply pending = ask({"XPENDING", stream, group, "-", "+", "10"});
  ASSERT_EQ(pending.elements.size(), 1u);
  EXPECT_EQ(pending.elements[0].elements[3].integer, 1) << "times delivered";
  EXPECT_EQ(ask({"LLEN", keys.dead("q")}).integer, 0);
}

// No reply takes it. It ends the connection that reads it once, and not those after it; nobody else's, when its host is lost.
TEST_F(GatewayTest, AHugeEntryIsRefusedUnread) {
  Host b(server.url(), ledger);
  const std::string stream = keys.stream("q", 0), group = keys.group("q"), huge(70 << 20, 'x');
  (void)ask({"XGROUP", "CREATE", stream, group, "0", "MKSTREAM"});
  const std::string lost = ask({"XADD", stream, "*", "id", "huge-1", "name", "count", "args", huge}).text;
  (void)ask({"XGROUP", "SETID", stream, group, lost});
  (void)ask({"XCLAIM", stream, group, "a lost host", "0", lost, "IDLE", "60000", "FORCE", "JUSTID"});
  ASSERT_EQ(ask({"XPENDING", stream, group, "-", "+", "10", "a lost host"}).elements.size(), 1u);
  (void)ask({"XADD", stream, "*", "id", "huge-2", "name", "count", "args", huge});
  for (int i = 0; i < 20; ++i) {
    const std::string id = "t-" + std::to_string(i), args = "{\"n\":" + std::to_string(i) + "}";
    (void)ask({"XADD", stream, "*", "id", id, "name", "count", "args", args});
  }
  b.start_worker();
  b.start_gateway();
  EXPECT_TRUE(wait_until([&] { return ran() == 20; }, kLong)) << ran();
  expect_clean_streams();
  EXPECT_EQ(ask({"LLEN", keys.dead("q")}).integer, 2);
  for (const char* id : {"huge-1", "huge-2"}) {
    federation::TaskStatus status;
    const std::string result = ask({"GET", keys.result("q", id)}).text;
    ASSERT_TRUE(decode_json(result, status).ok()) << result;
    EXPECT_EQ(status.state, "failed");
    EXPECT_NE(status.error.find("payload-invalid"), std::string::npos) << status.error;
  }
  EXPECT_EQ(ledger.extra(), 0u);
}

// Somebody has written more into the log of the ended than a reply takes: it is passed over, by gateways and by people.
TEST_F(GatewayTest, AHugeLogOfTheEndedIsReadAllTheSame) {
  Host a(server.url(), ledger);
  const engine::TaskId over = a.enqueue(10), unknown = a.enqueue(20);  // of lane 0
  {
    Attached before(must_attach("test", a.gateway_options().directory), shm::Role::kGateway);  // killed before it knew
    engine::Outbox outbox(*before);
    engine::Parcel parcels[2];
    std::vector<engine::Lease> imported;
    ASSERT_EQ(outbox.take(a.queue(), parcels, 2, imported, base::monotonic_ns()), 2u);
    for (const engine::Parcel& parcel : parcels) outbox.leave(parcel);
  }
  const std::string log = keys.ended("q"), huge(70 << 20, 'x'), large(16'385, 'x');
  const std::string wire = federation::wire_id(federation::Transcript(a.segment()).host(), over);
  std::string mark;
  federation::append_mark(mark, wire);
  (void)ask({"XADD", log, "*", "ended", huge});
  for (int i = 0; i < 250; ++i) (void)ask({"XADD", log, "*", "ended", large});
  (void)ask({"XADD", log, "*", "ended", mark});
  a.gateway_options().imports.clear();
  a.start_gateway();
  EXPECT_TRUE(wait_until([&] { return slots_in(a.segment(), shm::State::kOutbox) == 0; }, kLong));
  const OwnedReply sent = ask({"XRANGE", keys.stream("q", 0), "-", "+"});
  ASSERT_EQ(sent.elements.size(), 1u);
  const auto& fields = sent.elements[0].elements[1].elements;
  ASSERT_EQ(fields[0].text, "id");
  EXPECT_EQ(fields[1].text, federation::wire_id(federation::Transcript(a.segment()).host(), unknown));
  auto client = federation::BlockingClient::connect(Connected::quick(server.url()));
  ASSERT_TRUE(client.ok());
  federation::TaskSearch search(**client, keys);
  const auto found = search.find(wire);
  ASSERT_TRUE(found.ok()) << found.error().message;
  ASSERT_TRUE(*found);
  EXPECT_EQ((*found)->state, federation::kEndedState);
}

// Beyond maxmemory Redis takes no task, but it takes the ends of those it has, and so comes below it.
TEST_F(GatewayTest, AFullRedisDrains) {
  Host a(server.url(), ledger), b(server.url(), ledger);
  a.start_gateway();
  for (std::uint64_t i = 0; i < 50; ++i) (void)a.enqueue(i, i % 2 == 0);
  ASSERT_TRUE(wait_until([&] { return in_redis().first == 50; }, kLong));
  (void)ask({"CONFIG", "SET", "maxmemory", "1"});
  ASSERT_NE(ask({"SET", "x", "y"}).text.find("OOM"), std::string::npos);
  b.start_worker();
  b.start_gateway();
  ASSERT_TRUE(wait_until([&] { return ran() == 50; }, kLong)) << ran();
  expect_clean_streams();
  EXPECT_EQ(ledger.extra(), 0u);
  (void)ask({"CONFIG", "SET", "maxmemory", "0"});
  EXPECT_TRUE(wait_until([&] { return slots_in(a.segment(), State::kOutbox) == 0; }, kLong)) << "results come home";
}

// With AOF `everysec` a crash may take back what Redis had confirmed. Held until they are done, no tasks are lost.
TEST_F(GatewayTest, RedisKilledWithAofEverySecondLosesNothingThatIsHeld) {
  RedisServer::Options options;
  options.arguments = {"--appendonly", "yes", "--appendfsync", "everysec"};
  RedisServer durable(options);
  Host a(durable.url(), ledger), b(durable.url(), ledger);
  a.gateway_options().hold = federation::Hold::kUntilDone;
  b.start_worker();
  a.start_gateway();
  b.start_gateway();
  for (int round = 0; round < 4; ++round) {
    a.enqueue_many(static_cast<std::uint64_t>(round) * 500, static_cast<std::uint64_t>(round + 1) * 500);
    std::this_thread::sleep_for(std::chrono::milliseconds(30 + 40 * round));
    durable.kill();
    durable.restart();
  }
  ASSERT_TRUE(wait_until([&] { return ran() == 2000; }, kLong)) << ran();
  EXPECT_TRUE(wait_until([&] { return slots_in(a.segment(), State::kOutbox) == 0; }, kLong));
  EXPECT_EQ(broken_invariants(*a.engine()), "");
}

// ---- a fail-over to a replica that was behind

class FailOver : public GatewayTest {
 protected:
  FailOver()
      : master_({.tcp = true, .arguments = {}}),
        replica_({.tcp = true,
                  .arguments = {"--replicaof", "127.0.0.1", std::to_string(master_.port()),
                                "--repl-diskless-sync-delay", "0"}}),
        sentinel_(
            {.tcp = true,
             .arguments = {"--sentinel"},
             .configuration = {"sentinel monitor boss 127.0.0.1 " + std::to_string(master_.port()) + " 1",
                               "sentinel down-after-milliseconds boss 300", "sentinel failover-timeout boss 2000"}}) {
    EXPECT_TRUE(wait_until(
        [&] {
          return at(replica_.url(), {"INFO", "replication"}).text.find("link_status:up") != std::string::npos;
        },
        kLong));
    EXPECT_TRUE(wait_until(
        [&] {
          return !at(sentinel_.tcp_url(), {"SENTINEL", "REPLICAS", "boss"}).elements.empty();
        },
        kLong));
  }
  std::string url() const { return "redis+sentinel://127.0.0.1:" + std::to_string(sentinel_.port()) + "/boss"; }
  static OwnedReply at(const std::string& url, std::vector<std::string_view> argv) {
    Connected client(Connected::quick(url));
    client->start();
    if (!client.wait_ready()) return {};
    return client.ask(std::move(argv));
  }

  // The replica has what it has, and gets no more.
  void fall_behind() {
    const std::string stream = keys.stream("q", 0);
    ASSERT_TRUE(wait_until([&] { return at(replica_.url(), {"XLEN", stream}).integer == 500; }, kLong));
    (void)at(replica_.url(), {"CONFIG", "SET", "masterauth", "not the password"});
    (void)at(replica_.url(), {"CONFIG", "SET", "masteruser", "nobody"});
    (void)at(master_.url(), {"CLIENT", "KILL", "TYPE", "replica"});
  }

  RedisServer master_, replica_, sentinel_;
};

TEST_F(FailOver, WhatItLosesIsSentAgainWhereItIsHeld) {
  Host a(url(), ledger), b(url(), ledger);
  a.gateway_options().hold = federation::Hold::kUntilDone;
  a.start_gateway();
  a.enqueue_many(0, 500);
  ASSERT_TRUE(wait_until([&] { return at(master_.url(), {"XLEN", keys.stream("q", 0)}).integer == 500; }, kLong));
  fall_behind();
  a.enqueue_many(500, 1000);
  ASSERT_TRUE(wait_until([&] { return at(master_.url(), {"XLEN", keys.stream("q", 0)}).integer == 1000; }, kLong));
  EXPECT_EQ(at(replica_.url(), {"XLEN", keys.stream("q", 0)}).integer, 500) << "nothing would be lost";
  master_.kill();
  b.start_worker();
  b.start_gateway();
  ASSERT_TRUE(wait_until([&] { return ran() == 1000; }, kLong)) << ran();
  EXPECT_TRUE(wait_until([&] { return slots_in(a.segment(), State::kOutbox) == 0; }, kLong));
  EXPECT_EQ(ledger.extra(), 0u);
}

// A task is let go when the replica has it; until then it stays here, and is sent again to the new master.
TEST_F(FailOver, LosesNothingThatWaitedForItsReplicas) {
  Host a(url(), ledger), b(url(), ledger);
  a.gateway_options().wait_replicas = 1;
  a.start_gateway();
  a.enqueue_many(0, 500);
  ASSERT_TRUE(wait_until([&] { return a.counter(Counter::kExported) == 500; }, kLong));
  fall_behind();
  a.enqueue_many(500, 1000);
  ASSERT_TRUE(wait_until([&] { return at(master_.url(), {"XLEN", keys.stream("q", 0)}).integer == 1000; }, kLong));
  EXPECT_EQ(a.counter(Counter::kExported), 500u) << "no replica has them";
  EXPECT_EQ(at(replica_.url(), {"XLEN", keys.stream("q", 0)}).integer, 500) << "nothing would be lost";
  master_.kill();
  b.start_worker();
  b.start_gateway();
  ASSERT_TRUE(wait_until([&] { return ran() == 1000; }, kLong)) << ran();
  EXPECT_EQ(ledger.extra(), 0u);
}

// ---- the network

TEST_F(GatewayTest, ASlowLinkIsOnlySlow) {
  RedisServer far({.tcp = true, .arguments = {}});
  SlowLink link(far.port(), std::chrono::milliseconds(40));
  const std::string url = "redis://127.0.0.1:" + std::to_string(link.port());
  Host a(url, ledger), b(url, ledger);
  b.start_worker();
  a.start_gateway();
  b.start_gateway();
  link.start();
  const engine::TaskId awaited = a.enqueue(0, /*keep_result=*/true);
  a.enqueue_many(1, 300);
  ASSERT_TRUE(wait_until([&] { return ran() == 300; }, kLong)) << ran();
  std::vector<std::byte> bytes;
  engine::FailureRecord failure;
  EXPECT_TRUE(wait_until(
      [&] { return engine::read_result(*a.engine(), awaited, bytes, failure) == engine::ResultState::kSucceeded; },
      kLong));
  EXPECT_TRUE(wait_until([&] { return slots_in(b.segment(), State::kDone) == 0; }, kLong));
  EXPECT_EQ(ledger.extra(), 0u);
}

// Cut off for longer than its lease, with a task in hand and another host to take it: when the network is whole again,
// what the cut-off host says of it counts for nothing.
TEST_F(GatewayTest, AHostThatWasCutOffIsFenced) {
  ASSERT_TRUE(enter_private_network()) << "this test wants to be root, or user namespaces";
  RedisServer::Options options{.tcp = true, .arguments = {"--bind", "0.0.0.0", "--protected-mode", "no"}};
  RedisServer shared(options);
  const std::string port = std::to_string(shared.port());
  Host a(shared.url(), ledger), b("redis://10.77.0.1:" + port, ledger), c(shared.url(), ledger);
  b.before_gateway(enter_private_network);
  a.gateway_options().imports.clear();
  a.start_gateway();
  b.start_worker(Conduct::kHang);
  b.start_gateway();
  ASSERT_TRUE(wait_until([&] { return is_in_another_network(b.gateway().pid()); }, kLong));
  Cable cable(b.gateway().pid());
  const engine::TaskId id = a.enqueue(3, true, 500'000'000);
  ASSERT_TRUE(wait_until([&] { return ran() == 1; }, kLong));

  cable.cut();
  c.start_worker();
  c.start_gateway();
  ASSERT_TRUE(wait_until([&] { return ledger.runs(3) == 2; }, kLong)) << "the other host has it";
  std::vector<std::byte> bytes;
  engine::FailureRecord failure;
  ASSERT_TRUE(wait_until(
      [&] { return engine::read_result(*a.engine(), id, bytes, failure) == engine::ResultState::kSucceeded; }, kLong));
  b.kill_workers();  // its task comes back there, and would run again
  b.sweep();
  cable.mend();
  EXPECT_TRUE(wait_until(
      [&] { return slots_in(b.segment(), State::kReady) + slots_in(b.segment(), State::kDone) == 0; }, kLong))
      << "the host that was cut off gives it up";
  EXPECT_EQ(ledger.runs(3), 2u);
}

}  // namespace
}  // namespace stem::test
