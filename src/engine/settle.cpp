// Settling: what a worker says about a lease, each one commit of the control word that names the grant.
#include <algorithm>
#include <cstring>

#include "engine/engine.hpp"
#include "engine/extension.hpp"
#include "engine/failure_record.hpp"
#include "engine/links.hpp"
#include "engine/retry.hpp"

namespace stem::engine {

using shm::ControlWord;
using shm::Counter;
using shm::Descriptor;
using shm::State;
using shm::TaggedWord;

namespace {

// outcome word value: kind (4) << 32 | block + 1 (32; 0 = none)
constexpr std::uint64_t outcome_value(OutcomeKind kind, shm::BlockId block) {
  return static_cast<std::uint64_t>(kind) << 32 | (block == shm::kNoBlock ? 0 : std::uint64_t{block} + 1);
}

constexpr shm::BlockId outcome_block(std::uint64_t value) {
  return static_cast<std::uint32_t>(value) == 0 ? shm::kNoBlock : static_cast<std::uint32_t>(value) - 1;
}

// Writes a tagged word while the control word stands at `held`; false once it does not. A zombie that
// was stopped in here fails its CAS, because whoever came after it has written the cell; or it leaves a
// value of its own old grant, which nobody believes and the holder overwrites.
bool change_tagged(const Descriptor& d, std::atomic<std::uint64_t>& cell, ControlWord held, TaggedWord value) noexcept {
  for (;;) {
    std::uint64_t was = cell.load(std::memory_order_acquire);
    if (d.control.load() != held) return false;
    // order(tagged.write): acq_rel; pairs with the acquire loads of tagged words; the value before the
    // change of the control word that gives it meaning.
    if (cell.compare_exchange_strong(was, value.bits(), std::memory_order_acq_rel)) return true;
  }
}

// Whether a dead letter of this reason is a handler's last failed attempt; the others never ran, or their
// process died.
constexpr bool handler_failed(DeadReason reason) {
  return reason == DeadReason::kMaxRetriesExhausted || reason == DeadReason::kPermanentFailure ||
         reason == DeadReason::kHardTimeLimit;
}

}  // namespace

bool Engine::carry_over(std::uint32_t slot, ControlWord held, std::uint32_t items) noexcept {
  Descriptor& d = segment_.descriptor(slot);
  const std::uint32_t grant = held.grant() + 1;
  return change_tagged(d, d.tally[grant % 2], held, TaggedWord(grant, items));
}

bool Engine::write_outcome(std::uint32_t slot, ControlWord word, OutcomeKind kind, shm::BlockId block) noexcept {
  auto& cell = segment_.descriptor(slot).outcome;
  return change_tagged(segment_.descriptor(slot), cell, word, TaggedWord(word.grant(), outcome_value(kind, block)));
}

// The lease was lost. A block goes back only if the outcome word does not name it: once it does, the block is
// freed by whoever writes the next outcome, or with the task, and may be another's before we look again.
Settled Engine::refuse_late(const Lease& lease, const TaskView& task, std::int64_t now_ns,
                            shm::BlockId block) noexcept {
  if (block != shm::kNoBlock) blocks_.give_back(block, lease.slot, lease.word.generation(), shm::BlockKind::kResult);
  return fenced(task, now_ns);
}

Settled Engine::fenced(const TaskView& task, std::int64_t now_ns) noexcept {
  self_.count(task.queue, Counter::kFenced);
  tell(shm::EventKind::kFenced, task, 0, now_ns);
  return Settled::kFenced;
}

void Engine::free_blocks(std::uint32_t slot, ControlWord word) noexcept {
  Descriptor& d = segment_.descriptor(slot);
  if (d.block != 0) blocks_.give_back(d.block - 1, slot, word.generation(), shm::BlockKind::kPayload);
  const shm::BlockId result = outcome_block(TaggedWord(d.outcome.load(std::memory_order_acquire)).value());
  if (result != shm::kNoBlock) blocks_.give_back(result, slot, word.generation(), shm::BlockKind::kResult);
}

void Engine::free_slot_now(std::uint32_t slot, ControlWord expected) noexcept {
  if (is_run(segment_.descriptor(slot))) let_moved_go(slot, expected);
  free_blocks(slot, expected);
  if (segment_.descriptor(slot).control.change(expected, expected.with(State::kFree, 0))) self_.offer_free(slot);
}

// The common end: result first, then one commit word, then what may follow it.
Settled Engine::finish(const Lease& lease, const TaskView& task, OutcomeKind kind, Counter counter,
                       std::span<const std::byte> result, std::int64_t now_ns) noexcept {
  if (lease.item != 0) {
    (void)commit_acks();
    return settle_item(lease, task, counter, now_ns);
  }
  Descriptor& d = segment_.descriptor(lease.slot);
  ControlWord word = lease.word;
  const bool keep = (task.flags & shm::kKeepResult) != 0;
  const bool obligations = (task.flags & shm::kHasObligations) != 0;
  if (!keep && !obligations && task.payload.data() == task.inline_copy && word.grant() == 0 &&
      word.owner() == self_.owner()) [[likely]] {
    // Nothing to keep and nothing to free: one change ends the task and frees the slot.
    self_.begin_op({shm::OpKind::kSettle, lease.slot, word.generation(), 0}, task.queue, counter);
    if (!d.control.change(word, word.with(State::kFree, 0))) {
      self_.drop_op();
      return fenced(task, now_ns);
    }
    self_.count(task.queue, counter);
    self_.offer_free(lease.slot);
    note_change(task.queue, lease.slot);
    if (may_have_waiters(task)) [[unlikely]]
      let_waiter_go(task, now_ns);
    return Settled::kDone;
  }
  const shm::BlockId previous = outcome_block(TaggedWord(d.outcome.load(std::memory_order_acquire)).value());
  shm::BlockId block = shm::kNoBlock;
  if (keep) {
    block = store_result(lease, result);
    // Never acknowledged before its result is stored: without room for it the attempt has failed.
    if (block == shm::kNoBlock && !result.empty() && kind == OutcomeKind::kSucceeded)
      return refuse_result(lease, task, result.size(), now_ns);
    if (!write_outcome(lease.slot, word, kind, block)) return refuse_late(lease, task, now_ns, block);
    // The due word now says until when the result is kept.
    const std::int64_t ttl = task.has_extras ? task.extras.result_ttl_ns : kDefaultResultTtlNs;
    if (!change_tagged(d, d.due, word, TaggedWord(word.grant(), to_due_us(later_ns(now_ns, ttl)))))
      return refuse_late(lease, task, now_ns);
  } else if (obligations && !write_outcome(lease.slot, word, kind, shm::kNoBlock)) {
    return refuse_late(lease, task, now_ns);  // whoever finishes it must know which links to follow
  }
  // A result alone needs no state between: what is left to do (the payload's block) waits for the result's end
  // when we die. Another's lease goes through one that names us, as in bury().
  const bool at_once = keep && !obligations && word.owner() == self_.owner();
  const ControlWord next = at_once ? word.with(State::kDone, 0) : word.with(State::kSettling, self_.owner());
  const std::uint32_t payload = d.block;  // read before the change: afterwards the slot may live on
  self_.begin_op({at_once ? shm::OpKind::kSettle : shm::OpKind::kTake, lease.slot, word}, task.queue, counter);
  if (!d.control.change(word, next)) {
    self_.drop_op();
    return refuse_late(lease, task, now_ns);
  }
  void_settle(lease.slot, lease.word);
  self_.count(task.queue, counter);
  if (previous != shm::kNoBlock && previous != block)
    blocks_.give_back(previous, lease.slot, next.generation(), shm::BlockKind::kResult);
  if (!at_once) {
    after_commit(lease.slot, next, now_ns);
  } else {
    if (shm::anyone_awaits(segment_)) shm::wake_result_waiters(segment_, task.id.handle);
    const bool imported = task.has_extras && !task.extras.origin.empty();  // its gateway wants to read that still
    if (payload != 0 && !imported)
      blocks_.give_back(payload - 1, lease.slot, next.generation(), shm::BlockKind::kPayload);
  }
  note_change(task.queue, lease.slot);
  if (may_have_waiters(task)) let_waiter_go(task, now_ns);
  return Settled::kDone;
}

// From kSettling on: every step may be repeated by whoever takes the word over.
void Engine::after_commit(std::uint32_t slot, ControlWord settling, std::int64_t now_ns) noexcept {
  Descriptor& d = segment_.descriptor(slot);
  const TaggedWord outcome(d.outcome.load(std::memory_order_acquire));
  const bool told = outcome.grant() == settling.grant();
  const auto kind = told ? static_cast<OutcomeKind>(outcome.value() >> 32) : OutcomeKind::kNone;
  const bool kept = told && (d.flags & shm::kKeepResult) != 0;
  if ((d.flags & shm::kHasObligations) != 0 && (kind == OutcomeKind::kSucceeded || kind == OutcomeKind::kFailed))
    enqueue_links(*this, slot, settling, /*error=*/kind == OutcomeKind::kFailed, now_ns);
  if (kind == OutcomeKind::kFailed) {
    ControlWord word = settling;
    (void)d.control.change(word, settling.with(State::kDead, 0));
  } else if (!kept) {
    free_slot_now(slot, settling);
  } else {
    if (d.block != 0 && !is_import(slot, settling))
      blocks_.give_back(d.block - 1, slot, settling.generation(), shm::BlockKind::kPayload);
    ControlWord word = settling;
    (void)d.control.change(word, settling.with(State::kDone, 0));
  }
  const std::uint64_t handle = TaskId::make(1, slot, settling.generation()).handle;
  if (shm::anyone_awaits(segment_)) shm::wake_result_waiters(segment_, handle);
}

bool Engine::is_import(std::uint32_t slot, ControlWord word) const noexcept {
  const Descriptor& d = segment_.descriptor(slot);
  if ((d.flags & shm::kHasExtension) == 0) return false;
  std::uint32_t offset = 0;
  const auto extras = read_extension(
      blocks_.bytes(d.block - 1, shm::block_tag(slot, word.generation(), shm::BlockKind::kPayload)), offset);
  return extras && !extras->origin.empty();
}

Settled Engine::refuse_result(const Lease& lease, const TaskView& task, std::size_t bytes,
                              std::int64_t now_ns) noexcept {
  if (bytes > shm::kMaxPayloadBytes)
    return bury(lease, task, DeadReason::kPermanentFailure, {"result-too-large", "a result may have 1 MiB"}, now_ns);
  bool retried = false;
  return fail(lease, task, {"result-not-stored", "no room for the result in the segment"}, -1, now_ns, retried);
}

shm::BlockId Engine::store_result(const Lease& lease, std::span<const std::byte> result) noexcept {
  if (result.empty() || result.size() > shm::kMaxPayloadBytes) return shm::kNoBlock;
  const auto bytes = static_cast<std::uint32_t>(result.size());
  // Ours while we write, and the task's only then: stopped in the middle until the lease and even the task are
  // over, we must not find the block in other hands when we go on.
  const std::uint64_t filling = shm::block_tag(self_.index(), self_.incarnation(), shm::BlockKind::kFilling);
  const shm::BlockId block = blocks_.take(bytes, self_.index(), self_.incarnation(), shm::BlockKind::kFilling);
  if (block == shm::kNoBlock) return block;
  const auto room = blocks_.bytes(block, filling);
  if (room.size() < bytes) return shm::kNoBlock;
  std::memcpy(room.data(), result.data(), bytes);
  shm::BlockHeader* header = blocks_.header(block);
  header->bytes = bytes;
  header->grant = lease.word.grant();
  const std::uint64_t filled = shm::block_tag(lease.slot, lease.word.generation(), shm::BlockKind::kResult);
  return blocks_.retag(block, filling, filled) ? block : shm::kNoBlock;
}

Settled Engine::succeed(const Lease& lease, const TaskView& task, std::span<const std::byte> result,
                        std::int64_t now_ns) noexcept {
  const Settled settled = finish(lease, task, OutcomeKind::kSucceeded, Counter::kSucceeded, result, now_ns);
  if (settled == Settled::kDone && events_.followed(now_ns)) [[unlikely]]
    tell_succeeded(task, started_ns(), now_ns);
  return settled;
}

Settled Engine::cancel(const Lease& lease, const TaskView& task, Counter why, const Failure& failure,
                       std::int64_t now_ns) noexcept {
  const FailureRecord record = make_failure_record(failure, self_.index(), now_ns, 0);
  const Settled settled = finish(lease, task, OutcomeKind::kCancelled, why, record.bytes(), now_ns);
  if (settled != Settled::kDone) return settled;
  if (why == Counter::kDropped) {
    if (events_.followed(now_ns)) tell(shm::EventKind::kDropped, task, 0, now_ns);
  } else {
    const auto kind = why == Counter::kExpired ? shm::EventKind::kExpired : shm::EventKind::kRevoked;
    tell_failure(kind, task, 0, failure, 0, now_ns);
  }
  return settled;
}

// LEASED -> READY or DELAYED under the next grant. The tally and due words are tagged with that grant, so
// they mean nothing unless the change of the control word succeeds.
bool Engine::regrant(std::uint32_t slot, ControlWord from, const shm::Tally& tally, std::int64_t due_ns,
                     std::int64_t now_ns) noexcept {
  return make_runnable(slot, from, from.regrant(due_ns > now_ns ? State::kDelayed : State::kReady), tally, due_ns);
}

// LEASED -> DELAYED under the same grant: its handler was not started, so there is nobody to be fenced, and a
// task may wait behind a limit for as long as it takes. The same leased word can come again only by a claim of
// the same participant, which has let go of this one here.
bool Engine::put_off(std::uint32_t slot, ControlWord from, const shm::Tally& tally, std::int64_t due_ns) noexcept {
  return make_runnable(slot, from, from.with(State::kDelayed, 0), tally, due_ns);
}

bool Engine::make_runnable(std::uint32_t slot, ControlWord from, ControlWord next, const shm::Tally& tally,
                           std::int64_t due_ns) noexcept {
  Descriptor& d = segment_.descriptor(slot);
  const bool delayed = next.state() == State::kDelayed;
  if (!change_tagged(d, d.tally[next.grant() % 2], from, TaggedWord(next.grant(), tally.pack()))) return false;
  if (delayed && !change_tagged(d, d.due, from, TaggedWord(next.grant(), to_due_us(due_ns)))) return false;
  // Read before the change: afterwards the slot is anybody's.
  const std::uint32_t queue = d.queue;
  const std::uint32_t priority = d.priority;
  if (!d.control.change(from, next)) return false;
  void_settle(slot, from);
  if (queue >= segment_.geometry().queue_count || priority >= shm::kPriorities) return true;
  note_change(queue, slot);
  if (delayed) {
    announce_delayed(slot, next.generation(), due_ns);
  } else {
    leave_hint(slot, next, queue, priority);
  }
  return true;
}

Settled Engine::fail(const Lease& lease, const TaskView& task, const Failure& failure, std::int64_t delay_ns,
                     std::int64_t now_ns, bool& retried) noexcept {
  retried = false;
  if (lease.item != 0) {
    (void)commit_acks();
    Lease single;
    TaskView own;
    if (!move_out(lease, task, task.tally, single) || !view(single, own)) return Settled::kFenced;
    return fail(single, own, failure, delay_ns, now_ns, retried);
  }
  shm::Tally tally = task.tally;
  ++tally.attempts;
  tally.rate_paid = false;
  const bool allowed = !task.has_extras || kind_allows_retry(task.extras, failure.kind);
  if (!allowed) return bury(lease, task, DeadReason::kPermanentFailure, failure, now_ns);
  if (tally.attempts > task.max_retries) return bury(lease, task, DeadReason::kMaxRetriesExhausted, failure, now_ns);
  if (lease.word.grant() + 1 >= shm::kMaxGrant) return bury(lease, task, DeadReason::kDeliveryLimit, failure, now_ns);
  const RetryPolicy policy = task.has_extras ? task.extras.retry : RetryPolicy{};
  const std::int64_t delay = delay_ns >= 0 ? delay_ns : retry_delay_ns(policy, tally.attempts - 1, self_.random());
  // What went wrong stays visible while the task waits; the note is tagged with the grant that failed.
  note_failure(lease, failure, now_ns, tally.attempts);
  if (!regrant(lease.slot, lease.word, tally, later_ns(now_ns, delay), now_ns)) return refuse_late(lease, task, now_ns);
  retried = true;
  count_failure(task);
  if (may_have_waiters(task)) let_waiter_go(task, now_ns);
  self_.count(task.queue, Counter::kRetried);
  self_.count_task(task.task, shm::TaskStat::kRetried);
  tell_failure(shm::EventKind::kRetry, task, 0, failure, delay, now_ns);
  return Settled::kDone;
}

// An attempt that failed, once it is certain that it counts.
void Engine::count_failure(const TaskView& task) noexcept {
  self_.count(task.queue, Counter::kFailed);
  self_.count_task(task.task, shm::TaskStat::kFailed);
}

void Engine::note_failure(const Lease& lease, const Failure& failure, std::int64_t now_ns,
                          std::uint32_t attempts) noexcept {
  auto& cell = segment_.descriptor(lease.slot).outcome;
  const shm::BlockId previous = outcome_block(TaggedWord(cell.load(std::memory_order_acquire)).value());
  const FailureRecord record = make_failure_record(failure, self_.index(), now_ns, attempts);
  const shm::BlockId block = store_result(lease, record.bytes());
  if (block == shm::kNoBlock) return;
  if (!write_outcome(lease.slot, lease.word, OutcomeKind::kFailed, block)) {
    blocks_.give_back(block, lease.slot, lease.word.generation(), shm::BlockKind::kResult);
    return;
  }
  if (previous != shm::kNoBlock && previous != block)
    blocks_.give_back(previous, lease.slot, lease.word.generation(), shm::BlockKind::kResult);
}

Settled Engine::bury(const Lease& lease, const TaskView& task, DeadReason reason, const Failure& failure,
                     std::int64_t now_ns) noexcept {
  if (lease.item != 0) {
    (void)commit_acks();
    Lease single;
    TaskView own;
    if (!move_out(lease, task, task.tally, single) || !view(single, own)) return Settled::kFenced;
    return bury(single, own, reason, failure, now_ns);
  }
  shm::Tally tally = task.tally;
  ++tally.attempts;
  auto& cell = segment_.descriptor(lease.slot).outcome;
  const shm::BlockId previous = outcome_block(TaggedWord(cell.load(std::memory_order_acquire)).value());
  FailureRecord record = make_failure_record(failure, self_.index(), now_ns, tally.attempts);
  record.mark_dead(reason, task.task);
  const shm::BlockId block = store_result(lease, record.bytes());
  if (!write_outcome(lease.slot, lease.word, OutcomeKind::kFailed, block))
    return refuse_late(lease, task, now_ns, block);
  ControlWord word = lease.word;
  // By way of settling, also without obligations: the lease may be another's (of a child that died or overran its
  // limit), and who of us made the change, if we are killed before we count it, can be read from the word alone.
  const ControlWord next = word.with(State::kSettling, self_.owner());
  self_.begin_op({shm::OpKind::kTake, lease.slot, word}, task.queue, Counter::kDeadAdded);
  if (!segment_.descriptor(lease.slot).control.change(word, next)) {
    self_.drop_op();
    return refuse_late(lease, task, now_ns);
  }
  void_settle(lease.slot, lease.word);
  self_.count(task.queue, Counter::kDeadAdded);
  self_.count(task.queue, shm::counter_after(Counter::kDeadAddedFirst, static_cast<std::uint32_t>(reason) - 1));
  if (reason == DeadReason::kSignatureInvalid) self_.count(task.queue, Counter::kSignatureInvalid);
  if (handler_failed(reason)) count_failure(task);
  if (previous != shm::kNoBlock && previous != block)
    blocks_.give_back(previous, lease.slot, lease.word.generation(), shm::BlockKind::kResult);
  after_commit(lease.slot, next, now_ns);
  note_change(task.queue, lease.slot);
  tell_failure(shm::EventKind::kFailed, task, static_cast<std::uint8_t>(reason), failure, 0, now_ns);
  if (may_have_waiters(task)) let_waiter_go(task, now_ns);
  return Settled::kDone;
}

Settled Engine::snooze(const Lease& lease, const TaskView& task, std::int64_t delay_ns, std::int64_t now_ns) noexcept {
  if (lease.item != 0) {
    (void)commit_acks();
    Lease single;
    TaskView own;
    if (!move_out(lease, task, task.tally, single) || !view(single, own)) return Settled::kFenced;
    return snooze(single, own, delay_ns, now_ns);
  }
  if (lease.word.grant() + 1 >= shm::kMaxGrant)
    return bury(lease, task, DeadReason::kDeliveryLimit, {"delivery-limit", "delivered too often"}, now_ns);
  shm::Tally tally = task.tally;
  ++tally.releases;
  if (!regrant(lease.slot, lease.word, tally, later_ns(now_ns, delay_ns), now_ns))
    return refuse_late(lease, task, now_ns);
  self_.count(task.queue, Counter::kSnoozed);
  if (events_.followed(now_ns)) [[unlikely]]
    tell(shm::EventKind::kSnoozed, task, delay_ns, now_ns);
  if (may_have_waiters(task)) let_waiter_go(task, now_ns);
  return Settled::kDone;
}

Settled Engine::release(const Lease& lease, std::int64_t now_ns) noexcept {
  if (lease.item != 0) {
    (void)commit_acks();
    TaskView task;
    Lease single;
    if (!view(lease, task) || !move_out(lease, task, task.tally, single)) return Settled::kFenced;
    return release(single, now_ns);
  }
  const Descriptor& d = segment_.descriptor(lease.slot);
  if (is_run(d)) {
    (void)lift_mask(lease);  // what the last holder had over must not be forgotten with its grant
    if (release_run(lease)) return Settled::kDone;
    if (!holds(lease)) return Settled::kFenced;
    bury_run(lease, now_ns);
    return Settled::kDone;
  }
  const std::uint32_t grant = lease.word.grant();
  if (grant + 1 >= shm::kMaxGrant) {
    TaskView task;
    if (!view(lease, task)) return Settled::kFenced;
    return bury(lease, task, DeadReason::kDeliveryLimit, {"delivery-limit", "delivered too often"}, now_ns);
  }
  shm::Tally tally = tally_of(d, grant);
  ++tally.releases;
  return regrant(lease.slot, lease.word, tally, 0, now_ns) ? Settled::kDone : Settled::kFenced;
}

Settled Engine::extend(const Lease& lease, std::int64_t until_ns) noexcept {
  self_.beat();
  const std::uint32_t queue = segment_.descriptor(lease.slot).queue;
  const Settled settled = set_lease_end(lease, until_ns);
  if (settled == Settled::kDone) self_.count_renewal(queue);
  return settled;
}

Settled Engine::set_lease_end(const Lease& lease, std::int64_t until_ns) noexcept {
  Descriptor& d = segment_.descriptor(lease.slot);
  // The items of a run are renewed by life signs; their due word is the mask.
  if (lease.item != 0) return holds(lease) ? Settled::kDone : Settled::kFenced;
  const TaggedWord until(lease.word.grant(), kLeaseEnd | to_due_us(until_ns));
  return change_tagged(d, d.due, lease.word, until) ? Settled::kDone : Settled::kFenced;
}

std::uint64_t Engine::to_due_us(std::int64_t ns) const noexcept {
  // Rounded up: a task never starts before its time.
  const std::int64_t since = ns - segment_.header().created_monotonic_ns;
  // Times beyond the word's 71 years are the last one it can name.
  return since <= 0 ? 1 : std::min(static_cast<std::uint64_t>(since - 1) / 1000 + 1, kLeaseEnd - 1);
}

std::int64_t Engine::from_due_us(std::uint64_t us) const noexcept {
  return later_ns(segment_.header().created_monotonic_ns, static_cast<std::int64_t>(us & (kLeaseEnd - 1)) * 1000);
}

}  // namespace stem::engine
