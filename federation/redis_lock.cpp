#include "federation/redis_lock.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/clock.hpp"
#include "federation/beat_scripts.hpp"
#include "federation/json_record.hpp"

namespace stem::federation {

using shm::BeatCounter;

namespace {

constexpr std::int64_t kMostLookNs = 500'000'000;  // how often a waiting process looks
constexpr std::int64_t kAfterFaultNs = 100'000'000;

}  // namespace

RedisLock::RedisLock(engine::Engine& engine, PersistentClient& redis, const Keys& keys, std::string owner,
                     std::int64_t ttl_ns)
    : engine_(engine),
      redis_(redis),
      lock_key_(keys.lock("beat")),
      fence_key_(keys.lock_fence("beat")),
      owner_(std::move(owner)),
      ttl_ns_(ttl_ns) {}

void RedisLock::count(BeatCounter counter) const {
  engine_.segment().schedules().counters[static_cast<int>(counter)].fetch_add(1, std::memory_order_relaxed);
}

bool RedisLock::still_ours() const { return holding_ && base::monotonic_ns() < until_ns_; }

bool RedisLock::hold(std::int64_t now_ns) {
  if (now_ns < ask_at_ns_ && (!holding_ || now_ns < until_ns_)) return holding_;
  const bool held = holding_;
  const bool answered = ask(now_ns);
  if (!answered) {
    ask_at_ns_ = now_ns + kAfterFaultNs;
    holding_ = held && base::monotonic_ns() < until_ns_;
  } else {
    ask_at_ns_ = now_ns + (holding_ ? ttl_ns_ / 2 : std::min(ttl_ns_ / 4, kMostLookNs));
    if (!held) count(holding_ ? BeatCounter::kLockAcquired : BeatCounter::kLockContended);
  }
  if (held && !holding_) count(BeatCounter::kLockRenewFailed);
  return holding_;
}

// False when there is no answer: then what we know stands.
bool RedisLock::ask(std::int64_t now_ns) {
  const std::string ttl_ms = fmt::to_string(ttl_ns_ / 1'000'000), known = fmt::to_string(token_);
  const std::int64_t before_ns = base::realtime_ns();
  const auto answer = redis_.ask({"EVAL", kTakeLockScript, "2", lock_key_, fence_key_, owner_, ttl_ms, known});
  fault_ = answer.ok() ? std::string() : answer.error().message;
  if (!answer.ok()) return false;
  const auto& parts = answer->elements;
  const auto seconds = parts.size() == 4 ? parse_wire_number(parts[2].text) : std::nullopt;
  const auto micros = parts.size() == 4 ? parse_wire_number(parts[3].text) : std::nullopt;
  if (!seconds || !micros || *seconds < 0 || *seconds > 1'000'000'000'000 / 128) {
    fault_ = "the lock's answer makes no sense";
    return false;
  }
  ahead_ns_ = *seconds * 1'000'000'000 + *micros * 1000 - (before_ns + base::realtime_ns()) / 2;
  holding_ = parts[0].integer == 1;
  if (!holding_) return true;
  token_ = static_cast<std::uint64_t>(parts[1].integer);
  until_ns_ = now_ns + ttl_ns_;  // from before it was asked
  return true;
}

void RedisLock::release() {
  if (!holding_) return;
  holding_ = false;
  (void)redis_.ask({"EVAL", kFreeLockScript, "1", lock_key_, owner_});  // else it ends by itself
}

std::int64_t RedisLock::next_ns(std::int64_t now_ns) const { return std::max(ask_at_ns_, now_ns); }

}  // namespace stem::federation
