#include "engine/queue_settings.hpp"

#include "engine/limiter.hpp"
#include "shm/journal_line.hpp"

namespace stem::engine {

QueueSettings settings_of(const shm::Segment& segment, std::uint32_t queue) noexcept {
  const shm::QueueRow& row = segment.queue(queue);
  QueueSettings s;
  s.durability = shm::durability_of(segment, queue);
  s.overflow = static_cast<shm::Overflow>(row.overflow.load(std::memory_order_relaxed));
  s.paused = row.paused.load(std::memory_order_relaxed) != 0;
  s.lowest_first = row.lowest_first.load(std::memory_order_relaxed) != 0;
  s.max_length = row.max_length.load(std::memory_order_relaxed);
  s.concurrency = row.concurrency.load(std::memory_order_relaxed);
  s.rate = unpack_rate(row.rate.load(std::memory_order_relaxed));
  s.dead_max = row.dead_max.load(std::memory_order_relaxed);
  s.dead_retention_ns = row.dead_retention_ns.load(std::memory_order_relaxed);
  return s;
}

bool apply_durability(shm::Segment& segment, std::uint32_t queue, shm::Durability durability) noexcept {
  if (durability != shm::Durability::kMemory && !shm::commit_journal_marks(segment)) return false;
  segment.queue(queue).durability.store(static_cast<std::uint32_t>(durability), std::memory_order_release);
  // What is there already is written too; what is there no more, forgotten.
  segment.header().journal_rescan.store(1, std::memory_order_seq_cst);
  return true;
}

bool apply_settings(shm::Segment& segment, std::uint32_t queue, const QueueSettings& s) noexcept {
  if (shm::durability_of(segment, queue) != s.durability && !apply_durability(segment, queue, s.durability))
    return false;
  shm::QueueRow& row = segment.queue(queue);
  row.overflow.store(static_cast<std::uint32_t>(s.overflow), std::memory_order_release);
  row.paused.store(s.paused ? 1 : 0, std::memory_order_seq_cst);
  row.lowest_first.store(s.lowest_first ? 1 : 0, std::memory_order_release);
  row.max_length.store(s.max_length, std::memory_order_release);
  row.concurrency.store(s.concurrency, std::memory_order_release);
  row.rate.store(pack_rate(s.rate), std::memory_order_release);
  row.dead_max.store(s.dead_max, std::memory_order_release);
  row.dead_retention_ns.store(s.dead_retention_ns, std::memory_order_release);
  return true;
}

}  // namespace stem::engine
