#include "federation/redis_health.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/clock.hpp"
#include "base/units.hpp"
#include "federation/blocking_client.hpp"
#include "federation/info_text.hpp"
#include "federation/json_record.hpp"

namespace stem::federation {
namespace {

constexpr int kPings = 9;
constexpr std::int64_t kLookAroundNs = 2'000'000'000;  // for finding streams among other people's keys
constexpr double kNearlyFull = 0.8;
constexpr int kLeastMajor = 6;  // XAUTOCLAIM came with 6.2
constexpr int kLeastMinor = 2;

std::int64_t number_in(std::string_view info, std::string_view name) {
  return parse_wire_number(info_value(info, name)).value_or(0);
}

Result<std::int64_t> median_round_trip_ns(BlockingClient& client) {
  std::array<std::int64_t, kPings> times{};
  for (std::int64_t& time : times) {
    const std::int64_t start_ns = base::monotonic_ns();
    if (auto pong = client.ask({"PING"}); !pong.ok()) return pong.error();
    time = base::monotonic_ns() - start_ns;
  }
  std::nth_element(times.begin(), times.begin() + kPings / 2, times.end());
  return times[kPings / 2];
}

Result<void> read_info(BlockingClient& client, RedisHealth& health) {
  const auto info = client.ask({"INFO"});
  if (!info.ok()) return info.error().within("INFO");
  const std::string& text = info->text;
  health.version = info_value(text, "redis_version");
  health.role = info_value(text, "role");
  health.append_only_file = number_in(text, "aof_enabled") != 0;
  health.persistence_failed = info_value(text, "rdb_last_bgsave_status") == "err" ||
                              info_value(text, "aof_last_write_status") == "err" ||
                              info_value(text, "aof_last_bgrewrite_status") == "err";
  health.eviction = info_value(text, "maxmemory_policy");
  health.used_memory_bytes = number_in(text, "used_memory");
  health.max_memory_bytes = number_in(text, "maxmemory");
  health.replicas = number_in(text, "connected_slaves");
  return {};
}

// A user, or a service that hosts Redis, may refuse CONFIG: then we do not know, and warn of nothing.
void read_configuration(BlockingClient& client, RedisHealth& health) {
  const auto fsync = client.ask({"CONFIG", "GET", "appendfsync"});
  if (fsync.ok() && fsync->elements.size() == 2) health.append_fsync = fsync->elements[1].text;
  const auto save = client.ask({"CONFIG", "GET", "save"});
  if (save.ok() && save->elements.size() == 2) health.snapshots = !save->elements[1].text.empty();
}

// A list of name, value, name, value as XINFO has it.
const OwnedReply* value_of(const OwnedReply& list, std::string_view name) {
  for (std::size_t i = 0; i + 1 < list.elements.size(); i += 2) {
    if (list.elements[i].text == name) return &list.elements[i + 1];
  }
  return nullptr;
}

void read_stream(BlockingClient& client, const std::string& key, RedisHealth& health) {
  const auto length = client.ask({"XLEN", key});
  const auto groups = client.ask({"XINFO", "GROUPS", key});
  if (!length.ok() || !groups.ok()) return;  // it went away, or is no stream
  StreamHealth stream{.key = key, .length = length->integer};
  for (const OwnedReply& group : groups->elements) {
    if (const OwnedReply* pending = value_of(group, "pending")) stream.pending += pending->integer;
    const OwnedReply* lag = value_of(group, "lag");
    if (lag != nullptr && lag->kind == Reply::Kind::kInteger) stream.lag = stream.lag.value_or(0) + lag->integer;
  }
  health.streams.push_back(std::move(stream));
}

std::string stream_pattern(const Keys& keys) {
  std::string escaped;
  for (const char c : keys.name_space()) {
    if (std::string_view("*?[]\\^").find(c) != std::string_view::npos) escaped += '\\';
    escaped += c;
  }
  return keys.cluster() ? "{" + escaped + ":*}:stream*" : escaped + ":stream:*";
}

// Of a cluster its nodes' all.
void find_streams(BlockingClient& client, const Keys& keys, RedisHealth& health) {
  const auto found =
      client.keys_like(stream_pattern(keys), "stream", base::monotonic_ns() + kLookAroundNs, &health.streams_complete);
  if (!found.ok()) {
    health.streams_complete = false;
    return;
  }
  for (const std::string& key : *found) read_stream(client, key, health);
}

bool too_old(const std::string& version) {
  const std::size_t dot = version.find('.');
  if (dot == std::string::npos) return false;  // it does not tell
  const std::size_t second = std::min(version.find('.', dot + 1), version.size());
  const auto major = parse_wire_number(version.substr(0, dot));
  const auto minor = parse_wire_number(version.substr(dot + 1, second - dot - 1));
  return major && minor && std::pair(*major, *minor) < std::pair<std::int64_t, std::int64_t>(kLeastMajor, kLeastMinor);
}

}  // namespace

Result<RedisHealth> examine_redis(RedisOptions options, const Keys& keys) {
  auto client = BlockingClient::connect(std::move(options));
  if (!client.ok()) return client.error();
  RedisHealth health;
  const auto round_trip = median_round_trip_ns(**client);
  if (!round_trip.ok()) return round_trip.error();
  health.round_trip_ns = *round_trip;
  if (auto read = read_info(**client, health); !read.ok()) return read.error();
  read_configuration(**client, health);
  if (keys.cluster())
    if (const auto state = (*client)->ask({"CLUSTER", "INFO"}); state.ok())
      health.cluster_state = info_value("\n" + state->text, "cluster_state");
  find_streams(**client, keys, health);
  return health;
}

std::string persistence_text(const RedisHealth& health) {
  if (!health.append_only_file) return health.snapshots ? "snapshots" : "none";
  return fmt::format("AOF {}{}", health.append_fsync.empty() ? "on" : health.append_fsync,
                     health.snapshots ? " and snapshots" : "");
}

std::vector<std::string> warnings_of(const RedisHealth& health) {
  std::vector<std::string> out;
  const auto warn = [&](bool wrong, std::string_view sentence, const auto&... values) {
    if (wrong) out.push_back(fmt::format(fmt::runtime(sentence), values...));
  };
  warn(too_old(health.version), "Redis {} is too old: reclaiming the tasks of dead hosts needs {}.{}; upgrade it",
       health.version, kLeastMajor, kLeastMinor);
  warn(!health.cluster_state.empty() && health.cluster_state != "ok",
       "the cluster's state is {}: some slots have no node, and commands are refused; look at CLUSTER NODES",
       health.cluster_state);
  warn(health.role == "slave", "this is a replica and refuses writes: give the master's address, or the Sentinels'");
  warn(
      !health.eviction.empty() && health.eviction != "noeviction",
      "maxmemory-policy is {}: Redis may throw queued tasks away; CONFIG SET maxmemory-policy noeviction, and the same "
      "in redis.conf",
      health.eviction);
  warn(!health.append_only_file,
       "no append-only file: what came since the last snapshot is gone after a restart; CONFIG SET appendonly yes, and "
       "the same in redis.conf");
  warn(health.append_only_file && health.append_fsync == "no",
       "appendfsync is no: a crash of the host loses what its kernel had not written; CONFIG SET appendfsync everysec");
  warn(health.persistence_failed,
       "the last write of the append-only file or snapshot failed: look at the disk's space and rights, and at Redis's "
       "log");
  warn(health.role != "slave" && health.replicas == 0,
       "no replica: the loss of this host is the loss of what it holds; add one with REPLICAOF, and set "
       "min-replicas-to-write 1");
  const bool nearly_full =
      health.max_memory_bytes > 0 &&
      static_cast<double>(health.used_memory_bytes) > kNearlyFull * static_cast<double>(health.max_memory_bytes);
  warn(nearly_full, "{} of {} of memory are used: exports are refused when it is full; raise maxmemory or add workers",
       base::human_size(static_cast<std::uint64_t>(std::max<std::int64_t>(health.used_memory_bytes, 0))),
       base::human_size(static_cast<std::uint64_t>(std::max<std::int64_t>(health.max_memory_bytes, 0))));
  return out;
}

}  // namespace stem::federation
