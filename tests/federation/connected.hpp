// A Redis connection with its loop and a diary of what it told.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "federation/blocking_client.hpp"
#include "federation/redis_connection.hpp"
#include "io/loop.hpp"

namespace stem::test {

using federation::OwnedReply;

class Connected {
 public:
  // Fast in everything that waits, so that tests of faults are quick.
  static federation::RedisOptions quick(const std::string& url);

  explicit Connected(federation::RedisOptions options, std::optional<io::Backend> backend = std::nullopt);

  io::Loop& loop() { return *loop_; }
  federation::RedisConnection& redis() { return *redis_; }
  federation::RedisConnection* operator->() { return redis_.get(); }
  void forget() { redis_.reset(); }

  // Turns the loop until the condition holds; false after the deadline.
  [[nodiscard]] bool turn_until(const std::function<bool()>& condition,
                                std::chrono::milliseconds deadline = std::chrono::seconds(10));
  [[nodiscard]] bool wait_ready() {
    return turn_until([this] { return redis_->is_ready(); });
  }
  // One command and its reply; a reply of kind error and text "no reply" when none comes.
  OwnedReply ask(std::vector<std::string_view> argv);

  std::vector<federation::Session> sessions;
  std::vector<std::string> losses;
  std::vector<OwnedReply> messages;
  int rooms = 0;

 private:
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<federation::RedisConnection> redis_;
};

}  // namespace stem::test
