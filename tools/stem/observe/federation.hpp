// This host's gateway as it says itself, and the cluster as Redis shows it: for `stem observe federation`.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "federation/cluster_view.hpp"
#include "federation/gateway_status.hpp"
#include "shm/segment.hpp"
#include "tools/stem/redis_choice.hpp"
#include "tools/stem/terminal.hpp"

namespace stem::cli {

struct LocalGateway {
  enum class State { kNone, kRunning, kEnded };  // kEnded: it was killed, and left what it said last
  State state = State::kNone;
  federation::GatewayStatus status;  // not when kNone
};

struct ClusterLook {
  std::string redis;  // shown URL
  std::string fault;  // why nothing is known; empty = it answered
  std::vector<federation::Member> members;
  std::vector<federation::QueueLag> queues;
};

struct FederationLook {
  LocalGateway local;
  std::optional<ClusterLook> cluster;  // when a Redis is named
};

LocalGateway look_at_gateway(const shm::Segment& segment);
// The queues of the local gateway, and those that the gateways of the cluster name.
ClusterLook look_at_cluster(federation::BlockingClient& client, const federation::Keys& keys,
                            const LocalGateway& local);

std::string federation_text(const FederationLook& look, const Style& style, std::size_t width);
nlohmann::ordered_json federation_json(const FederationLook& look);

}  // namespace stem::cli
