// What a Redis that carries tasks must be like, and whether this one is: asked once, for `stem health`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "federation/keys.hpp"
#include "federation/redis_connection.hpp"

namespace stem::federation {

// One of our streams, with its group.
struct StreamHealth {
  std::string key;
  std::int64_t length = 0;
  std::int64_t pending = 0;         // delivered, not acknowledged
  std::optional<std::int64_t> lag;  // not delivered yet; Redis does not always know
};

struct RedisHealth {
  std::int64_t round_trip_ns = 0;  // of a PING, the median of some
  std::string version;
  std::string role;  // master, slave
  bool append_only_file = false;
  std::string append_fsync;  // always, everysec, no; empty when it may not be asked
  bool snapshots = false;
  bool persistence_failed = false;  // the last write of file or snapshot
  std::string eviction;             // maxmemory-policy; empty when it does not tell
  std::int64_t used_memory_bytes = 0;
  std::int64_t max_memory_bytes = 0;  // 0 = no limit
  std::int64_t replicas = 0;
  std::string cluster_state;  // as the node that was asked sees it; empty where it is none
  std::vector<StreamHealth> streams;
  bool streams_complete = true;  // false: too many keys to look at all
};

// kRefused and kTimeout with the reason: then there is nothing to judge. Of a cluster (`keys` says so, and
// `options.follows_slot`) one node is judged; the streams are those of all.
Result<RedisHealth> examine_redis(RedisOptions options, const Keys& keys);

// One sentence for each thing that is not as it should be, with what to do.
std::vector<std::string> warnings_of(const RedisHealth& health);

// "AOF everysec and snapshots", "none".
std::string persistence_text(const RedisHealth& health);

}  // namespace stem::federation
