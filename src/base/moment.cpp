#include "base/moment.hpp"

#include "base/clock.hpp"

namespace stem::base {

Moment moment_now() noexcept { return {realtime_ns(), monotonic_ns()}; }

}  // namespace stem::base
