#include "worker/settle.hpp"

#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <typeinfo>

#include "base/log.hpp"
#include "base/units.hpp"

namespace stem::worker {
namespace {

std::string demangled(const std::type_info* type) {
  if (type == nullptr) return "unknown exception";
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(type->name(), nullptr, nullptr, &status),
                                                    std::free);
  return status == 0 && name ? name.get() : type->name();
}

// What became of the task, as all of these say it.
constexpr std::string_view kFenced = "fenced";

std::string_view settle_failure(engine::Engine& engine, const engine::Lease& lease, const engine::TaskView& task,
                                const Outcome& outcome, std::int64_t delay_ns, std::int64_t now_ns) {
  bool retried = false;
  const auto settled = engine.fail(lease, task, {outcome.error_kind(), outcome.message()}, delay_ns, now_ns, retried);
  log::info(settled == engine::Settled::kFenced ? "lease lost while the task ran: its failure is void"
            : retried                           ? "task failed, will be retried"
                                                : "task failed, now a dead letter",
            {{"task", engine::to_string(task.id)},
             {"attempt", task.tally.attempts},
             {"kind", outcome.error_kind()},
             {"error", outcome.message()}});
  return settled == engine::Settled::kFenced ? kFenced : retried ? "retried" : "failed";
}

std::string_view settle_outcome(engine::Engine& engine, const engine::Lease& lease, const engine::TaskView& task,
                                const Outcome& outcome, Acknowledge how, std::int64_t now_ns) {
  using Kind = Outcome::Kind;
  engine::Settled settled = engine::Settled::kDone;
  std::string_view became = "succeeded";
  switch (outcome.kind()) {
    case Kind::kSuccess:
      settled = how == Acknowledge::kTogether && outcome.result().empty()
                    ? engine.succeed_later(lease, task, now_ns)
                    : engine.succeed(lease, task, outcome.result(), now_ns);
      break;
    case Kind::kRetry: return settle_failure(engine, lease, task, outcome, outcome.delay_ns(), now_ns);
    case Kind::kFail: return settle_failure(engine, lease, task, outcome, -1, now_ns);
    case Kind::kSnooze:
      became = "snoozed";
      settled = engine.snooze(lease, task, outcome.delay_ns(), now_ns);
      break;
    case Kind::kFailPermanently: {
      became = "failed";
      // A kind that is a reason of its own (payload-invalid, signature-invalid) is filed under it.
      engine::DeadReason reason = engine::DeadReason::kPermanentFailure;
      (void)engine::parse_dead_reason(outcome.error_kind(), reason);
      settled = engine.bury(lease, task, reason, {outcome.error_kind(), outcome.message()}, now_ns);
      log::warn("task failed for good",
                {{"task", engine::to_string(task.id)}, {"kind", outcome.error_kind()}, {"error", outcome.message()}});
      break;
    }
    case Kind::kDiscard:
      became = "cancelled";
      settled = engine.cancel(lease, task, shm::Counter::kCancelled, {outcome.error_kind(), outcome.message()}, now_ns);
      break;
  }
  if (settled != engine::Settled::kFenced) return became;
  log::warn("lease lost while the task ran: its outcome is void", {{"task", engine::to_string(task.id)}});
  return kFenced;
}

}  // namespace

// One place for all outcomes, so that each run of a handler is told once, whatever becomes of it: the end of a run's
// last item may bring a refusal that concerns the items before it, too, and they have been told.
void settle(engine::Engine& engine, const engine::Lease& lease, const engine::TaskView& task, const Outcome& outcome,
            Acknowledge how, std::int64_t now_ns) {
  const std::string_view became = settle_outcome(engine, lease, task, outcome, how, now_ns);
  engine.tell_postrun(task, became, now_ns);
}

void settle_hard_limit(engine::Engine& engine, const engine::Lease& lease, const engine::TaskView& task,
                       std::int64_t now_ns) {
  const std::string message =
      "ran longer than its hard limit of " + base::human_duration(task.has_extras ? task.extras.hard_limit_ns : 0);
  const engine::Failure failure{"hard-time-limit", message};
  bool retried = false;
  engine::Settled settled;
  if (task.tally.attempts + 1 > task.max_retries) {
    settled = engine.bury(lease, task, engine::DeadReason::kHardTimeLimit, failure, now_ns);
  } else {
    settled = engine.fail(lease, task, failure, -1, now_ns, retried);
  }
  if (settled == engine::Settled::kFenced) return;
  log::warn("hard time limit reached", {{"task", engine::to_string(task.id)}, {"retried", retried}});
}

Outcome outcome_of_exception() {
  try {
    throw;
  } catch (const std::exception& error) {
    return Outcome::fail(demangled(&typeid(error)), error.what());
  } catch (abi::__forced_unwind&) {
    throw;  // pthread_exit in a handler: the process ends, and that is a crash
  } catch (...) {
    return Outcome::fail(demangled(abi::__cxa_current_exception_type()), "an exception without a message");
  }
}

}  // namespace stem::worker
