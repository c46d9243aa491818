// What the kernel says of a thread right now: running, waiting for a CPU, asleep, stopped, or gone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace stem::cli {

struct ThreadTimes {
  char state = '?';             // of /proc/PID/task/TID/stat: R S D T t Z
  std::string waits_in;         // the kernel's function that it sleeps in; empty when it does not say
  std::uint64_t on_cpu_ns = 0;  // since it began
  std::uint64_t waited_ns = 0;  // ready to run, and another had the CPU
};

// Nothing when there is no such thread, or it is another user's.
std::optional<ThreadTimes> thread_times(std::uint32_t pid, std::uint32_t tid);

// What it did between two looks, in words: "runs on a CPU 97 % of the time", "is stopped (SIGCONT sets it going)".
std::string thread_text(const ThreadTimes& before, const ThreadTimes& now, std::int64_t between_ns);

}  // namespace stem::cli
