// How many worker processes the backlog asks for. On lag, never on processor load. No clock, no I/O: time and
// figures come in.
#pragma once

#include <cstdint>

namespace stem::worker {

class Autoscale {
 public:
  static constexpr std::int64_t kTickNs = 2'000'000'000;
  static constexpr std::int64_t kIdleNs = 30'000'000'000;          // without a backlog before one goes
  static constexpr std::int64_t kUpCooldownNs = 5'000'000'000;     // between two steps up
  static constexpr std::int64_t kDownCooldownNs = 10'000'000'000;  // between two steps down

  // Off when `max` is 0.
  Autoscale(std::uint32_t min, std::uint32_t max) noexcept : min_(min), max_(max) {}

  bool on() const noexcept { return max_ != 0; }
  bool due(std::int64_t now_ns) const noexcept { return on() && now_ns >= next_ns_; }
  std::int64_t next_ns() const noexcept { return on() ? next_ns_ : INT64_MAX; }

  // One tick: `backlog` tasks are ready, `processes` are wanted now. Returns how many shall be.
  std::uint32_t tick(std::uint64_t backlog, std::uint32_t processes, std::int64_t now_ns) noexcept;

 private:
  std::uint32_t min_, max_;
  std::int64_t next_ns_ = 0;
  std::int64_t busy_ns_ = INT64_MIN;  // when there was a backlog last
  std::int64_t up_ns_ = INT64_MIN;
  std::int64_t down_ns_ = INT64_MIN;
};

}  // namespace stem::worker
