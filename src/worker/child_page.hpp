// One page shared between the supervisor and one of its worker processes, made before the fork: what is
// private to the two. Everything that others may see is in the roster row.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <memory>

namespace stem::worker {

// Rising order: a later stop never becomes an earlier one.
enum class StopMode : std::uint32_t { kNone = 0, kWarm = 1, kSoft = 2, kHard = 3 };
const char* to_string(StopMode mode) noexcept;

// Why a worker process left by itself.
enum class ExitReason : std::uint32_t {
  kNone = 0,        // it did not: it crashed, or a handler ended the process
  kStopped,         // told to, by signal or by the supervisor
  kShutDown,        // told to, by name: it stays down
  kRecycledCount,   // --max-tasks-per-child
  kRecycledMemory,  // --max-memory-per-child
  kDetached,        // its row was taken from it (a handler closed its descriptors, say)
  kNoRoom,          // it could not join the segment
  kHardLimit,       // a handler was past its hard time limit. W: the supervisor too, who kills it
};
const char* to_string(ExitReason reason) noexcept;

struct ChildPage {
  // W: worker.
  std::atomic<std::uint64_t> row;              // incarnation << 12 | roster index + 1; 0 = not joined
  std::atomic<std::uint64_t> hard_task;        // handle of the task with a hard limit that runs; 0 = none
  std::atomic<std::int64_t> hard_deadline_ns;  // valid while hard_task is set
  std::atomic<std::int32_t> command_group;     // process group of a running command; 0 = none
  std::atomic<std::uint32_t> exit_reason;      // ExitReason
  // W: supervisor, and the worker's own signal handler.
  std::atomic<std::uint32_t> stop;       // StopMode
  std::atomic<std::uint32_t> paused;     // W: supervisor before the fork, worker afterwards
  std::atomic<std::uint32_t> shut_down;  // the stop was meant for this process alone. W: worker
  std::atomic<std::uint32_t> bell;       // futex of the worker's pulse thread: counts notices
  // W: supervisor: when it looks at deadlines next.
  std::atomic<std::int64_t> supervisor_looks_ns;

  StopMode stop_mode() const noexcept { return static_cast<StopMode>(stop.load(std::memory_order_acquire)); }
  // Raises the stop mode; never lowers it.
  void raise_stop(StopMode mode) noexcept {
    std::uint32_t now = stop.load(std::memory_order_acquire);
    const auto wanted = static_cast<std::uint32_t>(mode);
    while (now < wanted && !stop.compare_exchange_weak(now, wanted, std::memory_order_acq_rel)) {
    }
  }
  // Wakes the pulse thread. Async-signal-safe.
  void ring_bell() noexcept;
};
static_assert(sizeof(ChildPage) <= 4096);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

struct ChildPageUnmap {
  void operator()(ChildPage* page) const noexcept { ::munmap(page, 4096); }
};
using ChildPagePtr = std::unique_ptr<ChildPage, ChildPageUnmap>;
// nullptr when there is no memory.
ChildPagePtr make_child_page() noexcept;

}  // namespace stem::worker
