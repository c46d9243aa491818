// A worker's task as a handler's Context sees it.
#pragma once

#include <exception>
#include <string>

#include "api/producer.hpp"
#include "stem/handler.hpp"
#include "worker/handler_table.hpp"
#include "worker/task_context.hpp"

namespace stem::api {

class WorkerContext final : public detail::ContextBackend {
 public:
  // `clock` null: the machine's time.
  explicit WorkerContext(worker::TaskContext& task, const Clock* clock = nullptr) : task_(task), clock_(clock) {}

  TaskId id() const override { return task_.task_id(); }
  std::string_view task_name() const override { return task_.task_name(); }
  std::string_view queue() const override { return task_.queue_name(); }
  std::uint32_t attempt() const override { return task_.attempt(); }
  std::uint32_t max_retries() const override { return task_.max_retries(); }
  std::string_view headers_json() const override { return task_.headers_json(); }
  std::string_view meta_json() const override { return task_.meta_json(); }
  std::string_view idempotency_key() const override { return task_.idempotency_key(); }
  std::int64_t deadline_ns() const override { return task_.deadline_ns(); }
  std::stop_token stop_token() const override { return task_.stop_token(); }
  bool heartbeat() override { return task_.heartbeat(); }
  bool extend_lease(Duration by) override;
  bool progress(double fraction, std::string_view data) override { return task_.progress(fraction, data); }
  detail::Enqueued enqueue(const TaskInfo& task, BytesView payload, bool in_place,
                           const EnqueueOptions* options) override;

 private:
  std::int64_t now_ns() const noexcept { return clock_ == nullptr ? base::monotonic_ns() : clock_->monotonic_ns(); }

  worker::TaskContext& task_;
  const Clock* clock_;
};

// The type of what was thrown, as people write it.
std::string error_kind(const std::exception& error);

// One attempt: the handler's call, and what it or its exception means.
worker::Outcome run_handler(detail::RawHandler& handler, const RetryDelay& retry_delay, worker::TaskContext& task,
                            const Clock* clock = nullptr);

// The same for a coroutine. `parts` outlives it.
struct CoHandlerParts {
  detail::RawCoHandler run;
  RetryDelay retry_delay;
};
co::Tree run_co_handler(CoHandlerParts& parts, worker::TaskContext& task, std::optional<worker::Outcome>& into);

// The kind of the failure of a payload that the handler cannot read.
inline constexpr std::string_view kPayloadInvalidKind = "payload-invalid";

}  // namespace stem::api
