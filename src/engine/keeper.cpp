#include "engine/keeper.hpp"

#include <algorithm>

#include "engine/affinity.hpp"
#include "engine/dead_letters.hpp"
#include "engine/extension.hpp"
#include "shm/death.hpp"
#include "shm/names.hpp"

namespace stem::engine {

using shm::ControlWord;
using shm::Descriptor;
using shm::State;

namespace {

// Workers beat once a second, and beats are looked at twice a second: whoever has been silent for less may be well, however
// short the visibility timeout of what it holds.
constexpr std::int64_t kLeastSilenceNs = 2 * kSecondNs;

constexpr std::int64_t kPulseTickNs = 100'000'000;
constexpr std::int64_t kRivalSilenceNs = 2 * kSecondNs;
constexpr std::int64_t kSweepEveryNs = 100'000'000;
constexpr std::int64_t kHintAgeNs = 1'000'000'000;  // a ready task this much older than the head has no hint

std::uint64_t role_word(const shm::Participant& p) { return p.incarnation() << 12 | p.owner(); }

}  // namespace

Keeper::Keeper(Engine& engine)
    : engine_(engine),
      segment_(engine.segment()),
      delayed_(segment_.at<shm::RingHeader>(segment_.layout().delayed), shm::kDelayedRingLog2),
      pulses_(segment_.geometry().participant_count) {}

Keeper::~Keeper() {
  if (!holding_) return;
  std::uint64_t mine = role_word(engine_.self());
  segment_.header().keeper.compare_exchange_strong(mine, 0, std::memory_order_acq_rel);
}

bool Keeper::hold(std::int64_t now_ns) noexcept {
  auto& word = segment_.header().keeper;
  const std::uint64_t mine = role_word(engine_.self());
  std::uint64_t holder = word.load(std::memory_order_acquire);
  if (holder == mine) return holding_ = true;
  if (holder != 0) {
    const auto participant = static_cast<std::uint32_t>(holder & 0xfff) - 1;
    if (participant < segment_.geometry().participant_count) {
      const std::uint64_t status = segment_.row(participant).status.load(std::memory_order_acquire);
      const bool same = shm::row_incarnation(status) == holder >> 12 && shm::row_state(status) == shm::RowState::kLive;
      // Alive by all evidence: it keeps the role.
      if (same && !shm::signalled_dead(segment_.row(participant)) && !rival_is_silent(holder, now_ns))
        return holding_ = false;
    }
  }
  if (!word.compare_exchange_strong(holder, mine, std::memory_order_acq_rel)) return holding_ = false;
  holding_ = true;
  heap_ = {};
  cursor_ = 0;
  pass_started_ns_ = now_ns;
  last_step_ns_ = now_ns;
  // The slab is the truth: find every delayed task before the first sleep.
  patrol_all(now_ns);
  return true;
}

// Stopped, or stuck: its heartbeat stands still by our own clamped clock.
bool Keeper::rival_is_silent(std::uint64_t holder, std::int64_t now_ns) noexcept {
  const std::uint64_t beats =
      segment_.row(static_cast<std::uint32_t>(holder & 0xfff) - 1).heartbeat.load(std::memory_order_relaxed);
  const std::int64_t elapsed = std::clamp<std::int64_t>(now_ns - rival_seen_ns_, 0, 2 * kLongestSleepNs);
  rival_seen_ns_ = now_ns;
  if (holder != rival_ || beats != rival_beats_) {
    rival_ = holder;
    rival_beats_ = beats;
    rival_silent_ns_ = 0;
  } else {
    rival_silent_ns_ += elapsed;
  }
  return rival_silent_ns_ > kRivalSilenceNs;
}

std::int64_t Keeper::step(std::int64_t now_ns) noexcept {
  if (!hold(now_ns)) return now_ns + kLongestSleepNs;
  engine_.self().beat();
  if (now_ns < last_step_ns_) {  // an earlier reading was wrong, or the clock was set back: count from here
    last_sweep_ns_ = std::min(last_sweep_ns_, now_ns);
    last_pulse_ns_ = std::min(last_pulse_ns_, now_ns);
  }
  take_delayed_hints(now_ns);
  promote_due(now_ns);
  if (now_ns - last_sweep_ns_ >= kSweepEveryNs) {
    last_sweep_ns_ = now_ns;
    (void)engine_.sweep_all(now_ns);
  }
  if (now_ns - last_pulse_ns_ >= kPulseTickNs) watch_pulses(now_ns);
  // As much of the slab as the time since the last step asks for, so that a pass takes kPassNs.
  const std::uint64_t used = segment_.header().slab_used.load(std::memory_order_relaxed);
  const std::int64_t elapsed = std::clamp<std::int64_t>(now_ns - last_step_ns_, 0, kPassNs);
  last_step_ns_ = now_ns;
  const auto share = static_cast<std::uint32_t>(used * static_cast<std::uint64_t>(elapsed) / kPassNs + 1);
  patrol(std::min(share, kStretch), now_ns);
  drop_stale_due();
  publish_due();
  // A producer that saw the previous time did not ring; its hint came before this look.
  for (int look = 0; look < 4 && !delayed_.empty(); ++look) {
    take_delayed_hints(now_ns);
    promote_due(now_ns);
    publish_due();
  }
  const bool behind = share > kStretch || !delayed_.empty();
  return behind ? now_ns : std::min(due_ns(), now_ns + kLongestSleepNs);
}

void Keeper::publish_due() noexcept {
  // order(keeper.due): seq_cst; pairs with announce_delayed(): a producer with an earlier task either
  // sees this time and rings, or its hint is seen by the next look at the ring.
  segment_.header().keeper_due_ns.store(due_ns(), std::memory_order_seq_cst);
}

void Keeper::rouse() noexcept {
  if (heap_.empty() || due_ns() == roused_for_ns_) return;
  roused_for_ns_ = due_ns();
  const Due& next = heap_.top();
  const Descriptor& d = segment_.descriptor(next.slot);
  const std::uint32_t queue = d.queue;
  // As every plain field of a slot: believed only if the word still stands.
  if (d.control.load() != next.word || queue >= shm::queue_total(segment_)) return;
  if (segment_.queue(queue).paused.load(std::memory_order_relaxed) == 0 && shm::anyone_sleeps(segment_))
    shm::wake_workers(segment_, queue, 1);
}

// What was cancelled or put off is not waited for.
void Keeper::drop_stale_due() noexcept {
  while (!heap_.empty() && segment_.descriptor(heap_.top().slot).control.load() != heap_.top().word) heap_.pop();
}

void Keeper::note_delayed(std::uint32_t slot, ControlWord word) noexcept {
  heap_.push({engine_.due_ns(slot, word), slot, word});
}

void Keeper::take_delayed_hints(std::int64_t now_ns) noexcept {
  (void)now_ns;
  const std::uint64_t start = delayed_.head();
  std::uint64_t position = start;
  shm::HintCell cell;
  for (; delayed_.peek(position, cell); ++position) {
    if (cell.slot() >= segment_.geometry().slot_count) continue;
    const ControlWord word = segment_.descriptor(cell.slot()).control.load();
    if (word.state() == State::kDelayed) note_delayed(cell.slot(), word);
  }
  if (position != start) delayed_.advance_head(start, position);
}

void Keeper::promote_due(std::int64_t now_ns) noexcept {
  while (!heap_.empty() && heap_.top().at_ns <= now_ns) {
    const Due due = heap_.top();
    heap_.pop();
    // Entries may be doubled or stale: the change succeeds only from the exact word. That word may stand for a
    // later wait under the same grant, which has an entry of its own.
    if (segment_.descriptor(due.slot).control.load() != due.word) continue;
    if (engine_.due_ns(due.slot, due.word) <= now_ns) (void)engine_.promote(due.slot, due.word, now_ns);
  }
}

void Keeper::patrol(std::uint32_t slots, std::int64_t now_ns) noexcept {
  const auto used = segment_.slots_used();
  for (std::uint32_t i = 0; i < slots; ++i) {
    if (cursor_ >= used) {
      cursor_ = 0;
      ++passes_;
      segment_.header().keeper_passes.store(passes_, std::memory_order_relaxed);
      pass_started_ns_ = now_ns;
      bound_dead_letters();
      engine_.complete_turns();
      break;
    }
    patrol_slot(cursor_++, now_ns);
  }
  std::uint64_t freed = 0;
  (void)engine_.blocks().patrol(block_cursor_, slots / 4 + 16, freed);
}

void Keeper::patrol_all(std::int64_t now_ns) noexcept {
  cursor_ = 0;
  const std::uint64_t before = passes_;
  while (passes_ == before) patrol(kStretch, now_ns);
}

void Keeper::patrol_slot(std::uint32_t slot, std::int64_t now_ns) noexcept {
  const ControlWord word = segment_.descriptor(slot).control.load();
  switch (word.state()) {
    case State::kReady: patrol_ready(slot, word, now_ns); break;
    case State::kDelayed: {
      const std::int64_t due = engine_.due_ns(slot, word);
      if (due <= now_ns) {
        (void)engine_.promote(slot, word, now_ns);
      } else if (due - now_ns < 2 * kPassNs || passes_ == 0) {
        // Lost hints: those due before the next pass are noted (again); the rest will be seen then.
        note_delayed(slot, word);
      }
      break;
    }
    case State::kLeased: patrol_leased(slot, word, now_ns); break;
    case State::kWaiting:
      if (!engine_.resolve_moved(slot, word)) (void)engine_.resolve_tick(slot, word);
      break;
    case State::kAlloc:
    case State::kOutbox:
    case State::kSettling:
    case State::kRetiring: patrol_owned(slot, word, now_ns); break;
    case State::kDone: expire_kept(slot, word, now_ns); break;
    case State::kDead: DeadLetters(engine_).retain(slot, word, now_ns); break;
    default: break;
  }
}

// A ready task whose hint was lost: its lane is empty, or hints of much younger tasks are at the head.
void Keeper::patrol_ready(std::uint32_t slot, ControlWord word, std::int64_t now_ns) noexcept {
  const Descriptor& d = segment_.descriptor(slot);
  const std::uint32_t queue = d.queue;
  const std::uint32_t priority = d.priority;
  if (queue >= shm::queue_total(segment_) || priority >= shm::kPriorities) return;
  if ((d.flags & shm::kHasAffinity) != 0) {
    patrol_affine(slot, word, queue, priority);
    return;
  }
  shm::Ring* ring = engine_.lanes().oldest(queue, priority);
  // Without its lane's mark nobody looks at the ring: the pusher was killed between the two.
  const bool marked = (segment_.queue(queue).lanes.load(std::memory_order_acquire) >> priority & 1) != 0;
  bool lost = !marked || ring == nullptr || ring->empty();
  if (!lost) {
    shm::HintCell cell;
    if (ring->peek(ring->head(), cell) && cell.slot() < segment_.geometry().slot_count) {
      const Descriptor& first = segment_.descriptor(cell.slot());
      lost = d.enqueued_ns + kHintAgeNs < first.enqueued_ns && d.enqueued_ns + kHintAgeNs < now_ns;
    }
  }
  if (!lost || segment_.descriptor(slot).control.load() != word) return;
  engine_.lanes().push(queue, priority, word.generation(), slot);
  if (shm::anyone_sleeps(segment_)) shm::wake_workers(segment_, queue, 1);
}

// A ready task meant for one worker: its hint is in that worker's inbox. Lost when the inbox is empty;
// anybody's when that worker is silent or gone.
void Keeper::patrol_affine(std::uint32_t slot, ControlWord word, std::uint32_t queue, std::uint32_t priority) noexcept {
  const std::int32_t target = engine_.worker_for(engine_.affinity_of(slot, word), queue);
  if (segment_.descriptor(slot).control.load() != word) return;
  if (target >= 0 && pulses_[static_cast<std::uint32_t>(target)].silent_ns > kRivalSilenceNs) {
    engine_.lanes().push(queue, priority, word.generation(), slot);
    if (shm::anyone_sleeps(segment_)) shm::wake_workers(segment_, queue, 1);
  } else if (target < 0 || inbox_of(segment_, static_cast<std::uint32_t>(target)).empty()) {
    engine_.leave_hint(slot, word, queue, priority);
  }
}

std::int64_t Keeper::visibility_ns(std::uint32_t slot, ControlWord word) noexcept {
  const Descriptor& d = segment_.descriptor(slot);
  if ((d.flags & shm::kHasExtension) == 0 || d.block == 0) return kDefaultVisibilityNs;
  std::uint32_t offset = 0;
  const auto extras = read_extension(
      engine_.blocks().bytes(d.block - 1, shm::block_tag(slot, word.generation(), shm::BlockKind::kPayload)), offset);
  return extras && extras->visibility_ns > 0 ? extras->visibility_ns : kDefaultVisibilityNs;
}

// A lease ends when its worker has been silent for the task's visibility timeout, or, where it is not
// renewed by life signs, when its clock has run out.
void Keeper::patrol_leased(std::uint32_t slot, ControlWord word, std::int64_t now_ns) noexcept {
  const std::uint32_t participant = word.owner() - 1;
  if (participant >= pulses_.size()) return;
  patrol_owned(slot, word, now_ns);
  if (segment_.descriptor(slot).control.load() != word) return;
  const Descriptor& d = segment_.descriptor(slot);
  const bool by_clock = (d.flags & shm::kNoRenew) != 0;
  const Pulse& pulse = pulses_[participant];
  bool over = false;
  if (by_clock) {
    const shm::TaggedWord until(d.due.load(std::memory_order_acquire));
    over = until.grant() == word.grant() && (until.value() & Engine::kLeaseEnd) != 0 &&
           engine_.from_due_us(until.value()) <= now_ns;
  }
  const LeaseEnd end = over ? LeaseEnd::kExpired : LeaseEnd::kSilent;
  // Also by the clock a worker that was stopped before it set the end must not keep the task.
  over = over || (pulse.silent_ns > kLeastSilenceNs && pulse.silent_ns > visibility_ns(slot, word));
  if (!over) return;
  const std::uint64_t current = segment_.row(participant).current.load(std::memory_order_acquire);
  (void)engine_.redeliver(slot, word, current, end, now_ns);
}

// Its owner's row is free: it detached without giving this back. (The row is read after the word, so the
// word is of an incarnation that is over.)
void Keeper::patrol_owned(std::uint32_t slot, ControlWord word, std::int64_t now_ns) noexcept {
  const std::uint32_t participant = word.owner() - 1;
  if (participant >= pulses_.size()) return;
  const auto state = shm::row_state(segment_.row(participant).status.load(std::memory_order_acquire));
  if (state == shm::RowState::kFree) engine_.adopt(slot, word, now_ns);
}

// dead_max of a queue: the oldest dead letters give way.
void Keeper::bound_dead_letters() noexcept {
  const std::uint32_t queues = shm::queue_total(segment_);
  const auto most = [this](std::uint32_t queue) {
    return segment_.queue(queue).dead_max.load(std::memory_order_relaxed);
  };
  bool bounded = false;
  for (std::uint32_t queue = 0; queue < queues && !bounded; ++queue) bounded = most(queue) != 0;
  if (!bounded) return;
  // One scan of the slab for all queues.
  DeadLetters dead(engine_);
  const std::vector<DeadLetter> letters = dead.list({});
  std::vector<std::size_t> there(queues);
  for (const DeadLetter& letter : letters)
    if (letter.queue < queues) ++there[letter.queue];
  for (const DeadLetter& letter : letters) {  // oldest first
    if (letter.queue >= queues || most(letter.queue) == 0 || there[letter.queue] <= most(letter.queue)) continue;
    --there[letter.queue];
    (void)dead.purge(letter);
  }
}

void Keeper::expire_kept(std::uint32_t slot, ControlWord word, std::int64_t now_ns) noexcept {
  Descriptor& d = segment_.descriptor(slot);
  const shm::TaggedWord until(d.due.load(std::memory_order_acquire));
  if (until.grant() == word.grant() && engine_.from_due_us(until.value()) > now_ns) return;
  const ControlWord retiring = word.with(State::kRetiring, engine_.self().owner());
  if (d.control.change(word, retiring)) engine_.free_slot_now(slot, retiring);
}

void Keeper::watch_pulses(std::int64_t now_ns) noexcept {
  const std::int64_t elapsed = std::clamp<std::int64_t>(now_ns - last_pulse_ns_, 0, 2 * kPulseTickNs);
  last_pulse_ns_ = now_ns;
  const std::uint32_t rows = segment_.rows_used();
  for (std::uint32_t i = 0; i < rows; ++i) {
    const shm::RosterRow& row = segment_.row(i);
    const std::uint64_t incarnation = shm::row_incarnation(row.status.load(std::memory_order_acquire));
    const std::uint64_t beats = row.heartbeat.load(std::memory_order_relaxed);
    Pulse& pulse = pulses_[i];
    if (pulse.incarnation != incarnation || pulse.beats != beats) {
      pulse = {incarnation, beats, 0};
    } else {
      pulse.silent_ns += elapsed;
    }
  }
}

}  // namespace stem::engine
