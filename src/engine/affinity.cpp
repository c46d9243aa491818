#include "engine/affinity.hpp"

#include <algorithm>

#include "base/random.hpp"
#include "engine/engine.hpp"
#include "engine/extension.hpp"
#include "shm/death.hpp"
#include "shm/names.hpp"

namespace stem::engine {

using shm::ControlWord;
using shm::Descriptor;
using shm::HintCell;
using shm::State;

std::int32_t Engine::worker_for(std::uint64_t affinity_key, std::uint32_t queue) const noexcept {
  const std::uint32_t rows = segment_.rows_used();
  std::int32_t best = -1;
  std::uint64_t best_weight = 0;
  for (std::uint32_t i = 0; i < rows; ++i) {
    shm::RosterRow& row = segment_.row(i);
    const std::uint64_t status = row.status.load(std::memory_order_acquire);
    if (shm::row_state(status) != shm::RowState::kLive || shm::signalled_dead(row)) continue;
    if (row.role.load(std::memory_order_relaxed) != static_cast<std::uint32_t>(shm::Role::kWorker)) continue;
    if (row.stop_mode.load(std::memory_order_relaxed) != 0 || !shm::serves(segment_, i, queue)) continue;
    const std::uint64_t weight = base::mix64(affinity_key ^ base::mix64(i + 1)) | 1;
    if (weight > best_weight) {
      best_weight = weight;
      best = static_cast<std::int32_t>(i);
    }
  }
  return best;
}

std::uint64_t Engine::affinity_of(std::uint32_t slot, ControlWord word) noexcept {
  const Descriptor& d = segment_.descriptor(slot);
  if ((d.flags & shm::kHasAffinity) == 0 || d.block == 0) return 0;
  std::uint32_t offset = 0;
  const auto extras = read_extension(
      blocks_.bytes(d.block - 1, shm::block_tag(slot, word.generation(), shm::BlockKind::kPayload)), offset);
  return extras ? extras->affinity_key : 0;
}

void Engine::leave_hint(std::uint32_t slot, ControlWord word, std::uint32_t queue, std::uint32_t priority) noexcept {
  if ((segment_.descriptor(slot).flags & shm::kHasAffinity) != 0) [[unlikely]] {
    const std::uint64_t key = affinity_of(slot, word);
    const std::int32_t target = key == 0 ? -1 : worker_for(key, queue);
    if (target >= 0) {
      shm::Ring inbox = inbox_of(segment_, static_cast<std::uint32_t>(target));
      if (inbox.size() < kInboxBound && inbox.push(word.generation(), slot)) {
        (void)shm::wake_worker(segment_, static_cast<std::uint32_t>(target));
        return;
      }
    }
  }
  lanes_.push(queue, priority, word.generation(), slot);
  if (shm::anyone_sleeps(segment_)) shm::wake_workers(segment_, queue, 1);
}

// Who detached or died looks into its inbox no more: what was meant for it is anybody's now.
void Engine::empty_inbox(std::uint32_t participant) noexcept {
  shm::Ring inbox = inbox_of(segment_, participant);
  const std::uint64_t start = inbox.head();
  std::uint64_t position = start;
  for (HintCell cell; position - start < inbox.capacity() && inbox.peek(position, cell); ++position) {
    if (cell.slot() >= segment_.geometry().slot_count) continue;
    const Descriptor& d = segment_.descriptor(cell.slot());
    const ControlWord word = d.control.load();
    const std::uint32_t queue = d.queue;
    const std::uint32_t priority = d.priority;
    if (word.state() != State::kReady || (word.generation() & HintCell::kTagMask) != cell.tag()) continue;
    if (queue >= shm::queue_total(segment_) || priority >= shm::kPriorities) continue;
    lanes_.push(queue, priority, word.generation(), cell.slot());
    if (shm::anyone_sleeps(segment_)) shm::wake_workers(segment_, queue, 1);
  }
  if (position != start) inbox.advance_head(start, position);
}

std::uint32_t Engine::claim_inbox(Lease* into, std::uint32_t most) noexcept {
  const auto gateway = static_cast<std::uint32_t>(shm::Role::kGateway);
  if (self_.row().role.load(std::memory_order_relaxed) == gateway) return 0;  // they are SharedKeys::take_asked()'s
  std::uint32_t claimed = 0;
  const std::uint64_t start = inbox_.head();
  std::uint64_t position = start;
  HintCell cell;
  while (claimed < most && inbox_.peek(position, cell)) {
    ++position;
    if (cell.slot() >= segment_.geometry().slot_count) continue;
    Descriptor& d = segment_.descriptor(cell.slot());
    ControlWord word = d.control.load();
    if (word.state() != State::kReady || (word.generation() & HintCell::kTagMask) != cell.tag()) continue;
    if (claimed != 0 && is_run(d) && tasks_in(d, word) > most - claimed) {  // stays for the next claim
      --position;
      break;
    }
    const std::uint32_t queue = d.queue;
    const std::uint32_t priority = d.priority;
    if (queue >= segment_.geometry().queue_count || priority >= shm::kPriorities) continue;
    if (segment_.queue(queue).paused.load(std::memory_order_relaxed) != 0) {
      lanes_.push(queue, priority, word.generation(), cell.slot());  // waits with the others of its queue
      continue;
    }
    self_.row().held[held_next_ % shm::kHeldSlots].store(cell.slot() + 1, std::memory_order_relaxed);
    const ControlWord mine = word.with(State::kLeased, self_.owner());
    if (!d.control.change(word, mine)) continue;
    ++held_next_;
    into[claimed] = {cell.slot(), mine};
    claimed += is_run(d) ? expand_run(into[claimed], into + claimed, most - claimed) : 1;
  }
  if (position != start) inbox_.advance_head(start, position);
  return claimed;
}

void hint_ahead(shm::Segment& segment, std::uint32_t slot, std::uint64_t generation, std::uint32_t queue) noexcept {
  constexpr int kMostWorkers = 8;
  const std::uint32_t rows = segment.rows_used();
  int told = 0;
  for (std::uint32_t i = 0; i < rows && told < kMostWorkers; ++i) {
    shm::RosterRow& row = segment.row(i);
    if (shm::row_state(row.status.load(std::memory_order_acquire)) != shm::RowState::kLive ||
        row.role.load(std::memory_order_relaxed) != static_cast<std::uint32_t>(shm::Role::kWorker) ||
        shm::signalled_dead(row) || !shm::serves(segment, i, queue))
      continue;
    shm::Ring inbox = inbox_of(segment, i);
    if (inbox.size() < kInboxBound && inbox.push(generation, slot)) ++told;
  }
}

}  // namespace stem::engine
