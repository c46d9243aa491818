// A real Redis Cluster: the queue's slot is elsewhere, and moves.
#include "tests/federation/gateway_fixture.hpp"

namespace stem::test {
namespace {

using shm::Counter;
using shm::State;

RedisServer::Options cluster_node() {
  return {.tcp = true,
          .arguments = {"--cluster-enabled", "yes", "--cluster-port", std::to_string(free_port())},
          .configuration = {}};
}

class ClusterTest : public ::testing::Test {
 protected:
  ClusterTest() : nodes_{RedisServer(cluster_node()), RedisServer(cluster_node())} {
    EXPECT_EQ(at(0, {"CLUSTER", "ADDSLOTSRANGE", "0", "8191"}).text, "OK");
    EXPECT_EQ(at(1, {"CLUSTER", "ADDSLOTSRANGE", "8192", "16383"}).text, "OK");
    const std::string bus = at(1, {"CONFIG", "GET", "cluster-port"}).elements.at(1).text;
    const std::string port = std::to_string(nodes_[1].port());
    EXPECT_EQ(at(0, {"CLUSTER", "MEET", "127.0.0.1", port, bus}).text, "OK");
    for (int node = 0; node < 2; ++node)
      EXPECT_TRUE(wait_until(
          [&] {
            return at(node, {"CLUSTER", "INFO"}).text.find("cluster_state:ok") != std::string::npos;
          },
          kLong));
    slot_ = std::to_string(at(0, {"CLUSTER", "KEYSLOT", keys.stream("q", 0)}).integer);
    owner_ = std::stoi(slot_) <= 8191 ? 0 : 1;
  }

  OwnedReply at(int node, std::vector<std::string_view> argv) {
    Connected client(Connected::quick(nodes_[node].tcp_url()));
    client->start();
    EXPECT_TRUE(client.wait_ready()) << client->last_fault();
    return client.ask(std::move(argv));
  }
  // The node that is asked first is not the one that has the slot.
  std::string url() const { return nodes_[1 - owner_].tcp_url(); }
  void join(Host& host) {
    host.gateway_options().cluster = true;
    host.start_gateway();
  }
  std::uint64_t ran() const { return ledger.numbers() - ledger.missing(); }
  std::int64_t entries() {
    std::int64_t n = 0;
    for (int lane = 0; lane < federation::kLanes; ++lane) n += at(owner_, {"XLEN", keys.stream("q", lane)}).integer;
    return n;
  }
  // The slot with all that is in it goes to the other node, key by key, as redis-cli does it.
  void move_slot() {
    const int from = owner_, to = 1 - owner_;
    const std::string from_id = at(from, {"CLUSTER", "MYID"}).text, to_id = at(to, {"CLUSTER", "MYID"}).text;
    const std::string port = std::to_string(nodes_[to].port());
    ASSERT_EQ(at(to, {"CLUSTER", "SETSLOT", slot_, "IMPORTING", from_id}).text, "OK");
    ASSERT_EQ(at(from, {"CLUSTER", "SETSLOT", slot_, "MIGRATING", to_id}).text, "OK");
    for (;;) {
      const OwnedReply found = at(from, {"CLUSTER", "GETKEYSINSLOT", slot_, "10"});
      if (found.elements.empty()) break;
      std::vector<std::string_view> move{"MIGRATE", "127.0.0.1", port, "", "0", "5000", "KEYS"};
      for (const OwnedReply& key : found.elements) move.push_back(key.text);
      const std::string said = at(from, move).text;
      ASSERT_TRUE(said == "OK" || said == "NOKEY") << said;
    }
    ASSERT_EQ(at(to, {"CLUSTER", "SETSLOT", slot_, "NODE", to_id}).text, "OK");
    ASSERT_EQ(at(from, {"CLUSTER", "SETSLOT", slot_, "NODE", to_id}).text, "OK");
    owner_ = to;
  }

  RedisServer nodes_[2];
  std::string slot_;
  int owner_ = 0;
  federation::Keys keys{"stem", true};
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
  move_slot();
  a.enqueue_many(500, 700);
  ASSERT_TRUE(wait_until([&] { return ran() == 700; }, kLong)) << ran();

  // And back, with gateways that know the one node only by name.
  a.kill_gateway();
  a.enqueue_many(700, 900);
  move_slot();
  join(a);
  ASSERT_TRUE(wait_until([&] { return ran() == 900; }, kLong)) << ran();
  EXPECT_TRUE(wait_until([&] { return slots_in(a.segment(), State::kOutbox) == 0; }, kLong)) << "results come home";
  EXPECT_TRUE(wait_until([&] { return entries() == 0; }, kLong)) << entries();
  EXPECT_EQ(ledger.extra(), 0u);
  EXPECT_EQ(broken_invariants(*a.engine()), "");
}

}  // namespace
}  // namespace stem::test
