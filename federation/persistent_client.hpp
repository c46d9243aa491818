// A waiting Redis client that connects again: for processes that live long and ask seldom. Of a Redis Cluster it knows
// the other nodes, for when the one that was named is gone.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "federation/blocking_client.hpp"

namespace stem::federation {

class PersistentClient {
 public:
  // `patience_ns`: how long an answer, or a connection, may take.
  PersistentClient(RedisOptions options, std::int64_t patience_ns);
  virtual ~PersistentClient() = default;

  // Connects when there is no connection. After a fault the next question is refused without a try until a while has
  // passed. What a lost answer was about may have happened, or happen yet.
  virtual Result<OwnedReply> ask(const std::vector<std::string_view>& argv);

 private:
  Result<OwnedReply> failed(Error error);

  RedisOptions options_;
  std::optional<ClusterNodes> nodes_;
  std::unique_ptr<BlockingClient> client_;
  Error fault_;
  std::int64_t pause_ns_ = 0;
  std::int64_t retry_at_ns_ = 0;
};

}  // namespace stem::federation
