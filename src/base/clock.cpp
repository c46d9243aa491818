#include "base/clock.hpp"

#include <ctime>

#if defined(__x86_64__)
#include <x86intrin.h>

#include <fstream>
#include <string>
#endif

namespace stem::base {
namespace {

std::int64_t read_clock(clockid_t id) noexcept {
  timespec ts{};
  clock_gettime(id, &ts);
  return static_cast<std::int64_t>(ts.tv_sec) * 1'000'000'000 + ts.tv_nsec;
}

#if defined(__x86_64__)

// The kernel keeps "tsc" as its clock source only while it trusts the counter.
bool kernel_trusts_tsc() {
  std::ifstream file("/sys/devices/system/clocksource/clocksource0/current_clocksource");
  std::string name;
  file >> name;
  return name == "tsc";
}

// Nanoseconds per tick as a 32.32 fixed-point factor, measured over about half a millisecond; its error
// (some 10^-5) matters only between two anchors, a millisecond apart: tens of nanoseconds.
std::uint64_t measure_factor() {
  const std::int64_t start_ns = read_clock(CLOCK_MONOTONIC);
  const std::uint64_t start_tick = __rdtsc();
  std::int64_t now_ns = start_ns;
  while (now_ns - start_ns < 500'000) now_ns = read_clock(CLOCK_MONOTONIC);
  const std::uint64_t ticks = __rdtsc() - start_tick;
  if (ticks == 0) return 0;
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(now_ns - start_ns) << 32) / ticks);
}

// 0 = do not use the counter.
std::uint64_t tick_factor() {
  static const std::uint64_t factor = kernel_trusts_tsc() ? measure_factor() : 0;
  return factor;
}

struct Anchor {
  std::uint64_t factor = 0;
  std::uint64_t tick = 0;
  std::uint64_t valid_ticks = 0;  // 0 = not anchored yet
  std::int64_t ns = 0;
  std::int64_t last_ns = 0;
};

thread_local Anchor anchor;

[[gnu::noinline]] std::int64_t re_anchor() noexcept {
  Anchor& a = anchor;
  if (a.valid_ticks == 0) {
    a.factor = tick_factor();
    // One millisecond of ticks; without a counter, an anchor that is never valid.
    a.valid_ticks = a.factor == 0 ? 0 : (std::uint64_t{1'000'000} << 32) / a.factor;
  }
  const std::int64_t ns = read_clock(CLOCK_MONOTONIC);
  a.tick = __rdtsc();
  a.ns = ns;
  if (ns > a.last_ns) a.last_ns = ns;
  return a.last_ns;
}

#endif

}  // namespace

std::int64_t monotonic_ns() noexcept {
#if defined(__x86_64__)
  Anchor& a = anchor;
  const std::uint64_t ticks = __rdtsc() - a.tick;
  if (ticks >= a.valid_ticks) [[unlikely]]
    return re_anchor();
  const std::int64_t ns = a.ns + static_cast<std::int64_t>((static_cast<unsigned __int128>(ticks) * a.factor) >> 32);
  if (ns < a.last_ns) return a.last_ns;
  a.last_ns = ns;
  return ns;
#else
  return read_clock(CLOCK_MONOTONIC);
#endif
}

std::int64_t realtime_ns() noexcept { return read_clock(CLOCK_REALTIME); }

}  // namespace stem::base
