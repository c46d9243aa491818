// A moment by both clocks, to be written down once (a segment's birth): not for measuring time.
#pragma once

#include <cstdint>

namespace stem::base {

struct Moment {
  std::int64_t realtime_ns;   // for people
  std::int64_t monotonic_ns;  // the zero of times kept inside the segment
};

Moment moment_now() noexcept;

}  // namespace stem::base
