// The flags of `stem worker start`, and the environment behind them. One place for the command and for
// worker_main().
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "worker/worker_options.hpp"

namespace CLI {
class App;
}

namespace stem::api {

// As they were typed; empty or zero = not given.
struct WorkerFlags {
  std::string name_space;
  std::vector<std::string> queues;
  std::string node;
  std::uint32_t concurrency = 0;
  std::uint32_t prefetch_multiplier = 0;
  std::string pin = "auto";
  std::uint64_t max_tasks_per_child = 0;
  std::string max_memory_per_child;
  std::string autoscale;       // "MIN,MAX"
  std::string spin_us;         // a whole number
  std::string drain_timeout;
  std::string soft_grace;
};

// Adds the flags to a command; `flags` outlives it.
void add_worker_flags(CLI::App& command, WorkerFlags& flags);

// Flags before environment before defaults. kInvalidArgument names the flag that does not parse.
Result<worker::WorkerOptions> worker_options(const WorkerFlags& flags);

// `given`, or $STEM_NAMESPACE, or "stem".
std::string effective_namespace(std::string_view given);
std::vector<std::string> effective_queues(const std::vector<std::string>& given);

}  // namespace stem::api
