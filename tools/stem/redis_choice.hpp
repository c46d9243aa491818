// Which Redis a command talks to: --redis, or the broker_url of the settings when that is one.
#pragma once

#include <memory>
#include <string>

#include "base/result.hpp"
#include "federation/blocking_client.hpp"
#include "federation/keys.hpp"
#include "federation/redis_connection.hpp"
#include "tools/stem/command_line.hpp"
#include "tools/stem/context.hpp"

namespace stem::cli {

struct RedisChoice {
  std::string url;             // of --redis
  std::string name_space;      // of --redis-namespace
  bool redis_cluster = false;  // of --redis-cluster
  bool all_hosts = false;      // of --all-hosts

  // Whether the command is about the cluster rather than this host.
  [[nodiscard]] bool is_cluster() const { return all_hosts || !url.empty(); }
};

// --redis, --redis-namespace, --redis-cluster.
void declare_redis(CommandLine& line, RedisChoice& choice);
// These and --all-hosts; `what` completes "of all hosts: ...".
void declare_all_hosts(CommandLine& line, RedisChoice& choice, const std::string& what);

// Empty when neither the flag nor the settings name a Redis.
std::string redis_url(const RedisChoice& choice, const Context& context);
federation::Keys redis_keys(const RedisChoice& choice, const Context& context);
// How to reach it; kInvalidArgument when none is named or the URL is not right.
Result<federation::RedisOptions> redis_options(const RedisChoice& choice, const Context& context);

struct RedisHold {
  std::unique_ptr<federation::BlockingClient> client;
  federation::Keys keys;
  std::string shown;  // the URL, without a password
};
Result<RedisHold> connect(const RedisChoice& choice, const Context& context);

}  // namespace stem::cli
