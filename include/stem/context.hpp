// What a handler knows of its task, and what it may do meanwhile. Valid during the handler's call and on
// its thread; the stop token may be handed to others.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "stem/port.hpp"

namespace stem {

namespace detail {

// A worker's task, or a test kit's.
class ContextBackend {
 public:
  virtual ~ContextBackend() = default;
  virtual TaskId id() const = 0;
  virtual std::string_view task_name() const = 0;
  virtual std::string_view queue() const = 0;
  virtual std::uint32_t attempt() const = 0;
  virtual std::uint32_t max_retries() const = 0;
  virtual std::string_view headers_json() const = 0;
  virtual std::string_view meta_json() const = 0;
  virtual std::string_view idempotency_key() const = 0;
  virtual std::int64_t deadline_ns() const = 0;  // CLOCK_MONOTONIC; 0 = none
  virtual std::stop_token stop_token() const = 0;
  virtual bool heartbeat() = 0;
  virtual bool extend_lease(Duration by) = 0;
  virtual bool progress(double fraction, std::string_view data) = 0;
  virtual Enqueued enqueue(const TaskInfo& task, BytesView payload, bool in_place, const EnqueueOptions* options) = 0;
};

}  // namespace detail

class Context {
 public:
  explicit Context(detail::ContextBackend& backend) noexcept : backend_(backend) {}
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  TaskId id() const { return backend_.id(); }
  std::string id_text() const { return to_string(id()); }
  std::string_view task_name() const { return backend_.task_name(); }
  std::string_view queue() const { return backend_.queue(); }
  std::uint32_t attempt() const { return backend_.attempt(); }  // 0 the first time
  std::uint32_t max_retries() const { return backend_.max_retries(); }

  const Headers& headers() const;
  std::string header(std::string_view name) const;  // empty when there is none
  // The trace context (W3C) for what the handler does: its task's trace, with this attempt as the parent. Tasks that it
  // enqueues carry it, unless they have one of their own. Empty when its task carries none.
  std::string traceparent() const;
  std::string_view meta() const;  // a JSON object; empty when there is none
  // The same on every attempt.
  std::string_view idempotency_key() const { return backend_.idempotency_key(); }

  // When this attempt is ended by force (hard limit) or asked to end (soft limit).
  std::optional<std::chrono::steady_clock::time_point> deadline() const;
  // Set by the soft time limit, by a revoke with `terminate`, and when the worker is told to stop.
  std::stop_token stop_token() const { return backend_.stop_token(); }
  bool stop_requested() const { return stop_token().stop_requested(); }

  // False: the lease was lost and somebody else has the task. Whatever this attempt still says is void.
  bool heartbeat() { return backend_.heartbeat(); }
  bool extend_lease(Duration by) { return backend_.extend_lease(by); }
  // How far it is, 0 to 1, and a short text, JSON say: Handle::progress() and `stem task show` give them
  // while the task runs. False as above.
  bool progress(double fraction, std::string_view data = {}) { return backend_.progress(fraction, data); }

  // Another task. Waiting for it in here would hold this worker, so there is only its id.
  template <class R, class... A>
  Result<TaskId> enqueue(const Task<R(A...)>& task, const typename Task<R(A...)>::Args& args,
                         const EnqueueOptions& options = {}) {
    using Args = typename Task<R(A...)>::Args;
    std::optional<EnqueueOptions> traced;
    detail::Enqueued e =
        backend_.enqueue(task, Codec<Args>::encode(args), Codec<Args>::kInPlace, &with_trace(options, traced));
    if (e.error) return std::move(*e.error);
    return e.id;
  }
  Result<TaskId> enqueue_raw(std::string_view task_name, BytesView payload, const EnqueueOptions& options = {}) {
    std::optional<EnqueueOptions> traced;
    detail::Enqueued e = backend_.enqueue(TaskInfo(task_name, {}, true), payload, false, &with_trace(options, traced));
    if (e.error) return std::move(*e.error);
    return e.id;
  }

 private:
  // These options, or `room` with the trace added to them.
  const EnqueueOptions& with_trace(const EnqueueOptions& options, std::optional<EnqueueOptions>& room) const;

  detail::ContextBackend& backend_;
  mutable std::unique_ptr<Headers> headers_;  // once asked for
};

}  // namespace stem
