#include "engine/former.hpp"

#include <algorithm>

#include "shm/former_rows.hpp"

namespace stem::engine {

using shm::FormerChunk;
using shm::FormerEntry;
using shm::FormerRow;

namespace {

FormerChunk& chunk_of(const shm::Segment& segment, std::uint32_t slot) noexcept {
  return segment.at<FormerChunk>(segment.layout().former)[slot / shm::kFormerChunkRows];
}

FormerRow& row_of(const shm::Segment& segment, std::uint32_t slot) noexcept {
  return chunk_of(segment, slot).rows[slot % shm::kFormerChunkRows];
}

// Of rows with memory behind them.
std::uint32_t rows_used(const shm::Segment& segment) noexcept {
  return std::min(segment.header().former_used.load(std::memory_order_acquire), segment.geometry().slot_count);
}

FormerIds ids_in(const FormerRow& row) noexcept {
  const std::uint64_t epochs = row.epochs.load(std::memory_order_acquire);
  return {
      {static_cast<std::uint32_t>(epochs >> 32), row.first.load(std::memory_order_acquire)},
      {static_cast<std::uint32_t>(epochs), row.last.load(std::memory_order_acquire)},
  };
}

std::uint64_t hash_of(TaskId id) noexcept { return FormerChunk::hash_of(id.epoch, id.handle); }

// Whether the id that put the entry into this bucket is none of its row's any more.
bool is_stale(const FormerChunk& chunk, FormerEntry entry, std::uint64_t bucket) noexcept {
  if (entry.row() >= shm::kFormerChunkRows) return true;
  const FormerIds ids = ids_in(chunk.rows[entry.row()]);
  const auto by = [&](TaskId id) {
    const std::uint64_t its = hash_of(id);
    return entry.of(its) && (bucket - its) % shm::kFormerBuckets < shm::kFormerProbes;
  };
  return !by(ids.first) && !by(ids.last);
}

void add(FormerChunk& chunk, std::uint32_t row, TaskId id) noexcept {
  const std::uint64_t hash = hash_of(id);
  const FormerEntry mine(hash, row);
  for (std::uint32_t probe = 0; probe < shm::kFormerProbes; ++probe) {
    std::atomic<std::uint32_t>* bucket = chunk.bucket_of(hash, probe);
    for (std::uint32_t way = 0; way < shm::kFormerWays; ++way) {
      const std::uint32_t bits = bucket[way].load(std::memory_order_relaxed);
      if (bits == mine.bits()) return;
      if (bits != 0 && !is_stale(chunk, FormerEntry(bits), hash + probe)) continue;
      bucket[way].store(mine.bits(), std::memory_order_release);
      return;
    }
  }
}

// The task that is in this slot now, if it is known by `id`.
TaskId known_there(const shm::Segment& segment, std::uint32_t slot, TaskId id) noexcept {
  const std::uint64_t generation = row_of(segment, slot).generation.load(std::memory_order_acquire);
  const FormerIds former = former_ids(segment, slot, generation);
  if (generation == 0 || (former.first != id && former.last != id)) return {};
  // A writer that was killed while it brought tasks back has left rows of lives that never were.
  const shm::ControlWord word = segment.descriptor(slot).control.load();
  if (word.generation() != generation || word.state() == shm::State::kFree) return {};
  return TaskId::make(segment.epoch(), slot, generation);
}

}  // namespace

bool remember_former(shm::Segment& segment, std::uint32_t slot, std::uint64_t generation,
                     const FormerIds& former) noexcept {
  const std::uint32_t most = segment.geometry().slot_count;
  for (std::uint32_t used = rows_used(segment); slot >= used; used = rows_used(segment)) {
    FormerChunk& next = chunk_of(segment, used);
    if (!segment.commit(segment.offset_of(&next), sizeof next)) return false;
    segment.header().former_used.store(std::min(used + shm::kFormerChunkRows, most), std::memory_order_release);
  }
  FormerRow& row = row_of(segment, slot);
  row.generation.store(0, std::memory_order_release);
  row.epochs.store(std::uint64_t{former.first.epoch} << 32 | former.last.epoch, std::memory_order_release);
  row.first.store(former.first.handle, std::memory_order_release);
  row.last.store(former.last.handle, std::memory_order_release);
  FormerChunk& chunk = chunk_of(segment, slot);
  add(chunk, slot % shm::kFormerChunkRows, former.first);
  if (former.last != former.first) add(chunk, slot % shm::kFormerChunkRows, former.last);
  row.generation.store(generation, std::memory_order_release);
  return true;
}

FormerIds former_ids(const shm::Segment& segment, std::uint32_t slot, std::uint64_t generation) noexcept {
  if (slot >= rows_used(segment)) return {};
  const FormerRow& row = row_of(segment, slot);
  if (row.generation.load(std::memory_order_acquire) != generation) return {};
  const FormerIds former = ids_in(row);
  if (row.generation.load(std::memory_order_acquire) != generation) return {};
  return former;
}

TaskId current_id(const shm::Segment& segment, TaskId id) noexcept {
  if (id.epoch == segment.epoch() || id.epoch == 0) return id;
  const std::uint64_t hash = hash_of(id);
  const std::uint32_t used = std::min(rows_used(segment), segment.slots_used());
  for (std::uint32_t first = 0; first < used; first += shm::kFormerChunkRows) {
    const std::uint32_t rows = std::min(used - first, shm::kFormerChunkRows);
    bool full = true;  // an id is in a later bucket only where the ones before it had no room
    for (std::uint32_t probe = 0; full && probe < shm::kFormerProbes; ++probe) {
      const std::atomic<std::uint32_t>* bucket = chunk_of(segment, first).bucket_of(hash, probe);
      for (std::uint32_t way = 0; full && way < shm::kFormerWays; ++way) {
        const FormerEntry entry(bucket[way].load(std::memory_order_acquire));
        full = entry.bits() != 0;
        if (!full || !entry.of(hash) || entry.row() >= rows) continue;
        if (const TaskId now = known_there(segment, first + entry.row(), id)) return now;
      }
    }
  }
  return id;
}

}  // namespace stem::engine
