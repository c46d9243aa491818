// Ticks of schedules: each becomes one task, whoever is killed, stopped or late. The task is put aside first
// (kWaiting: it exists, and nobody runs it); one CAS of the row's turn then says that it is the tick; only then
// it is let go. So the tick is decided in one place, by a word that no two can change from the same value.
#include <cstring>

#include "engine/engine.hpp"
#include "engine/extension.hpp"

namespace stem::engine {

using shm::ControlWord;
using shm::Counter;
using shm::Descriptor;
using shm::State;
using shm::TurnWord;

namespace {

// True while the one who proposed a tick may still give it its turn.
bool may_choose(const shm::Segment& segment, std::uint64_t by) {
  const auto owner = static_cast<std::uint32_t>(by & 0xfff);
  if (owner == 0 || owner > segment.geometry().participant_count) return false;
  const std::uint64_t status = segment.row(owner - 1).status.load(std::memory_order_acquire);
  return shm::row_incarnation(status) == by >> 12 && shm::row_state(status) != shm::RowState::kFree;
}

}  // namespace

TickResult Engine::fire_tick(const TaskSpec& spec, std::uint32_t row, std::int64_t tick_ns, TurnWord turn,
                             std::int64_t now_ns) noexcept {
  TickResult result;
  shm::ScheduleRow& schedule = segment_.schedule(row);
  if (turn.open() || schedule.turn.load(std::memory_order_acquire) != turn.bits()) {
    result.status = TickStatus::kLost;
    return result;
  }
  TaskExtras extras = spec.extras == nullptr ? TaskExtras{} : *spec.extras;
  const TickNote note{row, tick_ns, self_.incarnation() << 12 | self_.owner()};
  extras.tick = {reinterpret_cast<const char*>(&note), sizeof note};
  TaskSpec proposal = spec;
  proposal.extras = &extras;
  proposal.due_ns = 0;
  Filled filled;
  result.enqueue.status = fill(proposal, now_ns, filled, result.enqueue);
  if (result.enqueue.status != EnqueueStatus::kOk) return result;

  self_.begin_op({shm::OpKind::kPublish, filled.slot, filled.word.generation(), 0}, spec.queue, Counter::kEnqueued);
  const ControlWord waiting = filled.word.with(State::kWaiting, 0);
  ControlWord word = filled.word;
  if (!segment_.descriptor(filled.slot).control.change(word, waiting)) {
    result.enqueue.status = EnqueueStatus::kDetached;
    return result;
  }
  self_.count(spec.queue, Counter::kEnqueued);

  const TurnWord mine = TurnWord::choose(filled.slot, filled.word.generation());
  std::uint64_t expected = turn.bits();
  // order(tick.turn): acq_rel; the linearization of "fired": the task is complete before it is chosen, and
  // nobody has fired this row, or changed its entry, since the turn was read.
  if (!schedule.turn.compare_exchange_strong(expected, mine.bits(), std::memory_order_acq_rel)) {
    drop_tick(filled.slot, waiting);
    result.status = TickStatus::kLost;
    return result;
  }
  complete_turn(row, mine);
  tell_tick(spec, result.enqueue.id.handle, note, now_ns);
  result.status = TickStatus::kFired;
  return result;
}

// What a proposed tick says of itself; empty when it makes no sense, or does not stand any more.
std::optional<TickNote> Engine::tick_of(std::uint32_t slot, ControlWord word) const noexcept {
  const Descriptor& d = segment_.descriptor(slot);
  const std::uint32_t block = d.block;
  if (block == 0) return std::nullopt;
  std::uint32_t offset = 0;
  const auto extras = read_extension(
      blocks_.bytes(block - 1, shm::block_tag(slot, word.generation(), shm::BlockKind::kPayload)), offset);
  if (!extras || extras->tick.size() != sizeof(TickNote)) return std::nullopt;
  TickNote note;
  std::memcpy(&note, extras->tick.data(), sizeof note);
  if (d.control.load() != word || note.row >= segment_.schedule_total()) return std::nullopt;
  return note;
}

void Engine::complete_turn(std::uint32_t row, TurnWord turn) noexcept {
  if (!turn.open()) return;
  shm::ScheduleRow& schedule = segment_.schedule(row);
  const std::uint32_t slot = turn.slot();
  if (slot < segment_.slots_used()) {
    const ControlWord word = segment_.descriptor(slot).control.load();
    // Not waiting any more: whoever let it go has written the time down before.
    if (word.generation() == turn.generation() && word.state() == State::kWaiting) {
      const auto tick = tick_of(slot, word);
      if (tick && tick->row == row) {
        std::int64_t was = schedule.fired_ns.load(std::memory_order_acquire);
        if (schedule.turn.load(std::memory_order_acquire) != turn.bits()) return;  // over without us
        if (was != tick->planned_ns)
          schedule.fired_ns.compare_exchange_strong(was, tick->planned_ns, std::memory_order_acq_rel);
        (void)promote(slot, word, 0);
      }
    }
  }
  std::uint64_t expected = turn.bits();
  if (schedule.turn.compare_exchange_strong(expected, turn.closed().bits(), std::memory_order_acq_rel))
    schedule.fired.fetch_add(1, std::memory_order_relaxed);
}

void Engine::complete_turns() noexcept {
  for (std::uint32_t row = 0; row < segment_.schedule_total(); ++row)
    complete_turn(row, TurnWord(segment_.schedule(row).turn.load(std::memory_order_acquire)));
}

void Engine::renew_turn(std::uint32_t row, std::uint32_t version) noexcept {
  shm::ScheduleRow& schedule = segment_.schedule(row);
  const TurnWord renewed = TurnWord::renewed(version);
  for (;;) {  // each failed round is a tick that somebody fired
    std::uint64_t was = schedule.turn.load(std::memory_order_acquire);
    if (TurnWord(was).open()) {
      complete_turn(row, TurnWord(was));
      continue;
    }
    if (was == renewed.bits() || schedule.turn.compare_exchange_strong(was, renewed.bits(), std::memory_order_acq_rel))
      return;
  }
}

void Engine::drop_tick(std::uint32_t slot, ControlWord waiting) noexcept {
  Descriptor& d = segment_.descriptor(slot);
  const std::uint32_t queue = d.queue;
  const ControlWord retiring = waiting.with(State::kRetiring, self_.owner());
  self_.begin_op({shm::OpKind::kTake, slot, waiting}, queue, Counter::kDropped);
  ControlWord word = waiting;
  if (!d.control.change(word, retiring)) {
    self_.drop_op();
    return;
  }
  self_.count(queue, Counter::kDropped);
  free_slot_now(slot, retiring);
}

bool Engine::resolve_tick(std::uint32_t slot, ControlWord word) noexcept {
  const Descriptor& d = segment_.descriptor(slot);
  if (word.state() != State::kWaiting || (d.flags & shm::kMovedOut) != 0) return false;
  const auto tick = tick_of(slot, word);
  if (!tick) return false;
  const auto row = static_cast<std::uint32_t>(tick->row);
  // Before the turn: who is gone has chosen, or never will.
  const bool gone = !may_choose(segment_, tick->proposed_by);
  const TurnWord turn(segment_.schedule(row).turn.load(std::memory_order_acquire));
  if (turn == TurnWord::choose(slot, word.generation())) {
    complete_turn(row, turn);
    return true;
  }
  if (!gone) return false;
  drop_tick(slot, word);
  return true;
}

}  // namespace stem::engine
