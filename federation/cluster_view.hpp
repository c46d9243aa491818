// The cluster as Redis shows it to anybody: who is part of it, and what waits in its queues. Asked once, by command
// lines.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "federation/blocking_client.hpp"
#include "federation/keys.hpp"

namespace stem::federation {

// One member of ns:worker:heartbeats.
struct Member {
  enum class State : std::uint8_t {
    kAlive,
    kSilent,  // it has missed a heartbeat
    kGone,    // there is no heartbeat of it any more
  };
  std::string id;
  std::string kind;  // gateway, supervisor, worker; empty: another program than ours
  std::string node;
  State state = State::kGone;
  std::int64_t age_ns = 0;      // by the clock of Redis; not when it is gone
  nlohmann::ordered_json beat;  // null when it is gone or makes no sense

  bool is_gateway() const { return kind == "gateway"; }
};

std::string_view to_string(Member::State state) noexcept;

struct QueueLag {
  std::string name;
  std::int64_t length = 0;   // entries of all lanes: waiting and given to hosts
  std::int64_t pending = 0;  // given to hosts, not over
  std::int64_t delayed = 0;
  std::int64_t dead = 0;
  std::int64_t waiting() const { return length > pending ? length - pending : 0; }
};

// Gateways first, then by id.
Result<std::vector<Member>> members_of(BlockingClient& client, const Keys& keys);

Result<QueueLag> lag_of(BlockingClient& client, const Keys& keys, const std::string& queue);

}  // namespace stem::federation
