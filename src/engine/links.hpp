// Tasks that follow a task: enqueued after its success (link) or its final failure (link_error).
// They are encoded into the parent's extension when it is enqueued, so that whoever finishes the parent,
// even a recoverer in another process, can enqueue them. A settler killed half way is repeated: each
// child has a unique key made of parent and position, so a repeat finds it while it lives.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "engine/engine.hpp"

namespace stem::engine {

// Appends one child to an encoded list. The child's extras are not carried.
void append_link(std::string& encoded, const TaskSpec& child);

// Gives queues and tasks of an encoded list the numbers that their names have in another segment. False when it makes
// no sense, or when a number has no counterpart.
using NameNumber = std::function<std::optional<std::uint32_t>(std::uint32_t)>;
bool renumber_links(std::string& encoded, const NameNumber& queue_of, const NameNumber& task_of);

// Enqueues the children of the parent in `slot`, whose word stands at `settled`.
void enqueue_links(Engine& engine, std::uint32_t slot, shm::ControlWord settled, bool error,
                   std::int64_t now_ns) noexcept;

}  // namespace stem::engine
