// Enqueues through one engine: for one thread, with one clock. What stands behind a client's thread, a
// worker's context and the test kit.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "api/call_options.hpp"
#include "api/clock.hpp"
#include "api/task_resolver.hpp"
#include "engine/engine.hpp"
#include "stem/port.hpp"

namespace stem::api {

class Producer {
 public:
  // `clock` null: the machine's time.
  explicit Producer(engine::Engine& engine, const Clock* clock = nullptr)
      : engine_(engine), clock_(clock), resolver_(engine.segment()) {}

  // `detached` is set when this participant was taken for dead: nothing was enqueued, join anew.
  detail::Enqueued enqueue(const TaskInfo& task, BytesView payload, bool in_place, const EnqueueOptions* options,
                           bool& detached) noexcept;
  std::unique_ptr<Error> enqueue_many(const TaskInfo& task, std::span<const BytesView> payloads, bool in_place,
                                      const EnqueueOptions* options, detail::Enqueued* ids, std::size_t& done,
                                      bool& detached) noexcept;
  Result<std::unique_ptr<detail::LoanedSlot>> loan(const TaskInfo& task, std::size_t payload_bytes, bool in_place,
                                                   const EnqueueOptions* options, bool& detached) noexcept;

  engine::Engine& engine() noexcept { return engine_; }
  std::int64_t now_ns() const noexcept { return clock_ == nullptr ? base::monotonic_ns() : clock_->monotonic_ns(); }
  Moment moment() const noexcept;

  // Before `count` tasks go to a queue with a journal: whether that takes any now. Who is far ahead of the disk waits here;
  // in mode `sync` nobody is.
  std::unique_ptr<Error> refuse_undurable(std::uint32_t queue, std::size_t count = 1);
  bool may_go_ahead(std::uint32_t queue) const noexcept;
  // Until the task that has a unique key is on disk.
  std::unique_ptr<Error> await_holder(std::uint32_t queue, engine::TaskId holder);
  // After it: until it is on disk, where the queue promises that. What cannot be promised is taken back if nobody has
  // started it; `kept` says how many of the first ids were not.
  std::unique_ptr<Error> make_durable(std::uint32_t queue, std::span<const engine::TaskId> ids, std::size_t& kept);

  // After a batch to a queue that was not `sync` when it began: it may have become so on the way.
  std::unique_ptr<Error> keep_up(std::uint32_t queue, std::span<const detail::Enqueued> made);

 private:
  detail::Enqueued enqueue_slowly(const TaskInfo& task, BytesView payload, bool in_place, const EnqueueOptions* options,
                                  bool& detached);
  engine::EnqueueResult enqueue_waiting(const engine::TaskSpec& spec, const EnqueueOptions* options);
  bool reaches_disk(std::span<const engine::TaskId> ids);
  bool await_disk(std::uint64_t position);
  std::int64_t wait_limit_ns(std::uint32_t queue, const EnqueueOptions* options) const noexcept;

  engine::Engine& engine_;
  const Clock* clock_;
  TaskResolver resolver_;
  // Tasks for mode `journal`: those since the last checkpoint, and the journal's position there.
  std::uint64_t ahead_ = 0;
  std::uint64_t checkpoint_ = 0;
};

// A producer may have that many tasks (mode `journal`) of which it is not known that they are on disk.
inline constexpr std::size_t kMostAhead = 32768;

Error refusal(engine::EnqueueStatus status, const TaskInfo& task, std::size_t payload_bytes);
std::unique_ptr<Error> boxed(Error error);

}  // namespace stem::api
