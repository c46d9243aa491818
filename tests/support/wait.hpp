// Waiting for a condition, with a deadline: no test sleeps for luck.
#pragma once

#include <chrono>
#include <thread>

namespace stem::test {

// Only a failure takes that long.
inline constexpr std::chrono::seconds kLong(60);

// True as soon as `condition()` is; false when `deadline` passed without. The pause between looks only
// saves processor time, the answer never depends on it.
template <class Condition>
[[nodiscard]] bool wait_until(Condition condition,
                              std::chrono::milliseconds deadline = std::chrono::milliseconds(10'000)) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  for (;;) {
    if (condition()) return true;
    if (std::chrono::steady_clock::now() >= end) return condition();
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

}  // namespace stem::test
