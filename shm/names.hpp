// Names of queues and tasks: a name becomes a small number once and for ever. Append-only, lock-free:
// the 64-bit hash in the key array is the claim; anybody who knows the name can complete the row of a
// process that died in between.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.hpp"
#include "shm/segment.hpp"

namespace stem::shm {

// The number of a queue or task name, made on first use. kInvalidArgument for an empty or long name,
// kFull when the table is full.
Result<std::uint32_t> intern_queue(Segment& segment, std::string_view name);
Result<std::uint32_t> intern_task(Segment& segment, std::string_view name);
// kNotFound when the name has never been used.
Result<std::uint32_t> find_queue(const Segment& segment, std::string_view name);
Result<std::uint32_t> find_task(const Segment& segment, std::string_view name);

// The name of a number below queues_used / tasks_used; empty while it is being made.
std::string_view queue_name(const Segment& segment, std::uint32_t id) noexcept;
std::string_view task_name(const Segment& segment, std::uint32_t id) noexcept;

std::uint32_t queue_total(const Segment& segment) noexcept;
std::uint32_t task_total(const Segment& segment) noexcept;

// The 64-bit hash that names use everywhere (xxHash3), never 0.
std::uint64_t name_hash(std::string_view name) noexcept;

}  // namespace stem::shm
