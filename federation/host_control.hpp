// Commands to the workers of all hosts: a request in a stream that every gateway reads, carried out by each for its own
// host, answered into a list of the asker's (docs/federation.md, "Worker control").
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "engine/engine.hpp"
#include "federation/keys.hpp"
#include "federation/redis.hpp"
#include "federation/transcript.hpp"
#include "worker/roll_call.hpp"

namespace stem::federation {

struct HostRequest {
  std::string id;  // of the asker's choice, his alone
  worker::Command command = worker::Command::kPing;
  std::uint32_t argument = 0;
  worker::WorkerSelection selection;  // a name may also be a host's (all of its workers) or HOST:WORKER
  bool supervisors_only = false;
  std::int64_t timeout_ms = 2000;
};

std::string_view to_string(worker::Command command) noexcept;
std::string to_json(const HostRequest& request);
// kInvalidArgument with what is wrong: it comes from outside.
Result<HostRequest> host_request_of_json(std::string_view text);

// A worker as an answer describes it; also what `stem worker status --json` prints.
nlohmann::ordered_json json_of(const worker::WorkerRow& row, engine::Engine& engine, std::int64_t now_ns);

// Answers end after this; an asker waits no longer.
inline constexpr std::int64_t kReplyKeptMs = 60'000;
inline constexpr std::int64_t kMostTimeoutMs = 60'000;

// The gateway's side. Does no I/O of its own and reads no clock.
class HostControl {
 public:
  HostControl(engine::Engine& engine, Redis& redis, const Keys& keys, std::string node)
      : engine_(engine), redis_(redis), keys_(keys), node_(std::move(node)) {}

  void on_ready();
  void step(const Clocks& clocks);
  // Workers are being asked: to be called again soon.
  bool is_busy() const { return !calls_.empty(); }

 private:
  struct Call {
    HostRequest request;
    std::unique_ptr<worker::RollCall> roll;
    std::vector<std::string> unknown;
    std::int64_t deadline_ns = 0;
  };
  void on_time(const Reply& reply, std::int64_t sent_ns);
  void read();
  void on_requests(const Reply& reply);
  void begin(std::string_view entry, std::string_view text);
  void answer(Call& call);
  std::int64_t redis_now_ms() const { return redis_ms_ + (now_ns_ - redis_at_ns_) / 1'000'000; }

  engine::Engine& engine_;
  Redis& redis_;
  const Keys& keys_;
  std::string node_;
  std::deque<Call> calls_;
  std::string last_;  // entry of the stream; empty = not known yet
  std::int64_t now_ns_ = 0, read_at_ns_ = 0;
  std::int64_t redis_ms_ = 0, redis_at_ns_ = 0;  // its clock, and when by ours
  bool asking_ = false;
};

}  // namespace stem::federation
