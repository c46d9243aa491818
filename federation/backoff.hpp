// How long to wait before the next attempt: exponential with full jitter, so that a thousand hosts that lost the same
// server do not come back at the same moment.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/random.hpp"

namespace stem::federation {

class Backoff {
 public:
  Backoff(std::int64_t base_ns, std::int64_t max_ns, std::uint64_t seed)
      : base_ns_(base_ns), max_ns_(max_ns), random_(seed) {}

  // The wait after one more failure: random in [0, base), [0, 2 base), ... up to [0, max).
  std::int64_t next_ns() {
    const int doublings = std::min(failures_, 32);
    ++failures_;
    const std::int64_t ceiling_ns = base_ns_ > (max_ns_ >> doublings) ? max_ns_ : base_ns_ << doublings;
    return static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(std::max<std::int64_t>(ceiling_ns, 1))));
  }
  void reset() { failures_ = 0; }
  int failures() const { return failures_; }

 private:
  std::int64_t base_ns_;
  std::int64_t max_ns_;
  int failures_ = 0;
  base::Random random_;
};

}  // namespace stem::federation
