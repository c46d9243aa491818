// When something is due.
#pragma once

#include <chrono>
#include <cstdint>

#include "base/clock.hpp"

namespace stem::co {

// `time` from now; beyond all time it is the last moment there is. (As engine::later_ns(), which is on a higher floor.)
inline std::int64_t due_in(std::chrono::nanoseconds time) noexcept {
  const std::int64_t now_ns = base::monotonic_ns();
  return time.count() > INT64_MAX - now_ns ? INT64_MAX : now_ns + time.count();
}

}  // namespace stem::co
