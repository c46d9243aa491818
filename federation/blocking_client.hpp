// A Redis client that waits: for command lines and set-up, where one question after the other is fast enough. It has a
// loop of its own. What serves tasks uses RedisConnection.
//
// With `follows_slot` it asks a whole Redis Cluster: it goes where a MOVED or an ASK says, and waits out a TRYAGAIN and
// a CLUSTERDOWN. The keys of one command lie in one slot, still.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "federation/cluster_nodes.hpp"
#include "federation/redis_connection.hpp"
#include "io/loop.hpp"

namespace stem::federation {

// A reply that outlives its call.
struct OwnedReply {
  OwnedReply() = default;
  explicit OwnedReply(const Reply& reply);

  Reply::Kind kind = Reply::Kind::kNil;
  RedisError error = RedisError::kNone;
  std::int64_t integer = 0;
  std::string text;
  std::vector<OwnedReply> elements;
};

class BlockingClient {
 public:
  // Connects within `options.greeting_timeout_ns`; the first fault is the answer, there is no second attempt.
  static Result<std::unique_ptr<BlockingClient>> connect(RedisOptions options);
  ~BlockingClient();

  // kTimeout when no reply comes within `progress_timeout_ns`, or when a cluster's slot does not settle in that time;
  // kRefused with the server's words for an error reply or when a connection is lost.
  Result<OwnedReply> ask(std::vector<std::string_view> argv);

  // Keys that match, of one type, in order, from every node: all that are there from the beginning to the end, unless
  // one goes from node to node twice meanwhile. After `until_ns` (CLOCK_MONOTONIC) what was found by then, and `*all`
  // says false.
  Result<std::vector<std::string>> keys_like(std::string_view pattern, std::string_view type,
                                             std::int64_t until_ns = INT64_MAX, bool* all = nullptr);

  // False after a fault: connect anew.
  bool is_ready() const;
  const Session& session() const;  // of the node that was connected to

 private:
  struct Node;

  BlockingClient(std::unique_ptr<io::Loop> loop, RedisOptions options);
  Result<Node*> node_at(const NodeAddress& address);
  Result<OwnedReply> tell(Node& node, const std::vector<std::string_view>& argv, bool asking);
  Result<std::vector<NodeAddress>> masters();
  Result<bool> scan(Node& node, std::string_view pattern, std::string_view type, std::int64_t until_ns,
                    std::set<std::string>& keys);
  Result<OwnedReply> ask_cluster(const std::vector<std::string_view>& argv);

  std::unique_ptr<io::Loop> loop_;
  RedisOptions options_;
  NodeAddress last_;                                       // that answered
  std::map<std::string, NodeAddress, std::less<>> homes_;  // of hash tags; a hint
  std::map<NodeAddress, std::unique_ptr<Node>> nodes_;
  Node* first_ = nullptr;
};

}  // namespace stem::federation
