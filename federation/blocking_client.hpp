// A Redis client that waits: for command lines and set-up, where one question after the other is fast enough. It has a
// loop of its own. What serves tasks uses RedisConnection.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
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

  // kTimeout when no reply comes within `progress_timeout_ns`, kRefused with the server's words for an error reply
  // or when the connection is lost.
  Result<OwnedReply> ask(std::vector<std::string_view> argv);

  // Keys that match, of one type; each at least once, if it is there all the time.
  Result<std::vector<std::string>> keys_like(std::string_view pattern, std::string_view type);

  // False after a fault: nothing more can be asked.
  bool is_ready() const { return redis_->is_ready(); }
  const Session& session() const { return redis_->session(); }

 private:
  BlockingClient(std::unique_ptr<io::Loop> loop, RedisOptions options);

  std::unique_ptr<io::Loop> loop_;
  std::string fault_;
  std::unique_ptr<RedisConnection> redis_;
};

}  // namespace stem::federation
