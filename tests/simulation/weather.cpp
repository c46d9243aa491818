#include "tests/simulation/weather.hpp"

namespace stem::simulation {
namespace {

constexpr std::uint64_t kGentleFaults = static_cast<std::uint64_t>(Fault::kKillRedis) + 1;
constexpr std::uint64_t kAllFaults = static_cast<std::uint64_t>(Fault::kFillUp) + 1;

std::int64_t between(base::Random& random, std::int64_t least, std::int64_t most) {
  return least + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(most - least + 1)));
}

}  // namespace

std::string_view to_string(Weather weather) {
  constexpr std::string_view kNames[] = {"calm", "gentle", "rough"};
  return kNames[static_cast<int>(weather)];
}

std::string_view to_string(Fault fault) {
  constexpr std::string_view kNames[] = {"a connection breaks",  "a host is cut off",
                                         "a host is slow",       "a gateway is killed",
                                         "Redis is stopped",     "Redis is killed",
                                         "a worker is killed",   "a host stands still",
                                         "a host is lost",       "Redis is killed and loses a second",
                                         "a replica takes over", "the database is flushed",
                                         "Redis is full"};
  return kNames[static_cast<int>(fault)];
}

Climate draw_climate(base::Random& random) {
  Climate climate;
  const std::uint64_t kind = random.below(20);
  climate.weather = kind < 2 ? Weather::kCalm : kind < 11 ? Weather::kGentle : Weather::kRough;
  climate.hosts = static_cast<std::uint32_t>(random.below(4) == 0 ? between(random, 4, 10) : between(random, 2, 4));
  climate.tasks_per_host = static_cast<std::uint32_t>(between(random, 3, 25));
  climate.producing_ns = between(random, 1, 10) * kSecondNs;
  climate.faults = climate.weather == Weather::kCalm ? 0 : static_cast<std::uint32_t>(between(random, 1, 5));
  if (climate.weather == Weather::kRough) {
    climate.visibility_ns = between(random, 1, 5) * kSecondNs;
    climate.longest_task_ns = 2 * climate.visibility_ns;
  } else if (climate.weather == Weather::kCalm) {
    climate.visibility_ns = between(random, 1, 3) * kSecondNs;
    climate.longest_task_ns = 3 * climate.visibility_ns;  // renewed, and more than once
  } else {
    climate.longest_task_ns = between(random, 1, 5) * kSecondNs;
  }
  return climate;
}

Fault draw_fault(base::Random& random, Weather weather) {
  return static_cast<Fault>(random.below(weather == Weather::kRough ? kAllFaults : kGentleFaults));
}

std::int64_t draw_length_ns(base::Random& random, Weather weather) {
  const std::int64_t most_ns = weather == Weather::kRough ? 12 * kSecondNs : 3 * kSecondNs;
  return between(random, kMillisecondNs, random.below(2) == 0 ? most_ns / 10 : most_ns);
}

}  // namespace stem::simulation
