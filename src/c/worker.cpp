// stem.h: workers, and what their handlers may do.
#include "worker/supervisor.hpp"

#include "api/task_resolver.hpp"
#include "api/worker_context.hpp"
#include "api/worker_flags.hpp"
#include "c/handles.hpp"

using stem::c::guarded;
using stem::c::missing;
using stem::c::text;

// One attempt, for the length of its handler's call. Texts that C wants to end with a zero byte are copied when
// they are asked for.
struct stem_task {
  explicit stem_task(stem::worker::TaskContext& task) : context(task), backend(task) {}

  const char* kept(std::string& copy, std::string_view value) noexcept {
    try {
      if (copy.empty()) copy = value;
      return copy.c_str();
    } catch (...) {
      return "";
    }
  }
  // Without memory for the words it stays a failed attempt.
  template <class Make>
  void say(Make make) noexcept {
    try {
      outcome = make();
    } catch (...) {
      failed_to_say = true;
    }
  }

  stem::worker::TaskContext& context;
  stem::api::WorkerContext backend;
  std::string traceparent() { return stem::Context(backend).traceparent(); }

  std::string id, name, queue, headers, meta, idempotency_key, trace;
  std::optional<stem::worker::Outcome> outcome;
  bool failed_to_say = false;
};

namespace {

using stem::worker::Outcome;

stem::api::FlagTexts flags_of(const stem_worker_options& o) {
  stem::api::FlagTexts given;
  const auto name = [&given](const char* flag, const char* value) {
    if (value != nullptr && *value != '\0') given[flag] = value;
  };
  const auto count = [&given](const char* flag, std::uint64_t value) {
    if (value != 0) given[flag] = std::to_string(value);
  };
  name("--queue", o.queues);
  name("--node", o.node);
  name("--pin", o.pin);
  count("--concurrency", o.concurrency);
  count("--prefetch-multiplier", o.prefetch_multiplier);
  count("--max-tasks-per-child", o.max_tasks_per_child);
  if (o.autoscale_min != 0 || o.autoscale_max != 0)
    given["--autoscale"] = std::to_string(o.autoscale_min) + "," + std::to_string(o.autoscale_max);
  return given;
}

stem::Result<void> take_time(std::uint32_t given, std::uint32_t bit, std::int64_t value_ns, const char* name,
                             std::int64_t& into) {
  if ((given & bit) == 0) return {};
  if (value_ns < 0) return stem::Error{stem::Errc::kInvalidArgument, std::string(name) + " is negative"};
  into = value_ns;
  return {};
}

stem::Result<stem::worker::WorkerOptions> read_worker_options(const stem_worker_options* given) {
  const auto o = stem::c::read_options(given);
  if (!o) return o.error();
  constexpr std::uint32_t kKnown = STEM_GIVEN_SPIN | STEM_GIVEN_DRAIN_TIMEOUT | STEM_GIVEN_SOFT_GRACE;
  if (const auto known = stem::c::check_given(o->given, kKnown, "stem_worker_options"); !known) return known.error();
  auto options = stem::api::worker_options(text(o->name_space), flags_of(*o));
  if (!options) return options.error();
  options->segment.directory = text(o->directory);
  options->max_memory_per_child_bytes = o->max_memory_per_child_bytes;
  options->print_banner = o->quiet == 0;
  auto good = take_time(o->given, STEM_GIVEN_SPIN, o->spin_ns, "spin_ns", options->spin_ns);
  if (good.ok())
    good = take_time(o->given, STEM_GIVEN_DRAIN_TIMEOUT, o->drain_timeout_ns, "drain_timeout_ns",
                     options->drain_timeout_ns);
  if (good.ok())
    good = take_time(o->given, STEM_GIVEN_SOFT_GRACE, o->soft_grace_ns, "soft_grace_ns", options->soft_grace_ns);
  if (!good) return good.error();
  return options;
}

Outcome call_handler(stem_handler handler, void* context, stem::worker::TaskContext& task) {
  stem_task one(task);
  handler(&one, context);
  if (one.failed_to_say) return Outcome::fail("no-memory", "this process has no memory left for what the handler said");
  if (!one.outcome) return Outcome::fail("no-outcome", "the handler returned and did not say how it went");
  return std::move(*one.outcome);
}

}  // namespace

