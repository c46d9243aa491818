#include "federation/local_workers.hpp"

#include <algorithm>

#include "shm/death.hpp"
#include "shm/doorbell.hpp"

namespace stem::federation {

std::uint32_t local_workers(const shm::Segment& segment, std::uint32_t queue) {
  const std::uint32_t rows = segment.rows_used();
  std::uint32_t workers = 0;
  for (std::uint32_t i = 0; i < rows; ++i) {
    shm::RosterRow& row = segment.row(i);
    if (row.role.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(shm::Role::kWorker) &&
        shm::row_state(row.status.load(std::memory_order_acquire)) == shm::RowState::kLive &&
        !shm::signalled_dead(row) && row.stop_mode.load(std::memory_order_relaxed) == 0 &&
        shm::serves(segment, i, queue))
      ++workers;
  }
  return workers;
}

}  // namespace stem::federation
