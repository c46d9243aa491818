#include "tests/federation/redis_cluster.hpp"

#include <gtest/gtest.h>

#include "tests/federation/connected.hpp"
#include "tests/support/wait.hpp"

namespace stem::test {
namespace {

RedisServer::Options cluster_node() {
  return {.tcp = true,
          .arguments = {"--cluster-enabled", "yes", "--cluster-port", std::to_string(free_port())},
          .configuration = {}};
}

}  // namespace

RedisCluster::RedisCluster() : nodes_{RedisServer(cluster_node()), RedisServer(cluster_node())} {
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
}

federation::OwnedReply RedisCluster::at(int node, std::vector<std::string_view> argv) {
  Connected client(Connected::quick(nodes_[node].tcp_url()));
  client->start();
  EXPECT_TRUE(client.wait_ready()) << client->last_fault();
  return client.ask(std::move(argv));
}

std::string RedisCluster::slot_of(std::string_view key) {
  return std::to_string(at(0, {"CLUSTER", "KEYSLOT", key}).integer);
}

// By what it says itself: the one that has it counts keys of it without a redirection.
int RedisCluster::owner_of(const std::string& slot) {
  const std::int64_t wanted = std::stoll(slot);
  const std::string own = id_of(0);
  const OwnedReply ranges = at(0, {"CLUSTER", "SLOTS"});
  for (const OwnedReply& range : ranges.elements)
    if (range.elements[0].integer <= wanted && wanted <= range.elements[1].integer)
      return range.elements[2].elements[2].text == own ? 0 : 1;
  ADD_FAILURE() << "nobody has slot " << slot;
  return 0;
}

void RedisCluster::begin_move(const std::string& slot) {
  const int from = owner_of(slot), to = 1 - from;
  const std::string from_id = id_of(from), to_id = id_of(to);
  ASSERT_EQ(at(to, {"CLUSTER", "SETSLOT", slot, "IMPORTING", from_id}).text, "OK");
  ASSERT_EQ(at(from, {"CLUSTER", "SETSLOT", slot, "MIGRATING", to_id}).text, "OK");
}

void RedisCluster::move_keys(const std::string& slot) {
  const int from = owner_of(slot), to = 1 - from;
  const std::string port = std::to_string(nodes_[to].port());
  for (;;) {
    const OwnedReply found = at(from, {"CLUSTER", "GETKEYSINSLOT", slot, "10"});
    if (found.elements.empty()) return;
    std::vector<std::string_view> move{"MIGRATE", "127.0.0.1", port, "", "0", "5000", "KEYS"};
    for (const OwnedReply& key : found.elements) move.push_back(key.text);
    const std::string said = at(from, move).text;
    ASSERT_TRUE(said == "OK" || said == "NOKEY") << said;
  }
}

void RedisCluster::end_move(const std::string& slot) {
  const int from = owner_of(slot), to = 1 - from;
  const std::string to_id = id_of(to);
  ASSERT_EQ(at(to, {"CLUSTER", "SETSLOT", slot, "NODE", to_id}).text, "OK");
  ASSERT_EQ(at(from, {"CLUSTER", "SETSLOT", slot, "NODE", to_id}).text, "OK");
}

}  // namespace stem::test
