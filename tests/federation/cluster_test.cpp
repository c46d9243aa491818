// A real Redis Cluster: the queue's slot is elsewhere, and moves.
#include <thread>

#include "base/clock.hpp"
#include "base/random.hpp"
#include "federation/client_fence.hpp"
#include "federation/dead_shelf.hpp"
#include "federation/redis_health.hpp"
#include "tests/federation/gateway_fixture.hpp"
#include "tests/federation/redis_cluster.hpp"

namespace stem::test {
namespace {

using federation::BlockingClient;
using shm::Counter;
using shm::State;

class ClusterTest : public ::testing::Test {
 protected:
  ClusterTest() : slot_(cluster.slot_of(keys.stream("q", 0))) {}

  int owner() { return cluster.owner_of(slot_); }
  // The node that is asked first is not the one that has the slot.
  std::string url() { return cluster.url(1 - owner()); }
  void join(Host& host) {
    host.gateway_options().cluster = true;
    host.start_gateway();
  }
  std::unique_ptr<BlockingClient> client() {
    federation::RedisOptions options = Connected::quick(url());
    options.follows_slot = true;
    options.progress_timeout_ns = 60'000'000'000;
    return *BlockingClient::connect(options);
  }
  std::uint64_t ran() const { return ledger.numbers() - ledger.missing(); }
  std::int64_t entries() {
    std::int64_t n = 0;
    const int node = owner();
    for (int lane = 0; lane < federation::kLanes; ++lane)
      n += cluster.at(node, {"XLEN", keys.stream("q", lane)}).integer;
    return n;
  }

  RedisCluster cluster;
  federation::Keys keys{"stem", true};
  std::string slot_;
  RunLedger ledger{900};
};

TEST_F(ClusterTest, GatewaysFollowTheSlotOfTheirQueue) {
  Host a(url(), ledger), b(url(), ledger);
  b.start_worker();
  join(a);
  join(b);
  for (std::uint64_t i = 0; i < 30; ++i) (void)a.enqueue(i, /*keep_result=*/true);
  a.enqueue_many(30, 300);
  ASSERT_TRUE(wait_until([&] { return ran() == 300; }, kLong)) << ran();

  a.enqueue_many(300, 500);
  cluster.move(slot_);
  a.enqueue_many(500, 700);
  ASSERT_TRUE(wait_until([&] { return ran() == 700; }, kLong)) << ran();

  // And back, with gateways that know the one node only by name.
  a.kill_gateway();
  a.enqueue_many(700, 900);
  cluster.move(slot_);
  join(a);
  ASSERT_TRUE(wait_until([&] { return ran() == 900; }, kLong)) << ran();
  EXPECT_TRUE(wait_until([&] { return slots_in(a.segment(), State::kOutbox) == 0; }, kLong)) << "results come home";
  EXPECT_TRUE(wait_until([&] { return entries() == 0; }, kLong)) << entries();
  EXPECT_EQ(ledger.extra(), 0u);
  EXPECT_EQ(broken_invariants(*a.engine()), "");
}

// Between two nodes for good: all its keys have gone, and the first node still is asked first.
TEST_F(ClusterTest, GatewaysAskWhereTheKeysAreWhileTheSlotStaysOnItsWay) {
  Host a(url(), ledger), b(url(), ledger);
  b.start_worker();
  join(a);
  join(b);
  a.enqueue_many(0, 100);
  ASSERT_TRUE(wait_until([&] { return ran() == 100; }, kLong)) << ran();
  cluster.begin_move(slot_);
  cluster.move_keys(slot_);
  a.enqueue_many(100, 200);
  EXPECT_TRUE(wait_until([&] { return ran() == 200 && a.counter(Counter::kExported) == 200; }, kLong)) << ran();

  // The ones after them begin there, too, and end what those before them had said.
  ASSERT_TRUE(wait_until([&] { return slots_in(b.segment(), State::kLeased) == 0; }, kLong));
  b.kill_workers();
  a.enqueue_many(200, 300);
  ASSERT_TRUE(wait_until([&] { return a.counter(Counter::kExported) >= 250; }, kLong));
  a.kill_gateway();
  b.kill_gateway();
  join(a);
  join(b);
  b.start_worker();
  EXPECT_TRUE(wait_until([&] { return ran() > 200; }, kLong)) << "as many as there is room for";

  cluster.move_keys(slot_);
  cluster.end_move(slot_);
  a.enqueue_many(300, 400);
  EXPECT_TRUE(wait_until([&] { return ran() == 400; }, kLong)) << ran();
  EXPECT_TRUE(wait_until([&] { return entries() == 0; }, kLong)) << entries();
  EXPECT_TRUE(wait_until([&] { return slots_in(a.segment(), State::kOutbox) == 0; }, kLong));
  EXPECT_EQ(ledger.extra(), 0u);
  EXPECT_EQ(broken_invariants(*a.engine()), "");
}

TEST(ClientFence, EndsThoseBeforeUsAlone) {
  const std::string list =
      "id=3 addr=x name=stem-gateway:h:old:0 age=1\nid=4 name=stem-gateway:h:me:0\nid=5 name=stem-gateway:hh:old:0\n"
      "id=6 addr=x name= age=2\nname=stem-gateway:h:old\nid=7 addr=y name=stem-gateway:h:older:reader:1 age=3";
  EXPECT_EQ(federation::clients_to_fence(list, "stem-gateway:h:", "stem-gateway:h:me"),
            (std::vector<std::string>{"3", "7"}));
}

TEST_F(ClusterTest, AClientAsksWhereAKeyIsWhileItsSlotIsOnItsWay) {
  const auto redis = client();
  const std::string stays = keys.result("q", "stays"), goes = keys.result("q", "goes"),
                    is_new = keys.result("q", "new");
  ASSERT_TRUE(redis->ask({"SET", stays, "1"}).ok());
  ASSERT_TRUE(redis->ask({"SET", goes, "2"}).ok());
  const int from = owner(), to = 1 - from;
  const std::string port = std::to_string(cluster.node(to).port());
  cluster.begin_move(slot_);
  ASSERT_EQ(cluster.at(from, {"MIGRATE", "127.0.0.1", port, goes, "0", "5000"}).text, "OK");
  // The slot stays on its way.
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(redis->ask({"GET", stays})->text, "1");
    EXPECT_EQ(redis->ask({"GET", goes})->text, "2");
    const auto set = redis->ask({"SET", is_new, "3"});
    ASSERT_TRUE(set.ok()) << set.error().message;
    EXPECT_EQ(redis->ask({"GET", is_new})->text, "3");
  }
  EXPECT_EQ(cluster.at(from, {"EXISTS", stays}).integer, 1);
  EXPECT_EQ(cluster.at(from, {"CLUSTER", "COUNTKEYSINSLOT", slot_}).integer, 1) << "the new one is at the other node";

