// What may go wrong in a history, and what that excuses.
//
//   calm    nothing goes wrong. Every task runs once
//   gentle  connections break, gateways and Redis (which keeps what it said) are killed, hosts are cut off, all for
//           less time than a lease lasts. Every task still runs once
//   rough   everything. No task is lost but those whose loss is stated, and each runs at least once
#pragma once

#include <cstdint>
#include <string_view>

#include "base/random.hpp"
#include "tests/simulation/timeline.hpp"

namespace stem::simulation {

enum class Weather : std::uint8_t { kCalm, kGentle, kRough };
std::string_view to_string(Weather weather);

enum class Fault : std::uint8_t {
  kBreakLink,
  kPartition,
  kSlowHost,
  kKillGateway,
  kStopRedis,
  kKillRedis,  // AOF always
  // rough only
  kKillWorker,
  kStopHost,
  kLoseHost,
  kKillRedisEverySecond,  // AOF everysec: the last second is lost
  kFailOver,
  kFlush,
  kFillUp,
};
std::string_view to_string(Fault fault);

// How a history is, drawn from its seed.
struct Climate {
  Weather weather = Weather::kCalm;
  std::uint32_t hosts = 2;
  std::uint32_t tasks_per_host = 20;
  std::int64_t producing_ns = 10 * kSecondNs;
  std::int64_t visibility_ns = 60 * kSecondNs;
  std::int64_t longest_task_ns = kSecondNs;
  std::uint32_t faults = 0;
  bool once() const { return weather != Weather::kRough; }
};

Climate draw_climate(base::Random& random);
Fault draw_fault(base::Random& random, Weather weather);
// How long it lasts.
std::int64_t draw_length_ns(base::Random& random, Weather weather);

}  // namespace stem::simulation
