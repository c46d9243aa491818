// A worker process dies in the middle of a task: how long until the task starts in another one.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/processes.hpp"

namespace stem::bench {

enum class Death {
  kKilled,       // SIGKILL from outside
  kSegmentation  // the handler itself reads address 0, with core dumps on
};

struct CrashPlan {
  Death death = Death::kKilled;
  std::uint64_t deaths = 200;
  std::uint64_t victim_bytes = 0;  // memory that the victim has written to
};

struct CrashTimes {
  std::vector<std::uint64_t> ns;  // from just before the kill (or the crash) to the start elsewhere
  std::uint64_t core_files = 0;   // seen while measuring; removed
};

// A supervisor with its worker processes, all real; a task whose handler waits is killed with its process.
CrashTimes redelivery_times(const CrashPlan& plan);

// What the kernel alone needs: from just before SIGKILL until a process that waits for the victim's robust
// mutex runs again.
std::vector<std::uint64_t> bare_death_times(const CrashPlan& plan);

}  // namespace stem::bench
