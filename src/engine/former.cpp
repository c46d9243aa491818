#include "engine/former.hpp"

#include <algorithm>

namespace stem::engine {

using shm::FormerRow;

namespace {

constexpr std::uint32_t kCommitRows = 4096;  // at a time: a call of the kernel each

FormerRow* rows_of(const shm::Segment& segment) noexcept { return segment.at<FormerRow>(segment.layout().former); }

std::uint32_t rows_used(const shm::Segment& segment) noexcept {
  return std::min(segment.header().former_used.load(std::memory_order_acquire), segment.geometry().slot_count);
}

}  // namespace

bool remember_former(shm::Segment& segment, std::uint32_t slot, std::uint64_t generation,
                     const FormerIds& former) noexcept {
  FormerRow* rows = rows_of(segment);
  if (const std::uint32_t used = rows_used(segment); slot >= used) {
    const std::uint32_t next = std::min(slot / kCommitRows * kCommitRows + kCommitRows, segment.geometry().slot_count);
    if (!segment.commit(segment.offset_of(rows + used), std::uint64_t{next - used} * sizeof(FormerRow))) return false;
    segment.header().former_used.store(next, std::memory_order_release);
  }
  FormerRow& row = rows[slot];
  row.generation.store(0, std::memory_order_release);
  row.epochs.store(std::uint64_t{former.first.epoch} << 32 | former.last.epoch, std::memory_order_release);
  row.first.store(former.first.handle, std::memory_order_release);
  row.last.store(former.last.handle, std::memory_order_release);
  row.generation.store(generation, std::memory_order_release);
  return true;
}

FormerIds former_ids(const shm::Segment& segment, std::uint32_t slot, std::uint64_t generation) noexcept {
  if (slot >= rows_used(segment)) return {};
  const FormerRow& row = rows_of(segment)[slot];
  if (row.generation.load(std::memory_order_acquire) != generation) return {};
  const std::uint64_t epochs = row.epochs.load(std::memory_order_acquire);
  const FormerIds former{
      {static_cast<std::uint32_t>(epochs >> 32), row.first.load(std::memory_order_acquire)},
      {static_cast<std::uint32_t>(epochs), row.last.load(std::memory_order_acquire)},
  };
  if (row.generation.load(std::memory_order_acquire) != generation) return {};
  return former;
}

TaskId current_id(const shm::Segment& segment, TaskId id) noexcept {
  if (id.epoch == segment.epoch() || id.epoch == 0) return id;
  const FormerRow* rows = rows_of(segment);
  const std::uint32_t used = std::min(rows_used(segment), segment.slots_used());
  for (std::uint32_t slot = 0; slot < used; ++slot) {
    const FormerRow& row = rows[slot];
    if (row.first.load(std::memory_order_relaxed) != id.handle && row.last.load(std::memory_order_relaxed) != id.handle)
      continue;
    const std::uint64_t generation = row.generation.load(std::memory_order_acquire);
    const FormerIds former = former_ids(segment, slot, generation);
    if (generation == 0 || (former.first != id && former.last != id)) continue;
    // A writer that was killed while it brought tasks back has left rows of lives that never were.
    const shm::ControlWord word = segment.descriptor(slot).control.load();
    if (word.generation() == generation && word.state() != shm::State::kFree)
      return TaskId::make(segment.epoch(), slot, generation);
  }
  return id;
}

}  // namespace stem::engine
