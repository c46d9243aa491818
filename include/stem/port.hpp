// What stands behind a client: the segment, or a test kit. Not for users.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "engine/task.hpp"
#include "stem/codec.hpp"
#include "stem/result.hpp"
#include "stem/task.hpp"

namespace stem {

using TaskId = engine::TaskId;

enum class TaskState : std::uint8_t {
  kQueued,
  kDelayed,
  kRunning,
  kSucceeded,
  kRetried,    // failed, and waits for its next attempt
  kCancelled,  // revoked, expired, discarded, or dropped by an overflow policy
  kDead,       // failed for good; in the dead-letter queue
  kGone,       // over, and nothing was kept of it (or it never was in this segment)
};
std::string_view to_string(TaskState state) noexcept;
constexpr bool is_final(TaskState state) { return state >= TaskState::kSucceeded && state != TaskState::kRetried; }

// What a running task says of itself: Context::progress().
struct Progress {
  double fraction = 0;  // 0 to 1
  std::string data{};
};

namespace detail {

struct Enqueued {
  TaskId id;
  bool duplicate = false;        // the id is the holder's
  std::unique_ptr<Error> error;  // set: nothing was enqueued
};

struct Finished {
  TaskState state = TaskState::kGone;
  Bytes result;
  std::string error_kind;
  std::string message;
};

// A slot taken for a payload that is written in place.
class LoanedSlot {
 public:
  virtual ~LoanedSlot() = default;  // gives the slot back unless it was published
  virtual std::span<std::byte> payload() noexcept = 0;
  virtual Enqueued publish() noexcept = 0;
};

class Port {
 public:
  virtual ~Port() = default;
  // `options` may be null: none.
  virtual Enqueued enqueue(const TaskInfo& task, BytesView payload, bool in_place,
                           const EnqueueOptions* options) noexcept = 0;
  // Stops at the first that is refused; `ids` has room for all, `done` says how many were accepted.
  virtual std::unique_ptr<Error> enqueue_many(const TaskInfo& task, std::span<const BytesView> payloads, bool in_place,
                                              const EnqueueOptions* options, Enqueued* ids,
                                              std::size_t& done) noexcept = 0;
  virtual Result<std::unique_ptr<LoanedSlot>> loan(const TaskInfo& task, std::size_t payload_bytes, bool in_place,
                                                   const EnqueueOptions* options) noexcept = 0;
  // Until the task is over: kTimeout when it is not within `timeout`.
  virtual Result<Finished> wait(TaskId id, Duration timeout) noexcept = 0;
  virtual Result<TaskState> state(TaskId id) noexcept = 0;
  // Empty when it does not run, or has not said anything since it was started.
  virtual Result<std::optional<Progress>> progress(TaskId id) noexcept = 0;
  virtual Result<TaskState> revoke(TaskId id, bool terminate) noexcept = 0;
};

// The error that get() gives for a task that is over without a value.
Error not_succeeded(TaskId id, const Finished& finished);
Error lost_result(TaskId id, const Error& why);
Error caught_while_encoding(std::string_view task) noexcept;  // inside a catch block

}  // namespace detail
}  // namespace stem
