// Revokes across hosts: ns:control:revokes names tasks that shall not run, wherever they are (docs/federation.md,
// "Revokes"). Whoever has one carries it out, and takes it out of the hash when the task is over.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/result.hpp"
#include "federation/keys.hpp"
#include "federation/redis.hpp"
#include "federation/transcript.hpp"

namespace stem::federation {

// Longer than any task waits; a revoke whose task has not come by then goes.
inline constexpr std::int64_t kRevokeKeptUs = 7ll * 86'400 * 1'000'000;

// One value of the hash, in Stem's words.
struct Revoke {
  std::string name_space;
  std::string task_id;
  std::int64_t version = 0;  // of two for one task the higher counts; microseconds of the wall clock
  std::int64_t issued_us = 0;
  std::int64_t expires_us = 0;  // 0 = never said
  bool terminate = false;       // even if it runs
  std::string reason;
  std::string requested_by;
};

std::string to_json(const Revoke& revoke);
Result<Revoke> revoke_of_json(std::string_view text);

// Stores a revoke unless one of a higher version is there; a wish to terminate stays. KEYS revokes. ARGV task id,
// version, revoke, 1 when it terminates. 1 when it was stored, 0 when the other stands.
extern const std::string_view kRevokeScript;
// Takes a revoke out, if it still is that one. KEYS revokes. ARGV task id, revoke.
extern const std::string_view kThrowOutScript;

// A gateway's hold on the hash. Does no I/O of its own and reads no clock.
class RevokeDesk {
 public:
  RevokeDesk(Redis& redis, const Keys& keys) : redis_(redis), keys_(keys) {}

  void on_ready() { some_ = true; }
  // Looks whether there are any, and throws out what is of no use any more.
  void step(const Clocks& clocks);
  // False only when there was none a moment ago.
  bool any() const { return some_; }

  // The handler is told whether Redis has it. False: not now.
  bool publish(const Revoke& revoke, std::function<void(bool)> handler);
  // The handler gets one for each id, empty where there is none; or nothing at all when Redis did not say.
  using Answers = std::vector<std::optional<Revoke>>;
  bool ask(const std::vector<std::string>& ids, std::function<void(const Answers&)> handler);
  // Its task is over.
  void forget(const std::string& task_id);

 private:
  void count(const Reply& reply);
  void sweep(std::string cursor);
  void on_page(const Reply& reply);
  void throw_out(const std::string& task_id, const std::string& text);

  Redis& redis_;
  const Keys& keys_;
  std::int64_t wall_now_us_ = 0;
  std::int64_t look_at_ns_ = 0, sweep_at_ns_ = 0;
  bool some_ = true;
};

}  // namespace stem::federation
