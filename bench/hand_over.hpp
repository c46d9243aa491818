// One task at a time through the engine, between two pinned processes: how long it takes to start, and how
// long until its result is back. Several subcommands' subject.
#pragma once

#include <cstdint>

#include "bench/measure.hpp"
#include "bench/processes.hpp"

namespace stem::bench {

struct HandOver {
  Percentiles times;
  double handoff_before_ns = 0;  // one way, in the same two processes
  double handoff_after_ns = 0;
  double handoff_ns() const noexcept { return (handoff_before_ns + handoff_after_ns) / 2; }
};

// From just before Engine::enqueue to the first instruction of the handler, the worker looking for work all
// the time. The handler answers by a bare hand-off; the time is the round trip on the producer's own clock
// less that one hand-off (the median of those beside it).
HandOver start_spinning(CpuPair cpus, std::uint64_t tasks);

// The same with the worker asleep on its doorbell for `idle_ns`.
HandOver start_parked(CpuPair cpus, std::uint64_t tasks, double idle_ns);

// From just before Engine::enqueue of a task that returns 8 bytes until the producer has read them, both
// sides looking all the time. Nothing is subtracted.
HandOver result_back(CpuPair cpus, std::uint64_t tasks);

// Delayed tasks: how late they start. The keeper sleeps until its next due time; the worker spins, or sleeps
// on its doorbell.
struct Lateness {
  Percentiles times;
  std::uint64_t early = 0;  // started before their time: must be none
};
Lateness delayed_start(CpuPair cpus, std::uint64_t tasks, bool worker_parked);

}  // namespace stem::bench
