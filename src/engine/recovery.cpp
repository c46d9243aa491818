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

// True when the bits of these items of a run are set, or the run's life is over.
bool items_are_over(const Descriptor& d, std::uint64_t generation, std::uint32_t items) {
  const MaskWord mask(d.due.load(std::memory_order_acquire));
  return !mask.of(generation) || (items & ~mask.over()) == 0;
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

// A lease is being taken from its holder: if that was about to settle it, it did not.
void Engine::forget_settle(const Lease& of_another) noexcept {
  const std::uint32_t owner = of_another.word.owner();
  if (owner == self_.owner() || owner == 0 || owner > segment_.geometry().participant_count) return;
  shm::RosterRow& row = segment_.row(owner - 1);
  const std::uint64_t generation = of_another.word.generation();
  std::uint64_t op = shm::op_word(shm::OpKind::kSettle, of_another.slot, generation);
  if (row.op.compare_exchange_strong(op, 0, std::memory_order_acq_rel)) return;
  op = shm::op_word(shm::OpKind::kItem, of_another.slot, generation);
  if (row.op.load(std::memory_order_acquire) != op) return;
  if (items_are_over(segment_.descriptor(of_another.slot), generation,
                     shm::OpDetail::unpack(row.op_counter.load(std::memory_order_relaxed)).items))
    return;
  row.op.compare_exchange_strong(op, 0, std::memory_order_acq_rel);
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
  forget_settle({slot, word});
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
  const std::uint64_t op = row.op.load(std::memory_order_acquire);
  const auto kind = static_cast<shm::OpKind>(op >> 60);
  const auto slot = static_cast<std::uint32_t>(op >> 36) & (shm::kMaxSlots - 1);
  const std::uint64_t generation = op & ((std::uint64_t{1} << 36) - 1);
  const auto detail = shm::OpDetail::unpack(row.op_counter.load(std::memory_order_relaxed));
  const std::uint32_t queue = detail.queue;
  const std::uint32_t counter = detail.counter;
  if (kind == shm::OpKind::kNone || slot >= segment_.geometry().slot_count || counter >= shm::kCounterCount ||
      queue >= shm::queue_total(segment_))
    return;
  shm::CounterRow& counters = segment_.counters(participant, queue);
  if (!segment_.commit(segment_.offset_of(&counters), sizeof counters)) return;
  if (counters.value[counter].load(std::memory_order_relaxed) != row.op_count.load(std::memory_order_relaxed)) return;
  // Not counted. The change happened unless the slot still is as it was before.
  const ControlWord word = segment_.descriptor(slot).control.load();
  const State before = kind == shm::OpKind::kPublish ? State::kAlloc : State::kLeased;
  bool happened = !(word.generation() == generation && word.state() == before && word.owner() == participant + 1);
  if (kind == shm::OpKind::kTake)  // exact: it is counted before the slot goes on from there
    happened = word.generation() == generation && word.owner() == participant + 1 &&
               (word.state() == State::kSettling || word.state() == State::kRetiring);
  if (kind == shm::OpKind::kItem)
    happened = word.generation() != generation || items_are_over(segment_.descriptor(slot), generation, detail.items);
  if (happened)
    counters.value[counter].store(row.op_count.load(std::memory_order_relaxed) + detail.how_many,
                                  std::memory_order_relaxed);
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
