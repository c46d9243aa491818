// A real worker with coroutine handlers, for the figures of a whole handler.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/processes.hpp"

namespace stem::bench {

struct SleepersMemory {
  double private_bytes = 0;    // of the worker process, for each handler under way
  double own_frame_bytes = 0;  // of the handler's own coroutine: what it asked for itself
  double all_frame_bytes = 0;  // with those that the worker puts around it
  double over_frame_bytes() const { return private_bytes - own_frame_bytes; }
};
// `count` handlers of one worker process asleep at once.
SleepersMemory sleepers_memory(std::uint32_t count);

enum class HandlerKind : std::uint8_t { kPlain, kCoroutine };
// From before the enqueue to the handler's first line, in a worker that has had nothing to do for a while and has
// parked; one at a time. Nanoseconds.
std::vector<std::uint64_t> parked_start_times(CpuPair cpus, HandlerKind kind, std::uint64_t starts);

}  // namespace stem::bench
