// A real Redis Cluster: the queue's slot is elsewhere, and moves.
#include <thread>

#include "federation/client_fence.hpp"
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
