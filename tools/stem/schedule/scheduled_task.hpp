// From a schedule's entry to the task that a tick of it becomes: the task options that the entry carries, its
// arguments, and headers that say where the task came from.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/call_options.hpp"
#include "beat/scheduler.hpp"
#include "stem/options.hpp"
#include "stem/task.hpp"

namespace stem::cli {

class ScheduledTask {
 public:
  // One line for an option that is unknown or makes no sense.
  static Result<std::unique_ptr<ScheduledTask>> of(const beat::Entry& entry);

  // The engine's view of the tick; lives as long as this object, until the next call.
  Result<engine::TaskSpec> prepare(const beat::Tick& tick, shm::Segment& segment, const beat::Now& now);

 private:
  friend struct TaskOptionKey;
  ScheduledTask() = default;
  [[nodiscard]] TaskInfo info() const { return TaskInfo(name_, task_, keep_result_); }

  std::string name_, queue_, payload_;
  TaskOptions task_;
  EnqueueOptions call_;
  bool keep_result_ = false;
  // What the views in task_ point to.
  std::string rate_, group_rate_, group_rate_key_, group_rate_header_, concurrency_key_, retry_for_, no_retry_for_;
  std::unique_ptr<api::TaskResolver> resolver_;
  std::unique_ptr<api::PreparedCall> prepared_;
};

// The names of the task options that an entry may have.
const std::vector<std::string>& task_option_keys();

// Makes every tick's task anew from its entry.
class ScheduledTaskMaker final : public beat::TickMaker {
 public:
  explicit ScheduledTaskMaker(shm::Segment& segment) : segment_(segment) {}
  Result<engine::TaskSpec> make(const beat::Tick& tick, const beat::Now& now) override;

 private:
  shm::Segment& segment_;
  std::unique_ptr<ScheduledTask> task_;
};

}  // namespace stem::cli
