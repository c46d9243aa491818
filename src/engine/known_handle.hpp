// By which name whoever enqueued a task knows it.
#pragma once

#include <cstdint>

#include "engine/engine.hpp"

namespace stem::engine {

// TaskId::handle of the task in this slot: the item of a run keeps its own when it has become a task of its own.
std::uint64_t known_handle(Engine& engine, std::uint32_t slot, shm::ControlWord word) noexcept;

}  // namespace stem::engine
