#include "worker/task_context.hpp"

#include "base/clock.hpp"
#include "engine/control.hpp"
#include "worker/child_page.hpp"

namespace stem::worker {

std::int64_t TaskContext::deadline_ns() const noexcept {
  if (extras_ == nullptr) return 0;
  const std::int64_t limit = extras_->hard_limit_ns != 0 ? extras_->hard_limit_ns : extras_->soft_limit_ns;
  return limit == 0 ? 0 : engine::later_ns(started_ns_, limit);
}

bool TaskContext::heartbeat() noexcept {
  engine_.self().beat();
  if (!engine_.holds(lease_)) return false;
  engine_.self().count_renewal(task_.queue);
  return true;
}

bool TaskContext::extend_lease(std::int64_t by_ns) noexcept {
  return engine_.extend(lease_, engine::later_ns(base::monotonic_ns(), by_ns)) == engine::Settled::kDone;
}

bool TaskContext::progress(double fraction, std::string_view data) noexcept {
  return engine::set_progress(engine_, lease_, fraction, data) == engine::Settled::kDone;
}

void TaskContext::note_command_group(std::int32_t group) noexcept {
  if (page_ != nullptr) page_->command_group.store(group, std::memory_order_release);
}

}  // namespace stem::worker