  // Of two keys each node has one: neither can answer before the slot has come.
  std::thread asks([&] {
    const auto both = client()->ask({"MGET", stays, goes});
    ASSERT_TRUE(both.ok()) << both.error().message;
    ASSERT_EQ(both->elements.size(), 2u);
    EXPECT_EQ(both->elements[0].text + both->elements[1].text, "12");
  });
  EXPECT_TRUE(wait_until(
      [&] {
        return cluster.at(from, {"INFO", "errorstats"}).text.find("errorstat_TRYAGAIN") != std::string::npos ||
               cluster.at(to, {"INFO", "errorstats"}).text.find("errorstat_TRYAGAIN") != std::string::npos;
      },
      kLong));
  cluster.move_keys(slot_);
  cluster.end_move(slot_);
  asks.join();
  EXPECT_EQ(redis->ask({"GET", stays})->text, "1");
}

TEST_F(ClusterTest, KeysOfAllNodesAreFound) {
  const auto redis = client();
  std::set<std::string> put;
  bool at_node[2] = {};
  for (int i = 0; i < 20; ++i) {
    const std::string key = keys.dead("queue" + std::to_string(i));
    ASSERT_TRUE(redis->ask({"LPUSH", key, "x"}).ok());
    at_node[cluster.owner_of(cluster.slot_of(key))] = true;
    put.insert(key);
  }
  ASSERT_TRUE(at_node[0] && at_node[1]);
  const auto found = redis->keys_like(keys.any_dead(), "list");
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(std::set<std::string>(found->begin(), found->end()), put);
}

// It is at neither node when that one is looked at.
TEST_F(ClusterTest, AListMissesNoKeyThatGoesToAnotherNodeMeanwhile) {
  const auto redis = client();
  for (int i = 0; i < 6000; ++i)  // so that a look takes a while
    ASSERT_TRUE(redis->ask({"SET", "{filler:" + std::to_string(i) + "}", "x"}).ok());
  const std::int64_t began_ns = base::monotonic_ns();
  ASSERT_TRUE(redis->keys_like(keys.any_dead(), "list").ok());
  const auto a_look_ns = static_cast<std::uint64_t>(base::monotonic_ns() - began_ns);
  base::Random random(1);
  std::set<std::string> there;
  for (int round = 0; round < 150; ++round) {
    const std::string key = *there.insert(keys.dead("queue" + std::to_string(round))).first,
                      slot = cluster.slot_of(key);
    ASSERT_TRUE(redis->ask({"LPUSH", key, "x"}).ok());
    const int from = cluster.owner_of(slot);
    const std::string port = std::to_string(cluster.node(1 - from).port());
    cluster.begin_move(slot);
    std::thread mover([&, wait_us = random.below(a_look_ns / 1000 + 1)] {
      ::usleep(static_cast<unsigned>(wait_us));
      EXPECT_EQ(cluster.at(from, {"MIGRATE", "127.0.0.1", port, key, "0", "5000"}).text, "OK");
    });
    const auto found = redis->keys_like(keys.any_dead(), "list");
    mover.join();
    ASSERT_TRUE(found.ok()) << found.error().message;
    ASSERT_EQ(std::set<std::string>(found->begin(), found->end()), there) << "round " << round;
  }
}

TEST_F(ClusterTest, AListThatMayNotTakeLongSaysThatItIsNotAll) {
  const auto redis = client();
  bool all = true;
  ASSERT_TRUE(redis->keys_like(keys.any_dead(), "list", /*until_ns=*/0, &all).ok());
  EXPECT_FALSE(all);
  ASSERT_TRUE(redis->keys_like(keys.any_dead(), "list", INT64_MAX, &all).ok());
  EXPECT_TRUE(all);
}

// Between two questions nothing is on its way there, and nothing can be lost.
TEST_F(ClusterTest, AnIdleSideConnectionThatFailsDisturbsNobody) {
  federation::RedisOptions options = Connected::quick(cluster.url(owner()));
  options.follows_slot = options.follows_ask = true;
  options.client_name = "side-test";
  Connected redis(options);
  redis->start();
  ASSERT_TRUE(redis.wait_ready());
  const std::string key = keys.result("q", "x");
  const int to = 1 - owner();
  cluster.begin_move(slot_);
  const auto there = [&] { return cluster.at(to, {"CLIENT", "LIST"}).text; };
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(redis.ask({"SET", key, "1"}).text, "OK") << "by way of the other node";
    const auto ids = federation::clients_to_fence(there(), "side-test", "nobody");
    ASSERT_EQ(ids.size(), 1u);
    ASSERT_EQ(cluster.at(to, {"CLIENT", "KILL", "ID", ids[0]}).integer, 1);
    ASSERT_TRUE(redis.turn_until([&] { return there().find("side-test") == std::string::npos; }));
    for (int i = 0; i < 3; ++i) EXPECT_EQ(redis.ask({"PING"}).text, "PONG");  // it has heard of it by then
  }
  EXPECT_EQ(redis.losses, std::vector<std::string>{});
  EXPECT_EQ(redis.sessions.size(), 1u);
}

