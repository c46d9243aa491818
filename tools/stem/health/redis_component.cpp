#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "base/units.hpp"
#include "federation/redis_health.hpp"
#include "federation/redis_url.hpp"
#include "tools/stem/health/component.hpp"

namespace stem::cli {
namespace {

using federation::RedisHealth;
using nlohmann::ordered_json;

ordered_json facts_of(const RedisHealth& health) {
  ordered_json streams = ordered_json::array();
  for (const federation::StreamHealth& stream : health.streams) {
    ordered_json row{{"key", stream.key}, {"length", stream.length}, {"pending", stream.pending}, {"lag", nullptr}};
    if (stream.lag) row["lag"] = *stream.lag;
    streams.push_back(std::move(row));
  }
  return {{"version", health.version},
          {"role", health.role},
          {"persistence", federation::persistence_text(health)},
          {"maxmemoryPolicy", health.eviction},
          {"usedMemoryBytes", health.used_memory_bytes},
          {"maxMemoryBytes", health.max_memory_bytes},
          {"replicas", health.replicas},
          {"clusterState", health.cluster_state.empty() ? ordered_json() : ordered_json(health.cluster_state)},
          {"streams", std::move(streams)},
          {"streamsComplete", health.streams_complete}};
}

std::string detail_of(const RedisHealth& health) {
  std::int64_t length = 0;
  std::int64_t pending = 0;
  for (const federation::StreamHealth& stream : health.streams) {
    length += stream.length;
    pending += stream.pending;
  }
  return fmt::format("Redis {} ({}), persistence {}, {}, {} replicas, {} streams with {} tasks ({} pending)",
                     health.version, health.role, federation::persistence_text(health), health.eviction,
                     health.replicas, health.streams.size(), length, pending);
}

}  // namespace

bool is_redis_url(const std::string& url) {
  const std::string_view scheme = std::string_view(url).substr(0, url.find("://"));
  return scheme == "unix" || scheme == "redis" || scheme == "rediss" || scheme == "redis+sentinel" ||
         scheme == "rediss+sentinel";
}

void look_at_redis(const std::string& url, bool is_cluster, const Context& context, Component& component) {
  const auto parsed = federation::parse_redis_url(url);
  if (!parsed.ok()) {
    component.detail = parsed.error().message;
    return;
  }
  federation::RedisOptions options;
  options.url = *parsed;
  options.tls = {.ca_file = context.config.text("tls.ca_cert"),
                 .certificate_file = context.config.text("tls.client_cert"),
                 .key_file = context.config.text("tls.client_key")};
  options.client_name = "stem-health";
  component.url = parsed->shown();
  options.follows_slot = is_cluster;
  const auto health = federation::examine_redis(options, federation::Keys(context.namespace_name, is_cluster));
  if (!health.ok()) {
    component.detail = health.error().message;
    return;
  }
  component.ok = health->role != "slave";  // a replica takes no task
  component.round_trip_ns = health->round_trip_ns;
  component.detail = detail_of(*health);
  component.warnings = federation::warnings_of(*health);
  component.facts = facts_of(*health);
}

}  // namespace stem::cli
