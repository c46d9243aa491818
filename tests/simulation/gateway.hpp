// The gateway's core as the process wires it (federation/gateway.cpp): the same objects, called in the same order, over
// the virtual network and in virtual time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "engine/keeper.hpp"
#include "federation/exporter.hpp"
#include "federation/importer.hpp"
#include "federation/limit_desk.hpp"
#include "tests/simulation/canary.hpp"
#include "tests/simulation/connection.hpp"
#include "tests/support/attached.hpp"

namespace stem::simulation {

struct GatewayOptions {
  federation::Policy policy = federation::Policy::kGlobal;
  federation::Hold hold = federation::Hold::kUntilReceived;
  bool shared_limits = false;
  federation::UniqueKeys unique_keys = federation::UniqueKeys::kOfHost;
  std::uint32_t replicas = 0;
  std::uint32_t prefetch_multiplier = 2;
  std::int64_t visibility_ms = 30'000;
  std::uint32_t window = 4096;
  std::int64_t poll_ns = 20 * kMillisecondNs;  // how soon it looks again while something is in hand
  Canary canary = Canary::kNone;
};

class VirtualHost;

class VirtualGateway {
 public:
  VirtualGateway(VirtualHost& host, VirtualServer& server, Timeline& time, Diary& diary, std::uint64_t seed,
                 const GatewayOptions& options, std::uint64_t life);
  ~VirtualGateway();

  void start();
  // Something happened that it would wake up from.
  void wake(std::int64_t after_ns);
  // The host goes on after it stood still.
  void resume();

  const federation::Exporter& exporter() const { return *exporter_; }
  const federation::Importer& importer() const { return *importer_; }
  // How many tasks it may have here, by its workers.
  std::uint64_t room() const;

 private:
  void adopt();
  void fence_predecessors();
  void take_asked(const federation::Clocks& clocks);
  void on_ready();
  void on_lost();
  void turn();
  std::string client_name() const { return "stem-gateway:" + transcript_->host(); }

  VirtualHost& host_;
  Timeline& time_;
  GatewayOptions options_;
  std::unique_ptr<test::Attached> self_;
  std::unique_ptr<engine::Keeper> keeper_;
  std::unique_ptr<federation::Transcript> transcript_;
  federation::Keys keys_{"stem"};
  std::unique_ptr<VirtualConnection> redis_, reader_;
  std::unique_ptr<CanaryRedis> seen_redis_, seen_reader_;
  std::unique_ptr<federation::Exporter> exporter_;
  std::unique_ptr<federation::Importer> importer_;
  std::unique_ptr<federation::LimitDesk> limits_;  // nullptr: each host's own
  std::int64_t turn_at_ns_ = INT64_MAX;
  std::uint64_t turn_number_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace stem::simulation
