// What a worker is told; defaults are those of the reference.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shm/segment.hpp"

namespace stem::worker {

inline constexpr std::uint32_t kMostProcesses = 1024;      // of one supervisor
inline constexpr std::uint32_t kMostAsyncSlots = 1 << 20;  // of one process
inline constexpr std::uint32_t kTasksPerClockRead = 32;    // while handlers take less than a microsecond

enum class PinMode : std::uint8_t { kAuto, kNone, kList };

struct WorkerOptions {
  shm::SegmentOptions segment;  // opened, or made when it is not there
  std::vector<std::string> queues = {"default"};
  std::string node;                 // empty = the host's name
  std::uint32_t concurrency = 0;    // worker processes; 0 = one for each allowed core
  std::uint32_t slots = 1;          // tasks that run at once in a process
  std::uint32_t async_slots = 256;  // coroutine handlers that are under way at once in a process
  std::uint32_t prefetch_multiplier = 2;
  PinMode pin = PinMode::kAuto;
  std::vector<int> pin_cores;             // of PinMode::kList
  std::uint64_t max_tasks_per_child = 0;  // 0 = no limit
  std::uint64_t max_memory_per_child_bytes = 0;
  std::uint32_t autoscale_min = 0;  // both 0 = off
  std::uint32_t autoscale_max = 0;
  std::int64_t spin_ns = 50'000;  // idle spinning before a worker parks
  std::int64_t drain_timeout_ns = 60'000'000'000;
  std::int64_t soft_grace_ns = 30'000'000'000;
  bool print_banner = true;

  // Tasks one process may hold.
  std::uint32_t prefetch() const noexcept {
    const std::uint64_t cap = std::uint64_t{slots} * prefetch_multiplier;
    return static_cast<std::uint32_t>(cap < 1 ? 1 : cap > shm::kHeldSlots ? shm::kHeldSlots : cap);
  }
};

}  // namespace stem::worker
