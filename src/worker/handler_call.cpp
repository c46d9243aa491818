// A handler's call and what its outcome means for the lease.
#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <typeinfo>

#include "base/log.hpp"
#include "shm/names.hpp"
#include "worker/worker_process.hpp"

namespace stem::worker {
namespace {

std::string demangled(const std::type_info* type) {
  if (type == nullptr) return "unknown exception";
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(type->name(), nullptr, nullptr, &status),
                                                    std::free);
  return status == 0 && name ? name.get() : type->name();
}

}  // namespace

Outcome WorkerProcess::call(const HandlerEntry& handler, const engine::Lease& lease, const engine::TaskView& task,
                            std::int64_t now_ns) {
  const std::int64_t soft = task.has_extras && task.extras.soft_limit_ns != 0 ? now_ns + task.extras.soft_limit_ns : 0;
  TaskContext context(*engine_, lease, task, shm::task_name(*segment_, task.task),
                      shm::queue_name(*segment_, task.queue), pulse_->begin_task(soft, task.id.handle), now_ns, &page_);
  try {
    return handler.run(context);
  } catch (const std::exception& error) {
    return Outcome::fail(demangled(&typeid(error)), error.what());
  } catch (abi::__forced_unwind&) {
    throw;  // pthread_exit in a handler: the process ends, and that is a crash
  } catch (...) {
    return Outcome::fail(demangled(abi::__cxa_current_exception_type()), "an exception without a message");
  }
}

void WorkerProcess::settle(const engine::Lease& lease, const engine::TaskView& task, const Outcome& outcome,
                           std::int64_t now_ns) {
  using Kind = Outcome::Kind;
  engine::Settled settled = engine::Settled::kDone;
  switch (outcome.kind()) {
    case Kind::kSuccess:
      // Tiny tasks share an acknowledgement; what takes longer has its own before the next starts.
      settled = timing_.tiny() && outcome.result().empty() ? engine_->succeed_later(lease, task, now_ns)
                                                           : engine_->succeed(lease, task, outcome.result(), now_ns);
      break;
    case Kind::kRetry: return settle_failure(lease, task, outcome, outcome.delay_ns(), now_ns);
    case Kind::kFail: return settle_failure(lease, task, outcome, -1, now_ns);
    case Kind::kSnooze: settled = engine_->snooze(lease, task, outcome.delay_ns(), now_ns); break;
    case Kind::kFailPermanently: {
      // A kind that is a reason of its own (payload-invalid, signature-invalid) is filed under it.
      engine::DeadReason reason = engine::DeadReason::kPermanentFailure;
      (void)engine::parse_dead_reason(outcome.error_kind(), reason);
      settled = engine_->bury(lease, task, reason, {outcome.error_kind(), outcome.message()}, now_ns);
      log::warn("task failed for good",
                {{"task", engine::to_string(task.id)}, {"kind", outcome.error_kind()}, {"error", outcome.message()}});
      break;
    }
    case Kind::kDiscard:
      settled =
          engine_->cancel(lease, task, shm::Counter::kCancelled, {outcome.error_kind(), outcome.message()}, now_ns);
      break;
  }
  if (settled == engine::Settled::kFenced)
    log::warn("lease lost while the task ran: its outcome is void", {{"task", engine::to_string(task.id)}});
}

void WorkerProcess::settle_failure(const engine::Lease& lease, const engine::TaskView& task, const Outcome& outcome,
                                   std::int64_t delay_ns, std::int64_t now_ns) {
  bool retried = false;
  const auto settled = engine_->fail(lease, task, {outcome.error_kind(), outcome.message()}, delay_ns, now_ns, retried);
  log::info(settled == engine::Settled::kFenced ? "lease lost while the task ran: its failure is void"
            : retried                           ? "task failed, will be retried"
                                                : "task failed, now a dead letter",
            {{"task", engine::to_string(task.id)},
             {"attempt", task.tally.attempts},
             {"kind", outcome.error_kind()},
             {"error", outcome.message()}});
}

}  // namespace stem::worker
