#include "api/worker_context.hpp"

#include <cxxabi.h>

#include <cstdlib>
#include <typeinfo>

#include "engine/retry.hpp"
#include "worker/settle.hpp"

namespace stem::api {
namespace {

// Children go through the worker's own engine. Kept for the thread: names and ids are looked up once.
Producer& producer_for(engine::Engine& engine, const Clock* clock) {
  struct Kept {
    const engine::Engine* engine = nullptr;
    std::uint32_t epoch = 0;
    std::unique_ptr<Producer> producer;
  };
  thread_local Kept kept;
  const std::uint32_t epoch = engine.segment().epoch();
  if (kept.engine != &engine || kept.epoch != epoch) kept = {&engine, epoch, std::make_unique<Producer>(engine, clock)};
  return *kept.producer;
}

// The user's own delay, for failures that are to be retried at all.
std::optional<Duration> own_delay(const RetryDelay& retry_delay, const worker::TaskContext& task,
                                  std::string_view error_kind) {
  if (!retry_delay || task.attempt() >= task.max_retries()) return {};
  if (task.extras() != nullptr && !engine::kind_allows_retry(*task.extras(), error_kind)) return {};
  return retry_delay(task.attempt(), error_kind);
}

worker::Outcome outcome_of(const Verdict& v, const RetryDelay& retry_delay, const worker::TaskContext& task) {
  switch (v.kind) {
    case Verdict::Kind::kRetry: {
      const auto delay = v.delay ? v.delay : own_delay(retry_delay, task, "retry");
      return delay ? worker::Outcome::retry_after(std::max<std::int64_t>(delay->count(), 0), v.reason)
                   : worker::Outcome::retry(v.reason);
    }
    case Verdict::Kind::kSnooze: return worker::Outcome::snooze(std::max<std::int64_t>(v.delay->count(), 0));
    case Verdict::Kind::kDiscard: return worker::Outcome::discard(v.reason);
    case Verdict::Kind::kFail: break;
  }
  return worker::Outcome::fail_permanently("failed", v.reason);
}

worker::Outcome outcome_of(detail::Answer answer, const RetryDelay& retry_delay, const worker::TaskContext& task) {
  switch (answer.kind) {
    case detail::Answer::Kind::kBadPayload:
      return worker::Outcome::fail_permanently(std::string(kPayloadInvalidKind), std::move(answer.message));
    case detail::Answer::Kind::kVerdict: return outcome_of(answer.verdict, retry_delay, task);
    case detail::Answer::Kind::kValue: break;
  }
  if (answer.result.size() > shm::kMaxPayloadBytes)
    return worker::Outcome::fail_permanently(
        "result-too-large", "the result has " + std::to_string(answer.result.size()) + " bytes, at most " +
                                std::to_string(shm::kMaxPayloadBytes) + " are kept");
  return worker::Outcome::success(std::move(answer.result));
}

// Nothing: it is the worker's own business.
std::optional<worker::Outcome> outcome_of(const std::exception& e, const RetryDelay& retry_delay,
                                          const worker::TaskContext& task) {
  if (!retry_delay) return {};
  const std::string kind = error_kind(e);
  const auto delay = own_delay(retry_delay, task, kind);
  if (!delay) return {};
  return worker::Outcome::retry_after(std::max<std::int64_t>(delay->count(), 0), kind + ": " + e.what());
}

// Inside a catch block. In a function of its own: what it needs is not in each handler's frame.
worker::Outcome outcome_of_current_exception(const RetryDelay& retry_delay, const worker::TaskContext& task) {
  try {
    throw;
  } catch (const std::exception& e) {
    if (auto outcome = outcome_of(e, retry_delay, task)) return std::move(*outcome);
  } catch (...) {
  }
  return worker::outcome_of_exception();
}

}  // namespace

std::string error_kind(const std::exception& error) {
  const char* name = typeid(error).name();
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(name, nullptr, nullptr, &status), std::free);
  return status == 0 && text ? text.get() : name;
}

bool WorkerContext::extend_lease(Duration by) {
  return task_.engine().extend(task_.lease(), now_ns() + by.count()) == engine::Settled::kDone;
}

detail::Enqueued WorkerContext::enqueue(const TaskInfo& task, BytesView payload, bool in_place,
                                        const EnqueueOptions* options) {
  bool detached = false;
  return producer_for(task_.engine(), clock_).enqueue(task, payload, in_place, options, detached);
}

worker::Outcome run_handler(detail::RawHandler& handler, const RetryDelay& retry_delay, worker::TaskContext& task,
                            const Clock* clock) {
  WorkerContext backend(task, clock);
  Context context(backend);
  try {
    return outcome_of(handler(context, task.payload()), retry_delay, task);
  } catch (const std::exception& e) {
    if (auto outcome = outcome_of(e, retry_delay, task)) return std::move(*outcome);
    throw;  // the worker's own business
  }
}

namespace {

// Answers and outcomes are made here, in plain functions: a coroutine's frame has room for whatever its body makes, and
// waits with it.
class OutcomeTaker final : public detail::AnswerTaker {
 public:
  OutcomeTaker(const RetryDelay& retry_delay, const worker::TaskContext& task, std::optional<worker::Outcome>& into)
      : retry_delay_(retry_delay), task_(task), into_(into) {}
  void take(detail::Answer answer) override { into_.emplace(outcome_of(std::move(answer), retry_delay_, task_)); }
  // Inside a catch block.
  void take_exception() { into_.emplace(outcome_of_current_exception(retry_delay_, task_)); }

 private:
  const RetryDelay& retry_delay_;
  const worker::TaskContext& task_;
  std::optional<worker::Outcome>& into_;
};

}  // namespace

co::Tree run_co_handler(CoHandlerParts& parts, worker::TaskContext& task, std::optional<worker::Outcome>& into) {
  WorkerContext backend(task);
  Context context(backend);
  OutcomeTaker taker(parts.retry_delay, task, into);
  try {
    co_await parts.run(context, task.payload(), taker);
  } catch (...) {
    taker.take_exception();
  }
}

}  // namespace stem::api
