// One thing that `stem health` looks at: where tasks are handed over, where results are kept.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/stem/context.hpp"

namespace stem::cli {

struct Component {
  std::string name;
  std::string url;  // without a password that may be in it
  bool ok = false;
  std::int64_t round_trip_ns = 0;
  std::string detail;
  std::vector<std::string> warnings;
  nlohmann::ordered_json facts;  // what else is known of it; null when nothing is
};

bool is_redis_url(const std::string& url);

// Fills in what a Redis says of itself; of a Cluster what one node says, and the streams of all.
void look_at_redis(const std::string& url, bool is_cluster, const Context& context, Component& component);

}  // namespace stem::cli
