// Waiting for a task to be over, and what it left behind.
#pragma once

#include "engine/engine.hpp"
#include "stem/port.hpp"

namespace stem::api {

// What became of it, when it is over; false while it is not.
bool finished(engine::Engine& engine, TaskId id, detail::Finished& into);

// Spins for a moment, for a worker that answers at once, then sleeps until rung. kTimeout.
Result<detail::Finished> wait_for_end(engine::Engine& engine, TaskId id, std::int64_t timeout_ns);

// Of a running task that has said something.
std::optional<Progress> task_progress(engine::Engine& engine, TaskId id);
Result<TaskState> task_state(engine::Engine& engine, TaskId id);
Result<TaskState> revoke_task(engine::Engine& engine, TaskId id, bool terminate, std::int64_t now_ns);

Error timed_out(TaskId id);

}  // namespace stem::api
