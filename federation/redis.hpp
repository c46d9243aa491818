// What the federation's core needs of a Redis: commands in order, each answered once. RedisConnection is the real
// one; tests put a model in its place.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <string_view>

#include "federation/redis_connection.hpp"
#include "federation/reply.hpp"

namespace stem::federation {

class Redis {
 public:
  virtual ~Redis() = default;
  // As RedisConnection::command: the handler is called exactly once, later, unless the answer is not kYes.
  virtual Queued command(std::span<const std::string_view> argv, ReplyHandler handler, std::int64_t block_ns = 0) = 0;
  virtual bool is_ready() const = 0;
  // What answers is of no use (a replica, since a fail-over): another connection.
  virtual void drop(const std::string& reason) = 0;

  Queued command(std::initializer_list<std::string_view> argv, ReplyHandler handler, std::int64_t block_ns = 0) {
    return command(std::span(argv.begin(), argv.size()), std::move(handler), block_ns);
  }
};

}  // namespace stem::federation
