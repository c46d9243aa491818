// Schedules and their ticks, as tests of the journal need them.
#pragma once

#include <gtest/gtest.h>

#include <string_view>

#include "beat/store.hpp"
#include "tests/journal/host.hpp"

namespace stem::journal {

inline constexpr std::int64_t kOrigin = 1'700'000'000 * kSecondNs;

inline beat::Entry entry(const char* json) {
  auto parsed = beat::Entry::parse(nlohmann::json::parse(json));
  EXPECT_TRUE(parsed.ok()) << parsed.error().message;
  return *parsed;
}

// Fires the tick of an entry that was planned for that time.
inline void fire(Host& host, std::string_view id, std::int64_t planned_ns, std::uint64_t number) {
  const auto stored = beat::ScheduleStore(*host.producer).find(id);
  ASSERT_TRUE(stored);
  const shm::TurnWord turn(host.segment->schedule(stored->row).turn.load());
  test::Numbered tick(host.queue, host.task, number);
  ASSERT_EQ(host.producer->fire_tick(tick.spec, stored->row, planned_ns, turn, now()).status,
            engine::TickStatus::kFired);
}

// The number of the last tick that is marked as fired, of an entry that ticks every minute; 0 = none, or no entry.
inline std::uint64_t marked(Host& host, std::string_view id) {
  const auto stored = beat::ScheduleStore(*host.producer).find(id);
  if (!stored || stored->figures.fired_ns == 0) return 0;
  return static_cast<std::uint64_t>((stored->figures.fired_ns - kOrigin) / kSecondNs / 60);
}

}  // namespace stem::journal
