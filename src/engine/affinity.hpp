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

}  // namespace stem::engine
