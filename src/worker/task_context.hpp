// What a handler knows of its task and may do with it. Valid during the handler's call, on its thread; the
// stop token may be handed to other threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "engine/engine.hpp"
#include "shm/names.hpp"

namespace stem::worker {

struct ChildPage;

// Makes a stop token when a handler asks for it.
class StopOrigin {
 public:
  virtual std::stop_token make_stop_token() = 0;

 protected:
  ~StopOrigin() = default;
};

class TaskContext {
 public:
  TaskContext(engine::Engine& engine, const engine::Lease& lease, const engine::TaskView& task, std::stop_token stop,
              std::int64_t started_ns, ChildPage* page) noexcept
      : engine_(engine),
        lease_(lease),
        task_(task),
        extras_(task.has_extras ? &task.extras : nullptr),
        stop_(std::move(stop)),
        started_ns_(started_ns),
        page_(page) {}
  // For one of many: `extras` null when the task has none, and without a token, which `origin` makes.
  TaskContext(engine::Engine& engine, const engine::Lease& lease, const engine::TaskHead& task,
              const engine::TaskExtras* extras, StopOrigin& origin, std::int64_t started_ns) noexcept
      : engine_(engine),
        lease_(lease),
        task_(task),
        extras_(extras),
        started_ns_(started_ns),
        page_(nullptr),
        origin_(&origin) {}
  TaskContext(const TaskContext&) = delete;
  TaskContext& operator=(const TaskContext&) = delete;

  std::string id() const { return engine::to_string(task_.id); }
  engine::TaskId task_id() const noexcept { return task_.id; }
  std::string_view task_name() const noexcept { return shm::task_name(engine_.segment(), task_.task); }
  std::string_view queue_name() const noexcept { return shm::queue_name(engine_.segment(), task_.queue); }
  std::uint32_t attempt() const noexcept { return task_.tally.attempts; }  // from 0
  std::uint32_t max_retries() const noexcept { return task_.max_retries; }
  std::uint8_t priority() const noexcept { return task_.priority; }
  std::span<const std::byte> payload() const noexcept { return task_.payload; }
  std::string_view payload_text() const noexcept {
    return {reinterpret_cast<const char*>(task_.payload.data()), task_.payload.size()};
  }
  std::string_view headers_json() const noexcept { return extra(&engine::TaskExtras::headers); }
  std::string_view meta_json() const noexcept { return extra(&engine::TaskExtras::meta); }
  std::string_view idempotency_key() const noexcept { return extra(&engine::TaskExtras::idempotency_key); }

  std::int64_t started_ns() const noexcept { return started_ns_; }
  // When this attempt is stopped by force (or, without a hard limit, by request); 0 = never.
  std::int64_t deadline_ns() const noexcept;
  const std::stop_token& stop_token() const {
    if (origin_ != nullptr && !stop_.stop_possible()) [[unlikely]]
      stop_ = origin_->make_stop_token();
    return stop_;
  }

  // A life sign. False: the lease was lost, somebody else has the task; give up.
  bool heartbeat() noexcept;
  // For tasks whose lease ends by the clock: it ends `by_ns` from now. False as above.
  bool extend_lease(std::int64_t by_ns) noexcept;
  // How far it is, 0 to 1, and a short text: seen from outside while it runs. False as above.
  bool progress(double fraction, std::string_view data = {}) noexcept;

  // For children: engine().enqueue(...).
  engine::Engine& engine() noexcept { return engine_; }
  const engine::Lease& lease() const noexcept { return lease_; }
  const engine::TaskExtras* extras() const noexcept { return extras_; }  // null: none

  // The process group of a command run on the task's behalf, so that it dies with this worker; 0 = none.
  void note_command_group(std::int32_t group) noexcept;

 private:
  std::string_view extra(std::string_view engine::TaskExtras::*text) const noexcept {
    return extras_ == nullptr ? std::string_view() : extras_->*text;
  }

  engine::Engine& engine_;
  const engine::Lease& lease_;
  const engine::TaskHead& task_;
  const engine::TaskExtras* extras_;
  mutable std::stop_token stop_;
  std::int64_t started_ns_;
  ChildPage* page_;
  StopOrigin* origin_ = nullptr;
};

}  // namespace stem::worker
