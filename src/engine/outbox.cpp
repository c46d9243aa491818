#include "engine/outbox.hpp"

#include <algorithm>

#include "engine/dead_letters.hpp"
#include "engine/extension.hpp"
#include "engine/links.hpp"
#include "engine/run.hpp"
#include "engine/unique.hpp"
#include "engine/wish_word.hpp"
#include "shm/names.hpp"
#include "shm/prefetch.hpp"

namespace stem::engine {

using shm::ControlWord;
using shm::Counter;
using shm::Descriptor;
using shm::State;
using shm::TaggedWord;

namespace {

constexpr std::uint32_t kTakeAtOnce = 64;
// The gateway ends it long before; without one it must not go unnoticed.
constexpr std::int64_t kImportKeptNs = 30 * 86'400 * kSecondNs;

}  // namespace

// Each item gets a slot of its own, known by the item's name, and what knows it lies anywhere.
void Outbox::fetch_moves(const Lease* leases, std::uint32_t n) const noexcept {
  const Unique unique(segment_, engine_.blocks());
  const auto key_of = [this](const Lease& lease) {
    return moved_key(TaskId::make(segment_.epoch(), lease.slot, lease.word.generation(), lease.item).handle);
  };
  for (std::uint32_t i = 0; i < n; ++i)
    if (leases[i].item != 0) unique.fetch(key_of(leases[i]));
  for (std::uint32_t i = 0; i < n; ++i)
    if (leases[i].item != 0) unique.fetch_holders(key_of(leases[i]));
}

void Outbox::fetch(std::uint32_t slot) const noexcept {
  const Descriptor& d = segment_.descriptor(slot);
  shm::prefetch_write(&d);
  shm::prefetch_write(d.inline_payload);
}

void Outbox::fetch_block(std::uint32_t slot) const noexcept {
  const std::uint32_t block = segment_.descriptor(slot).block;
  if (block != 0) engine_.blocks().fetch(block - 1);
}

// Claimed as by a worker, then put into the outbox. Killed in between, it was a lease that was never begun.
std::uint32_t Outbox::take(std::uint32_t queue, Parcel* into, std::uint32_t most, std::vector<Lease>& imported,
                           std::int64_t now_ns) {
  Lease leases[kTakeAtOnce];
  const std::uint32_t n = engine_.claim(queue, leases, std::min(most, kTakeAtOnce), now_ns);
  fetch_moves(leases, n);
  std::uint32_t taken = 0;
  for (std::uint32_t i = 0; i < n; ++i) {
    Lease lease = leases[i];
    if (lease.item != 0) {  // an item of a run travels by itself; without a slot for it, it comes again
      TaskView task;
      Lease single;
      if (!engine_.view(lease, task) || !engine_.move_out(lease, task, task.tally, single)) continue;
      lease = single;
    }
    if (engine_.is_import(lease.slot, lease.word)) {
      imported.push_back(lease);
      continue;
    }
    ControlWord word = lease.word;
    const ControlWord out = word.with(State::kOutbox, engine_.self().owner());
    if (segment_.descriptor(lease.slot).control.change(word, out)) into[taken++] = {lease.slot, out};
  }
  return taken;
}

void Outbox::put_off(const Lease& lease, std::int64_t until_ns) noexcept {
  (void)engine_.put_off(lease.slot, lease.word, tally_of(segment_.descriptor(lease.slot), lease.word.grant()),
                        until_ns);
}

bool Outbox::change(const Parcel& parcel, State to, Counter counter, ControlWord& changed) noexcept {
  Descriptor& d = segment_.descriptor(parcel.slot);
  const std::uint32_t queue = d.queue;
  if (queue >= shm::queue_total(segment_)) return false;
  shm::Participant& self = engine_.self();
  ControlWord word = parcel.word;
  changed = word.with(to, self.owner());
  self.begin_op({shm::OpKind::kTake, parcel.slot, word}, queue, counter);
  if (!d.control.change(word, changed)) {
    self.drop_op();
    return false;
  }
  self.count(queue, counter);
  engine_.note_change(queue, parcel.slot);
  return true;
}

bool Outbox::hand_over(const Parcel& parcel) noexcept {
  ControlWord retiring;
  if (!change(parcel, State::kRetiring, Counter::kExported, retiring)) return false;
  engine_.free_slot_now(parcel.slot, retiring);
  return true;
}

// The result first, then the word that says that it is there: killed before that, the next gateway asks for it again;
// after it, whoever sweeps does the rest as for a task that ran here.
bool Outbox::end(const Parcel& parcel, OutcomeKind kind, std::span<const std::byte> bytes,
                 std::int64_t now_ns) noexcept {
  return end(parcel, kind, bytes, Counter::kExported, now_ns);
}

bool Outbox::cancel(const Parcel& parcel, std::int64_t now_ns) noexcept {
  const FailureRecord record =
      make_failure_record({"revoked", "revoked before it left"}, engine_.self().index(), now_ns, 0);
  return end(parcel, OutcomeKind::kCancelled, record.bytes(), Counter::kCancelled, now_ns) ||
         end(parcel, OutcomeKind::kCancelled, {}, Counter::kCancelled, now_ns);  // no room to say why
}

bool Outbox::end(const Parcel& parcel, OutcomeKind kind, std::span<const std::byte> bytes, Counter counter,
                 std::int64_t now_ns) noexcept {
  Descriptor& d = segment_.descriptor(parcel.slot);
  TaskView task;
  if (!view(parcel, task)) return false;
  const std::int64_t ttl = task.has_extras ? task.extras.result_ttl_ns : kDefaultResultTtlNs;
  const shm::BlockId block = engine_.store_result({parcel.slot, parcel.word}, bytes);
  if (block == shm::kNoBlock && !bytes.empty()) return false;
  if (!engine_.write_outcome(parcel.slot, parcel.word, kind, block)) return false;
  // A plain store: only proof of death takes a task from its gateway, so no other life of the slot can be here.
  d.due.store(TaggedWord(parcel.word.grant(), engine_.to_due_us(later_ns(now_ns, ttl))).bits(),
              std::memory_order_release);
  ControlWord settling;
  if (!change(parcel, State::kSettling, counter, settling)) return false;
  if ((task.flags & shm::kHasObligations) != 0 && kind != OutcomeKind::kCancelled)  // as Engine::after_commit
    enqueue_links(engine_, parcel.slot, settling, /*error=*/kind == OutcomeKind::kFailed, now_ns);
  if ((task.flags & shm::kKeepResult) != 0) {
    ControlWord word = settling;
    (void)d.control.change(word, settling.with(State::kDone, 0));
  } else {
    engine_.free_slot_now(parcel.slot, settling);
  }
  if (shm::anyone_awaits(segment_)) shm::wake_result_waiters(segment_, task.id.handle);
  return true;
}

bool Outbox::give_back(const Parcel& parcel, std::int64_t now_ns) noexcept {
  if (wish(parcel) != Wish::kNone) return cancel(parcel, now_ns);
  return engine_.regrant(parcel.slot, parcel.word, tally_of(segment_.descriptor(parcel.slot), parcel.word.grant()), 0,
                         now_ns);
}

Outbox::Wish Outbox::wish(const Parcel& parcel) const noexcept {
  const Descriptor& d = segment_.descriptor(parcel.slot);
  const std::uint32_t grant = parcel.word.grant();
  // order(tagged.write): acquire; pairs with the change in Control::leave_wish.
  const WishWord wish(d.tally[(grant + 1) % 2].load(std::memory_order_acquire));
  if (!wish.of(grant)) return Wish::kNone;
  return wish.terminate() ? Wish::kTerminate : Wish::kCancel;
}

void Outbox::take_wishes(std::vector<TaskId>& into) noexcept {
  for (auto& hint : engine_.self().row().revoke) {
    if (hint.load(std::memory_order_relaxed) == 0) continue;
    const std::uint64_t handle = hint.exchange(0, std::memory_order_acq_rel);
    if (handle != 0) into.push_back({segment_.epoch(), handle});
  }
}

void Outbox::leave(const Parcel& parcel) noexcept {
  ControlWord word = parcel.word;
  (void)segment_.descriptor(parcel.slot).control.change(word, word.with(State::kOutbox, 0));
}

std::vector<Parcel> Outbox::adopt() {
  std::vector<Parcel> mine;
  const std::uint32_t used = segment_.slots_used();
  for (std::uint32_t slot = 0; slot < used; ++slot) {
    auto& control = segment_.descriptor(slot).control;
    ControlWord word = control.load();
    if (word.state() != State::kOutbox || word.owner() != 0) continue;
    const ControlWord taken = word.with(State::kOutbox, engine_.self().owner());
    if (control.change(word, taken)) mine.push_back({slot, taken});
  }
  return mine;
}

EnqueueResult Outbox::import(TaskSpec spec, std::int64_t now_ns) noexcept {
  TaskExtras extras = *spec.extras;
  extras.result_ttl_ns = kImportKeptNs;
  spec.extras = &extras;
  spec.keep_result = true;
  const EnqueueResult made = engine_.enqueue(spec, now_ns);
  if (made.status == EnqueueStatus::kOk) engine_.self().count(spec.queue, Counter::kImported);
  return made;
}

void Outbox::each_import(const std::function<void(TaskId, const TaskExtras&)>& visit) {
  const std::uint32_t used = segment_.slots_used();
  for (std::uint32_t slot = 0; slot < used; ++slot) {
    const Descriptor& d = segment_.descriptor(slot);
    const ControlWord word = d.control.load();
    if (word.state() == State::kFree || word.state() == State::kAlloc || word.state() == State::kOutbox) continue;
    const std::uint32_t block = d.block;
    if (is_run(d) || (d.flags & shm::kHasExtension) == 0 || (d.flags & shm::kKeepResult) == 0 || block == 0) continue;
    std::uint32_t offset = 0;
    const auto extras = read_extension(
        engine_.blocks().bytes(block - 1, shm::block_tag(slot, word.generation(), shm::BlockKind::kPayload)), offset);
    if (!extras || extras->origin.empty() || d.control.load().generation() != word.generation()) continue;
    visit(TaskId::make(segment_.epoch(), slot, word.generation()), *extras);
  }
}

bool Outbox::forget(TaskId id) noexcept {
  Descriptor& d = segment_.descriptor(id.slot());
  ControlWord word = d.control.load();
  if (word.generation() != id.generation() || word.state() == State::kFree) return true;
  if (word.state() == State::kDead) {
    DeadLetter letter;
    letter.slot = id.slot();
    letter.word = word;
    letter.queue = d.queue;
    return letter.queue < shm::queue_total(segment_) && DeadLetters(engine_).purge(letter);
  }
  if (word.state() != State::kDone) return false;
  const ControlWord retiring = word.with(State::kRetiring, engine_.self().owner());
  if (d.control.change(word, retiring)) engine_.free_slot_now(id.slot(), retiring);
  return true;
}

}  // namespace stem::engine
