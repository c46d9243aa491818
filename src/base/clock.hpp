// Time. `monotonic_ns()` is CLOCK_MONOTONIC read through the time stamp counter: about 10 ns instead of
// 22, re-anchored to the kernel's clock at least every millisecond, so it never strays more than some
// tens of nanoseconds and all processes of a host agree. Where the counter is not invariant (or the
// kernel does not trust it as its clock source) it is the plain system call.
#pragma once

#include <cstdint>

namespace stem::base {

// Nanoseconds of CLOCK_MONOTONIC. Never goes back within one thread. Thread-safe.
std::int64_t monotonic_ns() noexcept;

// Nanoseconds of CLOCK_REALTIME: for people, ETA and cron only.
std::int64_t realtime_ns() noexcept;

}  // namespace stem::base
