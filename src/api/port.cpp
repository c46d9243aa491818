#include "stem/port.hpp"

#include <exception>
#include <new>

namespace stem {

std::string_view to_string(TaskState state) noexcept {
  switch (state) {
    case TaskState::kQueued: return "queued";
    case TaskState::kDelayed: return "delayed";
    case TaskState::kRunning: return "running";
    case TaskState::kSucceeded: return "succeeded";
    case TaskState::kRetried: return "retried";
    case TaskState::kCancelled: return "cancelled";
    case TaskState::kDead: return "dead";
    case TaskState::kGone: return "gone";
  }
  return "unknown";
}

namespace detail {

Error not_succeeded(TaskId id, const Finished& finished) {
  const std::string task = "task " + to_string(id) + " ";
  if (finished.state == TaskState::kGone)
    return {Errc::kNotFound, task + "is over and kept no result, or was never here; give the task a result_ttl"};
  std::string said = task + (finished.state == TaskState::kCancelled ? "was cancelled" : "failed for good");
  if (!finished.error_kind.empty()) said += ": " + finished.error_kind;
  if (!finished.message.empty()) said += ": " + finished.message;
  return {Errc::kRefused, said};
}

Error lost_result(TaskId id, const Error& why) { return why.within("the result of task " + to_string(id)); }

Error caught_while_encoding(std::string_view task) noexcept {
  const std::string where = "task \"" + std::string(task) + "\": encoding the arguments";
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return {Errc::kNoMemory, where + ": this process has no memory left"};
  } catch (const std::exception& e) {
    return {Errc::kInvalidArgument, where + ": " + e.what()};
  } catch (...) {
    return {Errc::kInvalidArgument, where + " threw"};
  }
}

}  // namespace detail
}  // namespace stem
