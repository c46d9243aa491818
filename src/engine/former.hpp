// Ids from before a reboot. A task that a journal brings back has a new id; who enqueued it knows it by the old one, and
// whoever has seen it since by the one between. Both lead to it, as long as it is there (docs/journal.md).
//
// Thread-safe, but for remember_former(): one process at a time restores.
#pragma once

#include "engine/task.hpp"
#include "shm/segment.hpp"

namespace stem::engine {

struct FormerIds {
  TaskId first;  // as it was enqueued
  TaskId last;   // in the segment before this one
  friend bool operator==(const FormerIds&, const FormerIds&) = default;
};

// Before the task is let go. False when /dev/shm is full.
[[nodiscard]] bool remember_former(shm::Segment& segment, std::uint32_t slot, std::uint64_t generation,
                                   const FormerIds& former) noexcept;
// Of the task that is in this slot now in this life; both empty when it was enqueued here.
FormerIds former_ids(const shm::Segment& segment, std::uint32_t slot, std::uint64_t generation) noexcept;

// The id in this segment of a task that was known by `id`: itself when it is of this segment, or when nothing is
// known of it. Of another segment's it costs a look at one bucket for each 4,096 slots that tasks came back to, and at
// four where more ids have that bucket than it has room for.
TaskId current_id(const shm::Segment& segment, TaskId id) noexcept;

}  // namespace stem::engine
