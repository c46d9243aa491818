// The Redis that exporters and importers speak to in a gateway: a real connection.
#pragma once

#include <string>
#include <utility>

#include "federation/redis.hpp"
#include "federation/redis_connection.hpp"
#include "io/loop.hpp"

namespace stem::federation {

class ConnectedRedis : public Redis {
 public:
  ConnectedRedis(io::Loop& loop, RedisOptions options, RedisEvents events)
      : connection_(loop, std::move(options), std::move(events)) {}
  using Redis::command;
  Queued command(std::span<const std::string_view> argv, ReplyHandler handler, std::int64_t block_ns) override {
    return connection_.command(argv, std::move(handler), block_ns);
  }
  bool is_ready() const override { return connection_.is_ready(); }
  void drop(const std::string& reason) override { connection_.drop(reason); }
  RedisConnection& connection() { return connection_; }

 private:
  RedisConnection connection_;
};

}  // namespace stem::federation
