#include "worker/child_page.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <new>

namespace stem::worker {

const char* to_string(StopMode mode) noexcept {
  switch (mode) {
    case StopMode::kNone: return "none";
    case StopMode::kWarm: return "warm";
    case StopMode::kSoft: return "soft";
    case StopMode::kHard: return "hard";
  }
  return "unknown";
}

const char* to_string(ExitReason reason) noexcept {
  switch (reason) {
    case ExitReason::kNone: return "crash";
    case ExitReason::kStopped: return "stopped";
    case ExitReason::kShutDown: return "shut-down";
    case ExitReason::kRecycledCount: return "max-tasks-per-child";
    case ExitReason::kRecycledMemory: return "max-memory-per-child";
    case ExitReason::kDetached: return "detached";
    case ExitReason::kNoRoom: return "no-room";
    case ExitReason::kHardLimit: return "hard-time-limit";
  }
  return "unknown";
}

void ChildPage::ring_bell() noexcept {
  bell.fetch_add(1, std::memory_order_release);
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&bell), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

ChildPagePtr make_child_page() noexcept {
  void* at = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return nullptr;
  return ChildPagePtr(new (at) ChildPage{});
}

}  // namespace stem::worker
