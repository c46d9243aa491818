// The whole life of many tasks: producers enqueue, one worker claims, views, begins, runs a handler that
// does nothing, succeeds and counts. Everything a real worker promises is switched on; only the handler's
// work is left out. What several subcommands measure in different shapes.
#pragma once

#include <cstdint>

#include "bench/measure.hpp"
#include "bench/processes.hpp"
#include "bench/scene.hpp"

namespace stem::bench {

inline constexpr std::uint32_t kMostProducers = 64;
inline constexpr std::uint32_t kMostBatch = 64;

struct LifeCycle {
  std::uint64_t tasks = 4u << 20;    // that are timed
  std::uint32_t payload_bytes = 64;  // at least 8
  std::uint32_t batch = 1;           // 1: Engine::enqueue; more: enqueue_many
  std::uint32_t prefetch = 64;       // leases the worker asks for at once
  std::uint32_t depth = 30'000;      // tasks queued at most
  bool fill_first = false;           // `depth` tasks are queued before the clock starts, and left when it stops
  std::uint32_t producers = 1;
  bool pin_producers = true;  // all on cpus.first; otherwise wherever the system puts them
  bool in_place = false;      // loan and publish instead of enqueue
};

// Tasks per second as the worker counts them, with the hand-off before and after in the worker and the
// first producer. Throws Failure when a task was lost, came twice or had wrong bytes.
Measured life_cycle_rate(CpuPair cpus, const LifeCycle& shape);

// The same in a segment that others use, too; `companions` run beside it, and end by themselves.
Measured life_cycle_rate(CpuPair cpus, const LifeCycle& shape, const Scene& scene,
                         const std::vector<Role>& companions = {});
shm::SegmentOptions segment_for(const LifeCycle& shape);

}  // namespace stem::bench
