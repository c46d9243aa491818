// Recovery: what becomes of a participant's things when it is gone. Every step is one change from an exact
// word, so it may be run by several at once and repeated by the next when the recoverer itself is killed.
#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>

#include "engine/affinity.hpp"
#include "engine/engine.hpp"
#include "shm/death.hpp"
#include "shm/names.hpp"

namespace stem::engine {

using shm::ControlWord;
using shm::Counter;
using shm::Descriptor;
using shm::State;

namespace {

const char* signal_name(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name == nullptr ? "an unknown signal" : name;
}

// Whether the change that a participant has on record was made. Its process is dead.
bool has_happened(const Descriptor& d, shm::OpWord op, std::uint32_t items, std::uint32_t owner) {
  const ControlWord word = d.control.load();
  const State state = word.state();
  switch (op.kind()) {
    case shm::OpKind::kPublish: return !op.of_lease(word) || state != State::kAlloc || word.owner() != owner;
    // It is counted before the slot goes on from there.
    case shm::OpKind::kTake:
      return op.of_lease(word) && word.owner() == owner && (state == State::kSettling || state == State::kRetiring);
    // (1) another life: somebody ended it, and whoever takes a lease voids what its holder has on record (void_settle);
    // (2) a later grant: it was taken; (3) the same: what it became is in its word.
    case shm::OpKind::kSettle:
      if (!op.of_life(word)) return true;
      return op.of_lease(word) && (state == State::kFree || state == State::kDone || state == State::kRetiring);
    case shm::OpKind::kUnreplay: return op.of_lease(word) && state == State::kDead;
    // Under a later grant the bits may be another's: whoever gave it has looked before (confirm_items).
    case shm::OpKind::kItem: {
      const MaskWord mask(d.due.load(std::memory_order_acquire));
      return op.of_life(word) && is_run(d) && mask.of(word.generation()) && mask.grant() == op.grant(word) &&
             (items & ~mask.over()) == 0;
    }
    case shm::OpKind::kItemDone: return true;
    default: return false;
  }
}

// What this participant said of a run's items without having committed it.
std::uint32_t acked_by(const shm::RosterRow& row, std::uint32_t slot, std::uint64_t generation) {
  // order(run.acked): acquire; see Engine::record_ack().
  const std::uint64_t word = row.acked.load(std::memory_order_acquire);
  const std::uint64_t none = shm::acked_word(slot, generation, 0);
  return (word ^ none) >> 16 == 0 ? static_cast<std::uint32_t>(word) & full_mask(kRunItems) : 0;
}

// As it stands: whoever may write the segment may have left no zero at its end.
std::string_view name_of(const shm::RosterRow& row) { return {row.name, ::strnlen(row.name, sizeof row.name)}; }

}  // namespace

// A lease has been taken from its holder: what he was about to end by one change, he did not, and never will. Said at
// once, for in the slot's next life nobody could tell.
void Engine::void_settle(std::uint32_t slot, ControlWord taken) noexcept {
  const std::uint32_t owner = taken.owner();
  if (owner == self_.owner() || owner == 0 || owner > segment_.geometry().participant_count) return;
  std::uint64_t op = shm::OpWord(shm::OpKind::kSettle, slot, taken).bits();
  segment_.row(owner - 1).op.compare_exchange_strong(op, 0, std::memory_order_acq_rel);
}

// Items of a run whose bits stand in `mask` were ended by whoever said so under that grant; once a later one is given,
// that cannot be read from the mask any more. So it is written to the record of who may not have counted it yet.
void Engine::confirm_items(std::uint32_t slot, ControlWord next, MaskWord mask) noexcept {
  if (!mask.of(next.generation())) return;
  const std::uint32_t rows = segment_.rows_used();
  for (std::uint32_t i = 0; i < rows; ++i) {
    shm::RosterRow& row = segment_.row(i);
    std::uint64_t bits = row.op.load(std::memory_order_acquire);
    const shm::OpWord op(bits);
    if (i == self_.index() || op.kind() != shm::OpKind::kItem || op.slot() != slot || !op.of_life(next) ||
        op.grant(next) != mask.grant() || mask.grant() >= next.grant())
      continue;
    // Stopped between the words of a record he has the detail of the change before it, which is counted.
    const auto detail = shm::OpDetail::unpack(row.op_counter.load(std::memory_order_acquire));
    if (detail.items != 0 && (detail.items & ~mask.over()) == 0 && !counted(i, detail))
      row.op.compare_exchange_strong(bits, op.done().bits(), std::memory_order_acq_rel);
  }
}

// Whether the change that a participant has on record is in its counters, or can be in none.
bool Engine::counted(std::uint32_t participant, const shm::OpDetail& detail) noexcept {
  if (detail.counter >= shm::kCounterCount || detail.queue >= shm::queue_total(segment_)) return true;
  const shm::CounterRow& counters = segment_.counters(participant, detail.queue);
  if (!segment_.commit(segment_.offset_of(&counters), sizeof counters)) return true;
  return counters.value[detail.counter].load(std::memory_order_relaxed) !=
         segment_.row(participant).op_count.load(std::memory_order_relaxed);
}

bool Engine::redeliver(std::uint32_t slot, ControlWord word, std::uint64_t current, LeaseEnd end,
                       std::int64_t now_ns) noexcept {
  Descriptor& d = segment_.descriptor(slot);
  const std::uint32_t queue = d.queue;
  const std::uint32_t name = d.task;
  const bool started =
      end != LeaseEnd::kStopped && (current & TaskId::kSlotLife) == TaskId::make(1, slot, word.generation()).handle;
  const std::uint32_t owner = word.owner() - 1;
  if (owner >= segment_.geometry().participant_count) return false;
  if (is_run(d)) {
    const std::uint32_t acked = acked_by(segment_.row(owner), slot, word.generation());
    const std::uint32_t running = started ? TaskId{1, current}.item() : 0;
    const bool over = running != 0 && (acked >> (running - 1) & 1) != 0;
    if (d.control.load() != word || queue >= shm::queue_total(segment_)) return false;
    return redeliver_run(slot, word, acked, over ? 0 : running, end, now_ns);
  }
  const std::uint32_t grant = word.grant();
  shm::Tally tally = tally_of(d, grant);
  if (d.control.load() != word || queue >= shm::queue_total(segment_)) return false;
  if (started) {
    ++tally.attempts;
    if (end == LeaseEnd::kDied) ++tally.deaths;
  } else {
    ++tally.releases;
  }
  const bool poison = end == LeaseEnd::kDied && started && tally.deaths >= kPoisonLimit;
  const bool exhausted = grant + 1 >= shm::kMaxGrant;
  if (poison || exhausted) return bury_lost(slot, word, tally, poison, now_ns);
  if (!regrant(slot, word, tally, 0, now_ns)) return false;
  count_redelivered(queue, end, 1);
  tell_lost(slot, word, 0, {queue, name, tally.attempts - (started ? 1 : 0), 1, end, started}, now_ns);
  if (started) hint_ahead(segment_, slot, word.generation(), queue);
  return true;
}

void Engine::count_redelivered(std::uint32_t queue, LeaseEnd end, std::uint64_t tasks) noexcept {
  self_.count(queue, Counter::kRedelivered, tasks);
  self_.count(queue, shm::counter_after(Counter::kRedeliveredFirst, static_cast<std::uint32_t>(end)), tasks);
}

// A lease that will not be redelivered: LEASED{dead} -> DEAD under the same grant.
bool Engine::bury_lost(std::uint32_t slot, ControlWord word, const shm::Tally& tally, bool poison,
                       std::int64_t now_ns) noexcept {
  const Lease lease{slot, word};
  TaskView task;
  if (!view(lease, task)) return false;
  task.tally = tally;
  --task.tally.attempts;  // bury() counts this one
  char text[160];
  const std::uint32_t owner = word.owner();
  int signal = 0;
  if (owner != 0 && owner <= segment_.geometry().participant_count) {
    const shm::CrashRecord& crash = segment_.row(owner - 1).crash;
    // order(crash.record): acquire; pairs with the worker's crash handler, which writes the signal first.
    if (crash.task.load(std::memory_order_acquire) == task.id.handle) signal = crash.signal;
  }
  if (!poison) {
    return bury(lease, task, DeadReason::kDeliveryLimit, {"delivery-limit", "delivered too often"}, now_ns) ==
           Settled::kDone;
  }
  const int n = signal == 0
                    ? std::snprintf(text, sizeof text, "its process died %u times while running it", tally.deaths)
                    : std::snprintf(text, sizeof text, "its process died %u times while running it, last by SIG%s",
                                    tally.deaths, signal_name(signal));
  return bury(lease, task, DeadReason::kPoisonPill,
              {"process-death", std::string_view(text, static_cast<std::size_t>(n))}, now_ns) == Settled::kDone;
}

std::uint32_t Engine::redeliver_held(std::uint32_t participant, std::int64_t now_ns) noexcept {
  shm::RosterRow& row = segment_.row(participant);
  const std::uint64_t current = row.current.load(std::memory_order_acquire);
  std::uint32_t redelivered = 0;
  for (const auto& entry : row.held) {
    const std::uint32_t slot = entry.load(std::memory_order_acquire) - 1;
    if (slot >= segment_.geometry().slot_count) continue;
    const ControlWord word = segment_.descriptor(slot).control.load();
    if (word.state() != State::kLeased || word.owner() != participant + 1) continue;
    if (redeliver(slot, word, current, LeaseEnd::kDied, now_ns)) ++redelivered;
  }
  // With coroutine handlers it held more than the row can name: its words can be found in the slab, and only it could
  // have made more of them.
  if (row.inflight.load(std::memory_order_acquire) <= shm::kHeldSlots) return redelivered;
  const auto used = segment_.slots_used();
  for (std::uint32_t slot = 0; slot < used; ++slot) {
    const ControlWord word = segment_.descriptor(slot).control.load();
    if (word.state() != State::kLeased || word.owner() != participant + 1) continue;
    if (redeliver(slot, word, current, LeaseEnd::kDied, now_ns)) ++redelivered;
  }
  return redelivered;
}

bool Engine::sweep(std::uint32_t participant, std::int64_t now_ns) noexcept {
  if (participant == self_.index()) return false;
  shm::RosterRow& row = segment_.row(participant);
  if (shm::row_state(row.status.load(std::memory_order_acquire)) == shm::RowState::kFree) return false;
  const auto proof = shm::DeathProof::obtain(segment_, participant);
  if (!proof) return false;
  std::uint64_t status = row.status.load(std::memory_order_acquire);
  if (shm::row_state(status) == shm::RowState::kFree) return false;
  const std::uint64_t incarnation = shm::row_incarnation(status);
  row.status.store(shm::row_status(incarnation, shm::RowState::kDead), std::memory_order_release);
  complete_op(participant);  // first: it reads from the slots what happened
  (void)redeliver_held(participant, now_ns);
  const std::uint64_t current = row.current.load(std::memory_order_acquire);
  const auto used = segment_.slots_used();
  const std::uint32_t owner = participant + 1;
  for (std::uint32_t slot = 0; slot < used; ++slot) {
    Descriptor& d = segment_.descriptor(slot);
    ControlWord word = d.control.load();
    if (word.owner() != owner) continue;
    // Re-read after the word: the row may have been swept and taken anew by somebody quicker.
    if (row.status.load(std::memory_order_acquire) != shm::row_status(incarnation, shm::RowState::kDead)) return false;
    if (word.state() == State::kLeased) {
      (void)redeliver(slot, word, current, LeaseEnd::kDied, now_ns);
    } else {
      adopt(slot, word, now_ns);
    }
  }
  shm::Header& h = segment_.header();
  const std::uint64_t bit = std::uint64_t{1} << (participant % 64);
  h.sleepers[participant / 64].fetch_and(~bit, std::memory_order_seq_cst);
  h.result_waiters[participant / 64].fetch_and(~bit, std::memory_order_seq_cst);
  empty_inbox(participant);
  if (row.role.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(shm::Role::kWorker))
    tell_worker(shm::EventKind::kProcessLost, participant, 0, name_of(row), now_ns);
  wake_everyone();  // it may have owed a wake
  row.status.store(shm::row_status(incarnation, shm::RowState::kFree), std::memory_order_release);
  return true;
}

void Engine::adopt(std::uint32_t slot, ControlWord word, std::int64_t now_ns) noexcept {
  Descriptor& d = segment_.descriptor(slot);
  switch (word.state()) {
    case State::kAlloc:  // in a reserve, or half filled; its block becomes an orphan
      if (d.control.change(word, word.with(State::kFree, 0))) self_.offer_free(slot);
      break;
    case State::kLeased: (void)redeliver(slot, word, /*current=*/0, LeaseEnd::kDetached, now_ns); break;
    case State::kSettling: {  // acknowledged: finish what was owed
      const ControlWord mine = word.with(State::kSettling, self_.owner());
      if (d.control.change(word, mine)) after_commit(slot, mine, now_ns);
      break;
    }
    case State::kRetiring: {
      const ControlWord mine = word.with(State::kRetiring, self_.owner());
      if (d.control.change(word, mine)) free_slot_now(slot, mine);
      break;
    }
    case State::kOutbox: {  // on its way to another host, and perhaps there: only a gateway can tell
      (void)d.control.change(word, word.with(State::kOutbox, 0));
      break;
    }
    default: break;
  }
}

// It died between a change and the counting of it: count on its behalf. We hold its proof, so nobody
// else writes its counters.
void Engine::complete_op(std::uint32_t participant) noexcept {
  shm::RosterRow& row = segment_.row(participant);
  const shm::OpWord op(row.op.load(std::memory_order_acquire));
  const auto detail = shm::OpDetail::unpack(row.op_counter.load(std::memory_order_relaxed));
  if (op.kind() == shm::OpKind::kNone || op.slot() >= segment_.geometry().slot_count || counted(participant, detail))
    return;
  if (has_happened(segment_.descriptor(op.slot()), op, detail.items, participant + 1))
    segment_.counters(participant, detail.queue)
        .value[detail.counter]
        .store(row.op_count.load(std::memory_order_relaxed) + detail.how_many, std::memory_order_relaxed);
  row.op.store(0, std::memory_order_release);
}

std::uint32_t Engine::sweep_all(std::int64_t now_ns) noexcept {
  std::uint32_t swept = 0;
  const std::uint32_t rows = segment_.rows_used();
  for (std::uint32_t i = 0; i < rows; ++i) {
    const std::uint64_t status = segment_.row(i).status.load(std::memory_order_acquire);
    if (shm::row_state(status) != shm::RowState::kFree && sweep(i, now_ns)) ++swept;
  }
  return swept;
}

void Engine::wake_everyone() noexcept {
  shm::Header& h = segment_.header();
  for (std::uint32_t i = 0; i < segment_.geometry().participant_count; ++i) {
    const std::uint64_t bit = std::uint64_t{1} << (i % 64);
    if ((h.sleepers[i / 64].load(std::memory_order_seq_cst) & bit) != 0) shm::ring(segment_, i);
  }
}

std::int64_t Engine::due_ns(std::uint32_t slot, ControlWord word) const noexcept {
  const shm::TaggedWord due(segment_.descriptor(slot).due.load(std::memory_order_acquire));
  // A tag of another grant: the time was lost with its writer; now is the safe answer.
  return due.grant() == word.grant() ? from_due_us(due.value()) : 0;
}

bool Engine::promote(std::uint32_t slot, ControlWord word, std::int64_t now_ns) noexcept {
  (void)now_ns;
  Descriptor& d = segment_.descriptor(slot);
  const std::uint32_t queue = d.queue;
  const std::uint32_t priority = d.priority;
  if (queue >= shm::queue_total(segment_) || priority >= shm::kPriorities) return false;
  const bool decided = word.state() == State::kWaiting;  // it was no task before
  if (!d.control.change(word, word.with(State::kReady, 0))) return false;
  if (decided) note_change(queue, slot);
  leave_hint(slot, word, queue, priority);
  return true;
}

}  // namespace stem::engine
