// One history of a cluster, from a seed: hosts, a Redis, the network between them, tasks, faults, and the ledger that
// must be right at its end.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "tests/simulation/virtual_host.hpp"

namespace stem::simulation {

struct SimulationOptions {
  std::uint64_t seed = 1;
  std::uint32_t hosts = 0;           // 0 = as the seed says
  std::int64_t producing_ns = 0;     // for how long tasks are made and faults happen; 0 = as the seed says
  std::uint32_t tasks_per_host = 0;  // 0 = as the seed says
  Canary canary = Canary::kNone;
  bool trace = false;
  std::string directory;  // for segments
};

struct Outcome {
  std::uint64_t seed = 0;
  std::vector<std::string> violations;
  std::deque<std::string> diary;  // its end
  std::uint64_t digest = 0;
  std::string weather;
  std::uint64_t events = 0, commands = 0, tasks = 0, faults = 0, lost = 0, repeated = 0, foreign_ends = 0,
                most_over = 0;
  std::int64_t virtual_ns = 0;
  bool good() const { return violations.empty(); }
};

Outcome simulate(const SimulationOptions& options);

}  // namespace stem::simulation