extern "C" {

int stem_worker_open(const stem_worker_options* options, stem_worker** worker, stem_error* error) {
  return guarded(error, [&]() -> stem::Result<void> {
    if (worker == nullptr) return missing("worker");
    *worker = nullptr;
    auto read = read_worker_options(options);
    if (!read) return read.error();
    *worker = new stem_worker{std::move(*read), {}};
    return {};
  });
}

int stem_worker_on(stem_worker* worker, const char* task, stem_handler handler, void* context, stem_error* error) {
  return guarded(error, [&]() -> stem::Result<void> {
    if (worker == nullptr || handler == nullptr) return missing(worker == nullptr ? "worker" : "handler");
    if (auto good = stem::api::check_task(stem::TaskInfo(text(task), {}, true)); !good) return good;
    worker->handlers.on(
        task, [handler, context](stem::worker::TaskContext& one) { return call_handler(handler, context, one); });
    return {};
  });
}

int stem_worker_run(stem_worker* worker, stem_error* error) {
  return guarded(error, [&]() -> stem::Result<void> {
    if (worker == nullptr) return missing("worker");
    if (worker->handlers.entries().empty())
      return stem::Error{stem::Errc::kInvalidArgument, "a worker needs a handler: stem_worker_on()"};
    return stem::worker::run(worker->options, worker->handlers);
  });
}

void stem_worker_close(stem_worker* worker) { delete worker; }

const char* stem_task_id(stem_task* task) { return task->kept(task->id, task->context.id()); }
const char* stem_task_name(stem_task* task) { return task->kept(task->name, task->context.task_name()); }
const char* stem_task_queue(stem_task* task) { return task->kept(task->queue, task->context.queue_name()); }
uint32_t stem_task_attempt(const stem_task* task) { return task->context.attempt(); }
uint32_t stem_task_max_retries(const stem_task* task) { return task->context.max_retries(); }
int32_t stem_task_priority(const stem_task* task) { return task->context.priority(); }

stem_bytes stem_task_payload(const stem_task* task) {
  const auto payload = task->context.payload();
  return stem::c::bytes(payload.data(), payload.size());
}

const char* stem_task_headers(stem_task* task) { return task->kept(task->headers, task->context.headers_json()); }
const char* stem_task_meta(stem_task* task) { return task->kept(task->meta, task->context.meta_json()); }
const char* stem_task_idempotency_key(stem_task* task) {
  return task->kept(task->idempotency_key, task->context.idempotency_key());
}

const char* stem_task_traceparent(stem_task* task) {
  try {
    return task->kept(task->trace, task->traceparent());
  } catch (...) {
    return "";
  }
}

int64_t stem_task_deadline_ns(const stem_task* task) { return task->context.deadline_ns(); }
int32_t stem_task_stop_requested(const stem_task* task) { return task->context.stop_token().stop_requested() ? 1 : 0; }
int32_t stem_task_heartbeat(stem_task* task) { return task->context.heartbeat() ? 1 : 0; }
int32_t stem_task_extend_lease(stem_task* task, int64_t by_ns) { return task->context.extend_lease(by_ns) ? 1 : 0; }
int32_t stem_task_progress(stem_task* task, double fraction, const char* data) {
  return task->context.progress(fraction, text(data)) ? 1 : 0;
}

int stem_task_enqueue(stem_task* task, const char* name, const void* payload, size_t payload_size,
                      const stem_enqueue_options* options, stem_enqueued* enqueued, stem_error* error) {
  return guarded(error, [&]() -> stem::Result<void> {
    if (payload == nullptr && payload_size > 0) return missing("payload");
    auto call = stem::c::read_call(options);
    if (!call) return call.error();
    if (std::string trace = task->traceparent(); !trace.empty())
      call->call.headers.try_emplace("traceparent", std::move(trace));
    const stem::TaskInfo info(text(name), call->task, /*has_result=*/true);
    auto done = task->backend.enqueue(info, stem::c::view(payload, payload_size), false, &call->call);
    if (done.error) return std::move(*done.error);
    if (enqueued != nullptr) stem::c::write_enqueued(done.id, done.duplicate, *enqueued);
    return {};
  });
}

void stem_task_succeed(stem_task* task, const void* result, size_t result_size) {
  task->say([&] {
    if (result == nullptr && result_size > 0)
      return Outcome::fail("invalid-argument", "the result is null and has a size");
    if (result_size > stem::shm::kMaxPayloadBytes)
      return Outcome::fail_permanently("result-too-large",
                                       "the result has " + std::to_string(result_size) + " bytes, at most " +
                                           std::to_string(stem::shm::kMaxPayloadBytes) + " are kept");
    return Outcome::success(std::string(static_cast<const char*>(result), result_size));
  });
}

void stem_task_retry(stem_task* task, int64_t delay_ns, const char* why) {
  task->say([&] {
    return delay_ns < 0 ? Outcome::retry(std::string(text(why)))
                        : Outcome::retry_after(delay_ns, std::string(text(why)));
  });
}

void stem_task_snooze(stem_task* task, int64_t delay_ns) {
  task->say([&] { return Outcome::snooze(delay_ns < 0 ? 0 : delay_ns); });
}

void stem_task_discard(stem_task* task, const char* reason) {
  task->say([&] { return Outcome::discard(std::string(text(reason))); });
}

void stem_task_fail(stem_task* task, const char* reason) {
  task->say([&] { return Outcome::fail_permanently("failed", std::string(text(reason))); });
}

void stem_task_error(stem_task* task, const char* kind, const char* message) {
  task->say([&] {
    const std::string_view said = text(kind);
    return Outcome::fail(said.empty() ? "error" : std::string(said), std::string(text(message)));
  });
}

void stem_task_refuse_payload(stem_task* task, const char* reason) {
  task->say([&] {
    return Outcome::fail_permanently(std::string(stem::api::kPayloadInvalidKind), std::string(text(reason)));
  });
}

}  // extern "C"
