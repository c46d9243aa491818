#include "engine/dead_letters.hpp"

#include <algorithm>

#include "engine/extension.hpp"
#include "engine/known_handle.hpp"
#include "engine/unique.hpp"
#include "shm/names.hpp"

namespace stem::engine {

using shm::ControlWord;
using shm::Counter;
using shm::Descriptor;
using shm::State;

namespace {

// How long a replayed letter with a unique key is kept from workers at most, until it is known whether the key is its.
constexpr std::int64_t kUndecidedNs = 5 * kSecondNs;

}  // namespace

bool DeadLetters::read(std::uint32_t slot, ControlWord word, DeadLetter& into) const noexcept {
  const Descriptor& d = segment_.descriptor(slot);
  into.id = TaskId::make(segment_.epoch(), slot, word.generation());
  into.slot = slot;
  into.word = word;
  into.queue = d.queue;
  into.task = d.task;
  into.enqueued_ns = d.enqueued_ns;
  const shm::TaggedWord outcome(d.outcome.load(std::memory_order_acquire));
  const auto block = static_cast<std::uint32_t>(outcome.value());
  const auto record = block == 0 ? std::nullopt
                                 : read_failure_record(engine_.blocks().bytes(
                                       block - 1, shm::block_tag(slot, word.generation(), shm::BlockKind::kResult)));
  // Without a time of death its age counts from its enqueueing: an age from the beginning of time would end
  // its retention at once.
  into.failure =
      record ? *record : make_failure_record({"unknown", "its failure record was lost"}, 0, into.enqueued_ns, 0);
  // Of no queue or name of ours it is nothing that could be shown, replayed or purged; verify names it.
  return into.queue < shm::queue_total(segment_) && into.task < shm::task_total(segment_) && d.control.stands(word);
}

std::vector<DeadLetter> DeadLetters::list(const DeadFilter& filter) const {
  std::vector<DeadLetter> found;
  const auto used = segment_.slots_used();
  const std::uint32_t first = filter.id ? filter.id.slot() : 0;
  const std::uint32_t last = filter.id ? std::min(filter.id.slot() + 1, used) : used;
  for (std::uint32_t slot = first; slot < last; ++slot) {
    const ControlWord word = segment_.descriptor(slot).control.load();
    DeadLetter letter;
    if (word.state() != State::kDead || !read(slot, word, letter)) continue;
    if (filter.id && !(letter.id == filter.id)) continue;
    if (filter.queue != ~0u && letter.queue != filter.queue) continue;
    if (filter.reason != 0 && letter.failure.reason != filter.reason) continue;
    if (filter.fingerprint != 0 && letter.failure.fingerprint != filter.fingerprint) continue;
    if (letter.failure.at_ns < filter.since_ns) continue;
    found.push_back(letter);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.failure.at_ns < b.failure.at_ns; });
  return found;
}

bool DeadLetters::replay(const DeadLetter& letter, std::int64_t delay_ns, std::int64_t now_ns) noexcept {
  // A task delivered 4,095 times has no further grant; it can only be purged.
  if (letter.word.grant() + 1 >= shm::kMaxGrant) return false;
  // Its key was free while it was dead, and may be another's.
  const std::uint64_t key = unique_key(letter);
  if (key != 0 && !take_key(key, letter.slot, letter.word, now_ns)) return false;
  const bool decides = key != 0 && delay_ns <= 0;
  const std::int64_t due_ns = later_ns(now_ns, decides ? kUndecidedNs : delay_ns);
  if (!engine_.regrant(letter.slot, letter.word, shm::Tally{}, due_ns, now_ns)) return false;
  engine_.self().count(letter.queue, Counter::kDeadReplayed);
  // One that was enqueued since the look above saw a dead letter with this key. From here on it is a task, and seen:
  // whoever took the key before is found now.
  const ControlWord live = letter.word.regrant(due_ns > now_ns ? State::kDelayed : State::kReady);
  if (key != 0 && !take_key(key, letter.slot, live, now_ns) && bury_again(letter, live)) return false;
  if (decides) (void)engine_.promote(letter.slot, live, now_ns);
  TaskView replayed;
  replayed.id = TaskId{letter.id.epoch, known_handle(engine_, letter.slot, letter.word)};
  replayed.queue = letter.queue;
  replayed.task = letter.task;
  engine_.tell(shm::EventKind::kReplayed, replayed, delay_ns, now_ns);
  return true;
}

bool DeadLetters::take_key(std::uint64_t key, std::uint32_t slot, ControlWord word, std::int64_t now_ns) noexcept {
  return Unique(segment_, engine_.blocks()).acquire(key, slot, word, now_ns).status == UniqueStatus::kAcquired;
}

// What was made a task again a moment ago is the dead letter that it was. False: it is somebody's by now, and runs.
// Killed in here, it is delayed or ready, or a lease that was never begun: then it runs beside the one that has its key.
bool DeadLetters::bury_again(const DeadLetter& letter, ControlWord live) noexcept {
  shm::ControlCell& control = segment_.descriptor(letter.slot).control;
  shm::Participant& self = engine_.self();
  const ControlWord ready = live.with(State::kReady, 0), leased = live.with(State::kLeased, self.owner());
  ControlWord word = live;
  if (live.state() == State::kDelayed && !control.change(word, ready)) return false;
  if (word = ready; !control.change(word, leased)) return false;
  self.begin_op({shm::OpKind::kUnreplay, letter.slot, leased}, letter.queue, Counter::kDeadAdded);
  if (word = leased; !control.change(word, live.with(State::kDead, 0))) {
    self.drop_op();
    return false;
  }
  self.count(letter.queue, Counter::kDeadAdded);
  if (letter.failure.reason >= 1 && letter.failure.reason <= kDeadReasons)
    self.count(letter.queue, shm::counter_after(Counter::kDeadAddedFirst, letter.failure.reason - 1u));
  engine_.note_change(letter.queue, letter.slot);
  return true;
}

std::uint64_t DeadLetters::unique_key(const DeadLetter& letter) const noexcept {
  const Descriptor& d = segment_.descriptor(letter.slot);
  if ((d.flags & shm::kHasExtension) == 0 || d.block == 0) return 0;
  std::uint32_t offset = 0;
  const auto extras =
      read_extension(engine_.blocks().bytes(
                         d.block - 1, shm::block_tag(letter.slot, letter.word.generation(), shm::BlockKind::kPayload)),
                     offset);
  return extras ? extras->unique_key : 0;
}

bool DeadLetters::purge(const DeadLetter& letter) noexcept {
  ControlWord word = letter.word;
  const ControlWord retiring = word.with(State::kRetiring, engine_.self().owner());
  engine_.self().begin_op({shm::OpKind::kTake, letter.slot, word}, letter.queue, Counter::kDeadPurged);
  if (!segment_.descriptor(letter.slot).control.change(word, retiring)) {
    engine_.self().drop_op();
    return false;
  }
  engine_.self().count(letter.queue, Counter::kDeadPurged);
  engine_.free_slot_now(letter.slot, retiring);
  engine_.note_change(letter.queue, letter.slot);
  return true;
}

void DeadLetters::retain(std::uint32_t slot, ControlWord word, std::int64_t now_ns) noexcept {
  DeadLetter letter;
  if (!read(slot, word, letter)) return;
  const std::int64_t set = segment_.queue(letter.queue).dead_retention_ns.load(std::memory_order_relaxed);
  const std::int64_t keep = set > 0 ? set : kDefaultDeadRetentionNs;
  if (letter.failure.at_ns + keep <= now_ns) (void)purge(letter);
}

}  // namespace stem::engine
