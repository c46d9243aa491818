// A real Redis Cluster of two nodes without replicas, of a test's own; slots up to 8191 begin at the first.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "federation/blocking_client.hpp"
#include "tests/support/redis_server.hpp"

namespace stem::test {

class RedisCluster {
 public:
  RedisCluster();

  // Asks this node, and no other.
  federation::OwnedReply at(int node, std::vector<std::string_view> argv);
  std::string url(int node) const { return nodes_[node].tcp_url(); }
  RedisServer& node(int node) { return nodes_[node]; }

  std::string slot_of(std::string_view key);
  int owner_of(const std::string& slot);

  // A slot with all that is in it goes to the other node, key by key, as redis-cli does it: the three steps.
  void begin_move(const std::string& slot);
  void move_keys(const std::string& slot);
  void end_move(const std::string& slot);
  void move(const std::string& slot) { begin_move(slot), move_keys(slot), end_move(slot); }

 private:
  std::string id_of(int node) { return at(node, {"CLUSTER", "MYID"}).text; }

  RedisServer nodes_[2];
};

}  // namespace stem::test
