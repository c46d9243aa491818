// Hard time limits: the handler cannot be asked, so its process is killed; the attempt counts as a failure
// of the task, not as a death by its own fault.
#include <signal.h>

#include "worker/children.hpp"
#include "worker/settle.hpp"

namespace stem::worker {

void Children::enforce_hard_limit(Child& child, std::int64_t now_ns) {
  const std::uint64_t handle = child.page->hard_task.load(std::memory_order_acquire);
  if (handle == 0 || now_ns < child.page->hard_deadline_ns.load(std::memory_order_relaxed)) return;
  if (child.page->hard_task.load(std::memory_order_acquire) != handle) return;  // over at the last moment
  // Not the process's fault: no back-off.
  child.page->exit_reason.store(static_cast<std::uint32_t>(ExitReason::kHardLimit), std::memory_order_release);
  ::kill(child.pid, SIGKILL);
  settle_killed(child, handle, now_ns);
  on_death(child, now_ns);  // the rest of what it held
}

// If the lease still is the killed process's: a failed attempt, or the end. It may have been settled
// between the look and the kill; then the word is another and nothing happens here.
void Children::settle_killed(const Child& child, std::uint64_t handle, std::int64_t now_ns) {
  const shm::Segment& segment = engine_.segment();
  const engine::TaskId id{segment.epoch(), handle};
  if (id.slot() >= segment.geometry().slot_count) return;
  const engine::Lease lease{id.slot(), segment.descriptor(id.slot()).control.load()};
  if (lease.word.state() != shm::State::kLeased || lease.word.owner() != child.row + 1 ||
      lease.word.generation() != id.generation())
    return;
  engine::TaskView task;
  if (!engine_.view(lease, task)) return;
  settle_hard_limit(engine_, lease, task, now_ns);
}

}  // namespace stem::worker
