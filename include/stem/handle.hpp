// A task that was enqueued: its id, its state, its result.
#pragma once

#include <string>
#include <type_traits>

#include "stem/port.hpp"

namespace stem {

// Small and copyable; valid while its client lives, from any thread.
template <class R>
class Handle {
 public:
  Handle(detail::Port& port, TaskId id, bool duplicate) noexcept : port_(&port), id_(id), duplicate_(duplicate) {}

  TaskId id() const noexcept { return id_; }
  // For another process, a log, `stem task show`.
  std::string id_text() const { return to_string(id_); }
  // A unique task was there already: this handle is the holder's, nothing was created.
  bool duplicate() const noexcept { return duplicate_; }

  // Waits for the value. kTimeout; kRefused when the task failed for good or was cancelled, with what it
  // said; kNotFound when it is over and kept no result (Task<void(...)> without result_ttl, or the time
  // to live has ended).
  Result<R> get(Duration timeout) const {
    Result<detail::Finished> finished = port_->wait(id_, timeout);
    if (!finished) return finished.error();
    if (finished->state != TaskState::kSucceeded) return detail::not_succeeded(id_, *finished);
    if constexpr (std::is_void_v<R>) {
      return {};
    } else {
      Result<R> value = Codec<R>::decode(finished->result);
      if (!value) return detail::lost_result(id_, value.error());
      return value;
    }
  }

  // Waits until it is over, and says how it ended.
  Result<TaskState> wait(Duration timeout) const {
    Result<detail::Finished> finished = port_->wait(id_, timeout);
    if (!finished) return finished.error();
    return finished->state;
  }

  Result<TaskState> state() const { return port_->state(id_); }

  // What it last said of itself in its present run; nothing when it does not run, or has said nothing.
  Result<std::optional<Progress>> progress() const { return port_->progress(id_); }

  // Cancels it if it has not started. `terminate`: if it runs, its stop token is set as well. Returns the
  // state it was met in; kRefused when it was over already.
  Result<TaskState> revoke(bool terminate = false) const { return port_->revoke(id_, terminate); }

 private:
  static_assert(!std::is_same_v<R, std::string_view> && !std::is_same_v<R, BytesView>,
                "a result must own its bytes: std::string or stem::Bytes");
  detail::Port* port_;
  TaskId id_;
  bool duplicate_;
};

}  // namespace stem
