// The workers of this host, as exporter and importer both count them.
#pragma once

#include <cstdint>

#include "shm/segment.hpp"

namespace stem::federation {

// How many live workers serve a queue: not those that are dead, stopping, or serve others.
std::uint32_t local_workers(const shm::Segment& segment, std::uint32_t queue);

}  // namespace stem::federation
