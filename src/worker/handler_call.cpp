// A plain handler's call.
#include "worker/settle.hpp"
#include "worker/worker_process.hpp"

namespace stem::worker {

Outcome WorkerProcess::call(const HandlerEntry& handler, const engine::Lease& lease, const engine::TaskView& task,
                            std::int64_t now_ns) {
  const std::int64_t soft =
      task.has_extras && task.extras.soft_limit_ns != 0 ? engine::later_ns(now_ns, task.extras.soft_limit_ns) : 0;
  TaskContext context(*engine_, lease, task, pulse_->begin_task(soft, task.id.handle), now_ns, &page_);
  try {
    return handler.run(context);
  } catch (...) {
    return outcome_of_exception();
  }
}

}  // namespace stem::worker