// Of two who replay one letter the second must not forget what was wished of the task since.
TEST_F(ClusterTest, ALateReplayLeavesTheRevokeOfALiveTask) {
  const auto redis = client();
  const std::string dead = keys.dead("q"), revokes = keys.revokes();
  federation::EnvelopeView envelope;
  envelope.id = "t-1";
  envelope.name = "count";
  envelope.queue = "q";
  std::string text;
  federation::append_dead_letter_json(text, envelope, "permanent-failure", "{}", 1'000'000);
  ASSERT_TRUE(redis->ask({"LPUSH", dead, text}).ok());
  const auto letters = federation::dead_letters_of(*redis, keys, "q");
  ASSERT_TRUE(letters.ok() && letters->size() == 1);
  const auto replay = [&] {
    const auto replayed = federation::replay_letter(*redis, keys, letters->front(), 0);
    EXPECT_TRUE(replayed.ok()) << replayed.error().message;
    return replayed.ok() && *replayed;
  };
  EXPECT_TRUE(replay());
  ASSERT_TRUE(redis->ask({"HSET", revokes, "t-1", "{}"}).ok());
  EXPECT_FALSE(replay());
  EXPECT_EQ(redis->ask({"HEXISTS", revokes, "t-1"})->integer, 1);
  EXPECT_EQ(entries(), 1);
  // One of the dead is forgotten.
  ASSERT_TRUE(redis->ask({"LPUSH", dead, text}).ok());
  EXPECT_TRUE(replay());
  EXPECT_EQ(redis->ask({"HEXISTS", revokes, "t-1"})->integer, 0);
}

TEST_F(ClusterTest, HealthKnowsTheStreamsOfAllNodes) {
  const auto redis = client();
  bool at_node[2] = {};
  for (int i = 0; i < 8; ++i) {
    const std::string stream = keys.stream("queue" + std::to_string(i), i % 2);
    ASSERT_TRUE(redis->ask({"XADD", stream, "*", "a", "b"}).ok());
    at_node[cluster.owner_of(cluster.slot_of(stream))] = true;
  }
  ASSERT_TRUE(at_node[0] && at_node[1]);
  federation::RedisOptions options = Connected::quick(url());
  options.follows_slot = true;
  const auto health = federation::examine_redis(options, keys);
  ASSERT_TRUE(health.ok()) << health.error().message;
  EXPECT_EQ(health->streams.size(), 8u);
  EXPECT_TRUE(health->streams_complete);
  EXPECT_EQ(health->cluster_state, "ok");
  federation::RedisHealth broken = *health;
  broken.cluster_state = "fail";
  EXPECT_EQ(federation::warnings_of(broken).size(), federation::warnings_of(*health).size() + 1);
}

TEST(ClusterNodes, AMasterServesUnlessItHasFailed) {
  const auto serves = [](const char* flags) {
    const auto node =
        federation::NodeLine::read(std::string("1a2b 127.0.0.1:7001@17001 ") + flags + " - 0 0 1 connected 0-5460");
    return node && node->serves;
  };
  EXPECT_TRUE(serves("master"));
  EXPECT_TRUE(serves("myself,master"));
  EXPECT_TRUE(serves("master,nofailover"));
  EXPECT_TRUE(serves("master,fail?"));  // one node thinks so; it may answer
  EXPECT_FALSE(serves("master,fail"));
  EXPECT_FALSE(serves("slave"));
}

}  // namespace
}  // namespace stem::test
