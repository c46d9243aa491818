// Which core a worker process runs on.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "worker/worker_options.hpp"

namespace stem::worker {

// "0-3,8" -> {0, 1, 2, 3, 8}, in the order given.
Result<std::vector<int>> parse_cpu_list(std::string_view text);
// "auto", "none" or a list.
Result<void> parse_pin(std::string_view text, WorkerOptions& options);

// The cores that this process may run on.
std::vector<int> allowed_cores();

// The core for the n-th worker process; -1 = not pinned. `cores` is allowed_cores() or the list.
int core_for(const WorkerOptions& options, const std::vector<int>& allowed, std::uint32_t n);

// Pins the calling thread and returns what the kernel says afterwards: the core when it is exactly one,
// otherwise -1.
int pin_to(int core);

}  // namespace stem::worker
