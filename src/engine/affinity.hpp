// Affinity: tasks with one key go to one worker while it lives. Highest-random-weight hashing (Thaler and
// Ravishankar 1998) over the live workers of the queue; when the chosen worker's inbox is full, anybody may
// take the task (bounded load). Only a hint is directed: the task itself stays ready, so a worker that dies
// or hangs keeps nothing back.
#pragma once

#include "shm/ring.hpp"
#include "shm/segment.hpp"

namespace stem::engine {

inline constexpr std::uint64_t kInboxBound = 64;  // hints in an inbox beyond which tasks go elsewhere

inline shm::Ring inbox_of(const shm::Segment& segment, std::uint32_t participant) noexcept {
  const shm::Offset at = segment.layout().inboxes + participant * shm::ring_bytes(shm::kInboxLog2);
  return {segment.at<shm::RingHeader>(at), shm::kInboxLog2};
}

// A redelivered task has waited once already: besides its lane's tail it is named in the inboxes of live
// workers of its queue, which they look into first. Whoever claims it makes the other hints stale.
void hint_ahead(shm::Segment& segment, std::uint32_t slot, std::uint64_t generation, std::uint32_t queue) noexcept;

}  // namespace stem::engine
