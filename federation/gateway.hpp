// The gateway of a host: one process, one thread, that joins the host's segment and Redis (docs/federation.md).
// It may be killed at any instruction; the next one goes on from what the segment and Redis say.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "federation/exporter.hpp"
#include "federation/importer.hpp"
#include "federation/redis_url.hpp"
#include "federation/registry.hpp"
#include "federation/tls.hpp"

namespace stem::federation {

struct GatewayOptions {
  std::string name_space = "stem";
  std::string directory;  // of the segment; empty = the default
  RedisUrl redis;
  TlsOptions tls;
  std::string redis_name_space = "stem";  // the keys' prefix, shared by all hosts of a cluster
  bool cluster = false;
  std::string node;  // shown; empty = the host's name
  std::vector<std::string> exports;
  std::vector<std::string> imports;
  Policy policy = Policy::kLocalFirst;
  Hold hold = Hold::kUntilReceived;
  std::uint32_t wait_replicas = 0;  // of Redis, that must have a task before it is let go here
  std::uint32_t prefetch_multiplier = 4;
  bool local_limits = false;  // rate and concurrency limits of these queues are not shared with other hosts
  // Of tasks of queues that are exported and imported here (with the policy global: exported).
  UniqueKeys unique_keys = UniqueKeys::kFailOpen;
  std::shared_ptr<const Signer> signer;  // nullptr: nothing is signed, and nothing need be
  std::int64_t heartbeat_every_ns = kHeartbeatEveryNs;
  std::int64_t spin_ns = 0;  // looks for what comes, after the last task that came, left or ended, before it sleeps
  std::int64_t drain_ns = 5'000'000'000;  // on a stop: for what runs here to end
};

// Runs until SIGTERM or SIGINT. What it says goes to the log. Refuses when this segment has a gateway already, and
// queues whose names would be lanes of others (`q:p1`).
Result<void> run_gateway(const GatewayOptions& options);

}  // namespace stem::federation
