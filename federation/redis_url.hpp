// Where a Redis is, as people write it.
//   redis://[[user]:password@]host[:port][/db]      rediss:// the same over TLS
//   unix:///path/to/socket[?db=N]                   unix://user:password@/path
//   redis+sentinel://[[user]:password@]host[:port][,host[:port]...]/MASTER[/db]    rediss+sentinel:// over TLS
// User, password and path may use %XX. Without a user the password is the default user's. With Sentinels they are the
// master's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace stem::federation {

struct HostPort {
  std::string host;  // without brackets
  std::uint16_t port = 0;
  friend bool operator==(const HostPort&, const HostPort&) = default;
};

struct RedisUrl {
  std::string host;  // without brackets
  std::uint16_t port = 6379;
  std::string socket_path;  // not empty: a Unix socket, and host and port mean nothing
  std::string user;
  std::string password;
  std::uint32_t database = 0;
  bool tls = false;
  // Not empty: who tells where the master is, and host and port mean nothing.
  std::vector<HostPort> sentinels;
  std::string master_name;

  bool is_unix() const { return !socket_path.empty(); }
  bool has_sentinels() const { return !sentinels.empty(); }
  // To be shown: never with the password.
  std::string shown() const;
  friend bool operator==(const RedisUrl&, const RedisUrl&) = default;
};

Result<RedisUrl> parse_redis_url(std::string_view text);

}  // namespace stem::federation
