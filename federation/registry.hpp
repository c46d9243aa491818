// This host in the cluster's registry: heartbeats of its gateway and of each of its workers, in Stem's JSON (version
// 1). Written by the gateway, because nobody else of a host talks to Redis. What is gone is taken out of the index: its
// own at once, others' when nobody has heard of them for ten minutes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/query.hpp"
#include "federation/gateway_status.hpp"
#include "federation/keys.hpp"
#include "federation/redis.hpp"
#include "federation/transcript.hpp"

namespace stem::federation {

inline constexpr std::int64_t kHeartbeatEveryNs = 10'000'000'000;  // unless somebody says otherwise
inline constexpr std::int64_t kHeartbeatKeptMs = 60'000;
inline constexpr std::int64_t kLeastHeartbeatNs = 1'000'000'000, kMostHeartbeatNs = 20'000'000'000;  // three are kept

// "gateway:NODE"; a worker of that host is "NODE:WORKER".
std::string gateway_beat_id(std::string_view node);
std::string worker_beat_id(std::string_view node, std::string_view worker);

class Registry {
 public:
  Registry(engine::Engine& engine, Redis& redis, const Keys& keys, std::int64_t every_ns)
      : engine_(engine), redis_(redis), keys_(keys), every_ns_(every_ns) {}

  // With the next step, whenever the last was: a connection is new.
  void beat_now() { beat_at_ns_ = 0; }
  void step(const GatewayStatus& status, const Clocks& clocks);
  bool is_due(std::int64_t now_ns) const { return !left_ && redis_.is_ready() && now_ns >= beat_at_ns_; }
  // This host is no part of the cluster any more. True when Redis has been told, or cannot be.
  bool leave();

 private:
  std::string gateway_beat(const GatewayStatus& status, const Clocks& clocks) const;
  std::string worker_beat(const engine::WorkerStats& worker, const GatewayStatus& status, const Clocks& clocks) const;
  void put(const std::string& id, const std::string& json);
  void forget(const std::string& id);
  void look_for_others(std::int64_t now_ns);
  void on_others(const Reply& members, std::int64_t now_ns);

  engine::Engine& engine_;
  Redis& redis_;
  const Keys& keys_;
  const std::int64_t every_ns_;           // between two heartbeats
  std::unordered_set<std::string> mine_;  // what we have put there
  // Members of the index without a heartbeat, and since when we know.
  std::unordered_map<std::string, std::int64_t> silent_;
  std::int64_t beat_at_ns_ = 0, look_at_ns_ = 0;
  bool left_ = false, told_ = false;
};

}  // namespace stem::federation
