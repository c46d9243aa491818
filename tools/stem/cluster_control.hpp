// Commands to the workers of every host, through Redis and their gateways, and what each host answered.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "federation/host_control.hpp"
#include "tools/stem/redis_choice.hpp"

namespace stem::cli {

struct HostAnswer {
  std::string host;  // node of its gateway; of another program, its id in the registry
  bool answered = false;
  bool reachable = true;           // false: a program of another kind, whom we cannot ask
  nlohmann::ordered_json workers;  // an array of objects, see federation::json_of
};

struct ClusterAnswer {
  std::vector<HostAnswer> hosts;     // by name
  std::vector<std::string> unknown;  // names that no host has
};

// Asks, and waits until every host of the registry has answered; at most the request's timeout. `id` is set here.
Result<ClusterAnswer> ask_hosts(RedisHold& redis, federation::HostRequest request);

// Every worker with its host, and the hosts that did not answer.
nlohmann::ordered_json cluster_answer_json(const ClusterAnswer& answer);
std::vector<std::string> silent_hosts(const ClusterAnswer& answer);
// As of the same command on one host: 3 when a host or worker did not answer, 1 for a name that nobody has.
int cluster_exit_code(const ClusterAnswer& answer, bool leaving_is_wanted);

}  // namespace stem::cli
