// The time a producer lives in: the machine's, or a test kit's own.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/clock.hpp"

namespace stem::api {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual std::int64_t monotonic_ns() const noexcept = 0;
  virtual std::int64_t realtime_ns() const noexcept = 0;
  // Lets time pass; what ends a wait for room in a full queue.
  virtual void pause(std::int64_t ns) const noexcept = 0;
};

}  // namespace stem::api
