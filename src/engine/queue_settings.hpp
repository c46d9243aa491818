// All that people may set of a queue, as one value: what a journal keeps of it.
#pragma once

#include <cstdint>

#include "engine/task.hpp"
#include "shm/segment.hpp"

namespace stem::engine {

struct QueueSettings {
  shm::Durability durability = shm::Durability::kMemory;
  shm::Overflow overflow = shm::Overflow::kReject;
  bool paused = false;
  bool lowest_first = false;
  std::uint32_t max_length = 0;  // 0 = no limit, as all below
  std::uint32_t concurrency = 0;
  Rate rate;
  std::uint32_t dead_max = 0;
  std::int64_t dead_retention_ns = 0;  // 0 = the default
  friend bool operator==(const QueueSettings&, const QueueSettings&) = default;
};

QueueSettings settings_of(const shm::Segment& segment, std::uint32_t queue) noexcept;
// Sets all of them, for whoever looks next. False when /dev/shm has no room for the journal's marks: nothing was set.
[[nodiscard]] bool apply_settings(shm::Segment& segment, std::uint32_t queue, const QueueSettings& settings) noexcept;
// From now on; tasks that are there already follow within a second. False as above.
[[nodiscard]] bool apply_durability(shm::Segment& segment, std::uint32_t queue, shm::Durability durability) noexcept;

}  // namespace stem::engine
