#include "engine/run.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "base/random.hpp"
#include "engine/affinity.hpp"
#include "engine/engine.hpp"
#include "engine/extension.hpp"
#include "engine/unique.hpp"
#include "shm/names.hpp"

namespace stem::engine {

using shm::ControlWord;
using shm::Counter;
using shm::Descriptor;
using shm::State;

std::uint64_t moved_key(std::uint64_t item_handle) noexcept {
  return base::mix64(item_handle ^ 0x72756e206974656dull) | 1;
}

// ---- working

// Lifts the mask word to the grant of `run`, after which every earlier holder is refused, and with it sets
// the items that the last one had over. Returns the items that are over; all of them when a later holder has
// been here.
std::uint32_t Engine::lift_mask(const Lease& run) noexcept {
  Descriptor& d = segment_.descriptor(run.slot);
  std::uint64_t bits = d.due.load(std::memory_order_acquire);
  for (;;) {
    const MaskWord word(bits);
    if (!word.of(run.word.generation()) || word.grant() > run.word.grant()) return full_mask(kRunItems);
    if (word.grant() == run.word.grant()) return word.gone();
    const std::uint32_t carried = carried_over(d, run.word.grant()) & ~word.gone();
    const auto how_many = static_cast<std::uint32_t>(std::popcount(carried));
    const std::uint32_t queue = d.queue;
    if (carried != 0)
      self_.begin_op(shm::OpWord::of_items(run.slot, run.word, carried), queue, Counter::kSucceeded, how_many, carried);
    confirm_items(run.slot, run.word, word);  // before: a bit that is set meanwhile makes the change fail
    // order(run.mask): acq_rel; the linearization of "earlier holders of this run are refused".
    const MaskWord lifted(word.under(run.word.grant()).bits() | carried);
    if (d.due.compare_exchange_strong(bits, lifted.bits(), std::memory_order_acq_rel)) {
      if (carried != 0) {
        self_.count(queue, Counter::kSucceeded, how_many);
        note_change(queue, run.slot);
      }
      return lifted.gone();
    }
    if (carried != 0) self_.drop_op();
  }
}

// Turns a claimed run into leases of its items, at most `most`. What is more than that goes back: the items
// we keep move out into slots of their own, so that others may have the rest.
std::uint32_t Engine::expand_run(const Lease& claimed, Lease* into, std::uint32_t most) noexcept {
  const Lease run = claimed;  // `into` may be where it stands
  const Descriptor& d = segment_.descriptor(run.slot);
  const auto count = static_cast<std::uint32_t>(d.inline_payload[0]);
  if (count == 0 || count > kRunItems) {
    quarantine(run);
    return 0;
  }
  std::uint32_t pending = full_mask(count) & ~lift_mask(run);
  if (pending == 0) {
    end_run(run);
    return 0;
  }
  std::uint32_t n = 0;
  if (pending == full_mask(count) && count <= most) {  // nearly always
    for (; n < count; ++n) into[n] = {run.slot, run.word, n + 1};
    return n;
  }
  const bool all = static_cast<std::uint32_t>(std::popcount(pending)) <= most;
  for (; pending != 0 && n < most; pending &= pending - 1) {
    const auto item = static_cast<std::uint32_t>(std::countr_zero(pending)) + 1;
    const Lease lease{run.slot, run.word, item};
    if (all) {
      into[n++] = lease;
      continue;
    }
    TaskView task;
    Lease single;
    if (view_item(lease, task) && move_out(lease, task, task.tally, single)) {
      into[n++] = single;
    } else if (keeps(run)) {  // no slot is free: the rest of the run stays with us too
      keep_items(run, pending);
      return n + claim_kept(into + n, most - n, d.queue);
    }
  }
  if (!all && !release_run(run)) keep_items(run, pending);
  return n;
}

// Items stay leased to us, and come again with the next claim. They cannot go back: whoever claims the run
// next would be no better off, and the run would use up its grants.
void Engine::keep_items(const Lease& run, std::uint32_t items) noexcept {
  Kept* place = nullptr;
  for (Kept& kept : kept_) {
    if (kept.items != 0 && kept.run.slot == run.slot && kept.run.word == run.word) {
      place = &kept;
      break;
    }
    if (kept.items == 0) place = &kept;
  }
  if (place == nullptr) place = &kept_.emplace_back();
  place->run = {run.slot, run.word};
  place->items |= items;
  keeps_items_ = true;
}

bool Engine::keeps(const Lease& run) const noexcept {
  return std::any_of(std::begin(kept_), std::end(kept_), [&run](const Kept& kept) {
    return kept.items != 0 && kept.run.slot == run.slot && kept.run.word == run.word;
  });
}

bool Engine::keeps_of(std::uint32_t queue) const noexcept {
  return keeps_items_ && std::any_of(std::begin(kept_), std::end(kept_), [this, queue](const Kept& kept) {
           return kept.items != 0 && segment_.descriptor(kept.run.slot).queue == queue;
         });
}

// `queue`: only its items; kAnyQueue for all.
std::uint32_t Engine::claim_kept(Lease* into, std::uint32_t most, std::uint32_t queue) noexcept {
  std::uint32_t n = 0;
  keeps_items_ = false;
  for (Kept& kept : kept_) {
    if (kept.items != 0 && !holds(kept.run)) kept.items = 0;
    const bool wanted = queue == kAnyQueue || segment_.descriptor(kept.run.slot).queue == queue;
    if (kept.items != 0 && wanted && n < most)
      self_.row().held[held_next_++ % shm::kHeldSlots].store(kept.run.slot + 1, std::memory_order_relaxed);
    for (; kept.items != 0 && wanted && n < most; kept.items &= kept.items - 1)
      into[n++] = {kept.run.slot, kept.run.word, static_cast<std::uint32_t>(std::countr_zero(kept.items)) + 1};
    keeps_items_ |= kept.items != 0;
  }
  return n;
}

void Engine::note_coming(const Descriptor& d) noexcept {
  if (coming_count_ == kComing || d.block == 0) return;
  const auto items = std::min(static_cast<std::uint32_t>(d.inline_payload[0]), kRunItems);
  coming_[coming_count_++] = {reinterpret_cast<const std::byte*>(blocks_.header(d.block - 1)), items};
}

// They arrive while the items of `run`, which was just read, are run, and those of the run after it. Here only what view()
// will not ask for.
void Engine::fetch_coming(HeldRun& run) noexcept {
  run.coming = run.items;
  const std::uint32_t at = coming_at_++ + kComingAhead;
  if (at >= coming_count_ || coming_[at].block == nullptr) return;
  const Coming& coming = coming_[at];
  run.coming = coming.block + sizeof(shm::BlockHeader);
  shm::prefetch_read(coming.block);
  shm::prefetch_read(run.coming);  // this run's first item is looked at already
  for (std::uint32_t item = run.count; item < coming.items; ++item)
    shm::prefetch_read(run.coming + std::size_t{item} * kRunItemBytes);
}

namespace {

// Whether none of these is more than kRunItemBytes: eight at a time.
bool lengths_fit(const std::uint8_t (&bytes)[kRunItems]) noexcept {
  constexpr std::uint64_t kHigh = 0x8080'8080'8080'8080;
  constexpr std::uint64_t kRoom = 0x0101'0101'0101'0101 * (0x7f - kRunItemBytes);
  static_assert(kRunItemBytes < 0x80 && kRunItems == 15);
  std::uint64_t first = 0, last = 0;  // they share one
  std::memcpy(&first, bytes, sizeof first);
  std::memcpy(&last, bytes + 7, sizeof last);
  const auto beyond = [](std::uint64_t eight) { return (eight | ((eight & ~kHigh) + kRoom)) & kHigh; };
  return (beyond(first) | beyond(last)) == 0;
}

}  // namespace

bool Engine::view_item(const Lease& lease, TaskView& into) noexcept {
  HeldRun* run = &runs_[lease.slot % kHeldRuns];
  if (!run->is_of(lease))
    run = load_run(lease);
  else if (!holds(lease))
    run = nullptr;
  const std::uint32_t index = lease.item - 1;
  if (run == nullptr || index >= run->count) return false;
  at_run_ = run;
  into.run = run->serial;
  into.id = TaskId::make(segment_.epoch(), lease.slot, lease.word.generation(), lease.item);
  into.payload = {run->items + std::size_t{index} * kRunItemBytes, run->head.bytes[index]};
  into.queue = run->queue;
  into.task = run->task;
  into.priority = run->priority;
  into.max_retries = run->max_retries;
  into.flags = run->flags;
  into.enqueued_ns = run->enqueued_ns;
  into.tally = {};
  into.has_extras = false;
  return true;
}

// Reads and checks it. All items come over in one go, which hides most of the way from the producer's core.
HeldRun* Engine::load_run(const Lease& lease) noexcept {
  HeldRun& r = runs_[dropping_ ? kHeldRuns : lease.slot % kHeldRuns];
  if (&r == acking_) (void)commit_acks();
  record_waits(r);
  r.slot = ~0u;
  const Descriptor& d = segment_.descriptor(lease.slot);
  r.queue = d.queue;
  r.task = d.task;
  r.priority = d.priority;
  r.max_retries = d.max_retries;
  r.flags = d.flags;
  r.enqueued_ns = d.enqueued_ns;
  r.acked = 0;
  r.begun_ns = 0;
  std::memcpy(&r.head, d.inline_payload, sizeof r.head);
  r.count = r.head.count;
  const MaskWord mask(d.due.load(std::memory_order_acquire));
  r.gone = mask.gone();
  r.moved = mask.moved();
  const std::uint32_t block = d.block;
  const auto bytes =
      block == 0
          ? std::span<std::byte>{}
          : blocks_.bytes(block - 1, shm::block_tag(lease.slot, lease.word.generation(), shm::BlockKind::kPayload));
  const std::size_t wanted = std::size_t{r.count} * kRunItemBytes;
  const bool sane = r.count >= 1 && r.count <= kRunItems && bytes.size() >= wanted && wanted <= sizeof r.items &&
                    r.queue < shm::queue_total(segment_) && r.task < shm::task_total(segment_) &&
                    r.priority < shm::kPriorities && lengths_fit(r.head.bytes);
  if (sane) std::memcpy(r.items, bytes.data(), wanted);
  // What was copied is believed only if the word still stands.
  if (!holds(lease)) return nullptr;
  if (!sane) {
    quarantine({lease.slot, lease.word});
    return nullptr;
  }
  const shm::QueueRow& queue = segment_.queue(r.queue);
  r.limited = queue.rate.load(std::memory_order_relaxed) != 0 || queue.concurrency.load(std::memory_order_relaxed) != 0;
  r.serial = ++run_serial_;
  r.slot = lease.slot;
  r.word = lease.word;
  r.control = &d.control;
  r.handle = TaskId::make(1, lease.slot, lease.word.generation()).handle;
  r.nothing_acked = shm::acked_word(lease.slot, lease.word.generation(), 0);
  r.all = full_mask(r.count);
  fetch_coming(r);
  return &r;
}

// How long the items begun at one moment had waited. (One that was begun before has moved out.)
void Engine::record_waits(HeldRun& run) noexcept {
  if (run.begun != 0) self_.record_wait(run.queue, run.begun_ns - run.enqueued_ns, run.begun);
  run.begun = 0;
}

// ---- settling

// Sets the item's bit: over, or moved. False when the run is no longer ours, or the item is gone. `last`:
// nothing is left.
bool Engine::mark_item(const Lease& lease, bool moved, bool& last) noexcept {
  Descriptor& d = segment_.descriptor(lease.slot);
  const auto count = std::min(static_cast<std::uint32_t>(d.inline_payload[0]), kRunItems);
  const std::uint64_t bit = std::uint64_t{item_bit(lease.item)} << (moved ? 16 : 0);
  std::uint64_t bits = d.due.load(std::memory_order_acquire);
  for (;;) {
    const MaskWord word(bits);
    if (!word.of(lease.word.generation()) || word.grant() != lease.word.grant() ||
        (word.gone() & item_bit(lease.item)) != 0)
      return false;
    // The mask word knows 20 bits of the generation, a busy slot's work of a minute; the control word knows all.
    if (!holds(lease)) return false;
    // order(run.mask): acq_rel; the acknowledgement of the item, after everything its handler did.
    if (!d.due.compare_exchange_strong(bits, bits | bit, std::memory_order_acq_rel)) continue;
    const MaskWord now(bits | bit);
    last = now.gone() == full_mask(count);
    if (HeldRun& r = runs_[lease.slot % kHeldRuns]; r.is_of(lease)) {
      r.gone = now.gone();
      r.moved = now.moved();
    }
    return true;
  }
}

// The first of its run to be recorded, or not to be recorded at all.
Settled Engine::succeed_first(const Lease& lease, const TaskView& task, std::int64_t now_ns) noexcept {
  HeldRun& r = runs_[lease.slot % kHeldRuns];
  if (lease.item == 0 || !r.is_of(lease)) return succeed(lease, task, {}, now_ns);
  if (r.has_ended(lease.item)) return fenced(task, now_ns);
  // Of this run already, when the view before was of another: what commit_acks() says of it must be heard.
  if (acking_ != &r) (void)commit_acks();
  acking_ = &r;
  if (events_.followed(now_ns)) [[unlikely]]
    tell_succeeded(task, started_ns(), now_ns);
  return record_ack(r, item_bit(lease.item));
}

// The recorded ends become acknowledgements: with the run's last item by ending the run, before it by their
// bits.
Settled Engine::commit_acks() noexcept {
  if (acking_ == nullptr) return Settled::kDone;
  HeldRun& r = *acking_;
  acking_ = nullptr;
  Descriptor& d = segment_.descriptor(r.slot);
  const auto how_many = static_cast<std::uint32_t>(std::popcount(r.acked));
  const bool all = (r.gone | r.acked) == full_mask(r.count);
  const std::uint64_t generation = r.word.generation();
  const std::uint32_t slot = r.slot;
  const std::uint32_t acked = std::exchange(r.acked, 0u);
  record_waits(r);
  bool ours = false;
  if (all && r.moved == 0) {
    self_.begin_op({shm::OpKind::kSettle, slot, r.word}, r.queue, Counter::kSucceeded, how_many);
    ControlWord word = r.word;
    ours = d.control.change(word, word.with(State::kFree, 0));  // the block stays with the slot: kept_with()
  } else {
    self_.begin_op(shm::OpWord::of_items(slot, r.word, acked), r.queue, Counter::kSucceeded, how_many, acked);
    std::uint64_t bits = d.due.load(std::memory_order_acquire);
    do {
      const MaskWord word(bits);
      ours = word.of(generation) && word.grant() == r.word.grant() && (word.gone() & acked) == 0 &&
             d.control.load() == r.word;  // as in mark_item()
      // order(run.mask): acq_rel; the acknowledgement of these items.
    } while (ours && !d.due.compare_exchange_strong(bits, bits | acked, std::memory_order_acq_rel));
    r.gone |= acked;
  }
  if (ours) {
    self_.count(r.queue, Counter::kSucceeded, how_many);
  } else {
    self_.drop_op();
    self_.count(r.queue, Counter::kFenced, how_many);
    r.slot = ~0u;
  }
  self_.row().acked.store(0, std::memory_order_release);
  if (ours && all && r.moved == 0) {
    r.slot = ~0u;
    self_.offer_free(slot);
  }
  if (ours && all && r.moved != 0)
    end_run({slot, r.word});
  else if (ours)
    note_change(r.queue, slot);
  if (shm::anyone_awaits(segment_)) [[unlikely]] {
    for (std::uint32_t left = acked; left != 0; left &= left - 1) {
      const auto item = static_cast<std::uint32_t>(std::countr_zero(left)) + 1;
      shm::wake_result_waiters(segment_, TaskId::make(1, slot, generation, item).handle);
    }
  }
  return ours ? Settled::kDone : Settled::kFenced;
}

Settled Engine::settle_item(const Lease& lease, const TaskView& task, Counter counter, std::int64_t now_ns) noexcept {
  self_.begin_op(shm::OpWord::of_items(lease.slot, lease.word, item_bit(lease.item)), task.queue, counter, 1,
                 item_bit(lease.item));
  bool last = false;
  if (!mark_item(lease, /*moved=*/false, last)) {
    self_.drop_op();
    return fenced(task, now_ns);
  }
  self_.count(task.queue, counter);
  if (last)
    end_run({lease.slot, lease.word});
  else
    note_change(task.queue, lease.slot);
  if (shm::anyone_awaits(segment_)) [[unlikely]]
    shm::wake_result_waiters(segment_, task.id.handle);
  return Settled::kDone;
}

void Engine::end_run(const Lease& run) noexcept {
  ControlWord word = run.word;
  const ControlWord settling = run.word.with(State::kSettling, self_.owner());
  const std::uint32_t queue = segment_.descriptor(run.slot).queue;
  if (segment_.descriptor(run.slot).control.change(word, settling)) {
    free_slot_now(run.slot, settling);
    if (queue < segment_.geometry().queue_count) note_change(queue, run.slot);
  }
  if (HeldRun& r = runs_[run.slot % kHeldRuns]; r.slot == run.slot && r.word == run.word) {
    record_waits(r);
    r.slot = ~0u;
  }
}

// False when the run is not ours any more, or may not be delivered again.
bool Engine::release_run(const Lease& run) noexcept {
  if (run.word.grant() + 1 >= shm::kMaxGrant) return false;
  // Going back untouched is nothing that its items could tell; its tally says what is carried_over().
  return regrant(run.slot, run.word, {}, 0, 0);
}

// Delivered too often: each item that is not over becomes a dead letter. What finds no slot for that stays ours.
void Engine::bury_run(const Lease& run, std::int64_t now_ns) noexcept {
  const Descriptor& d = segment_.descriptor(run.slot);
  for (std::uint32_t items = run_pending(d, run.word); items != 0 && holds(run); items &= items - 1) {
    const Lease item{run.slot, run.word, static_cast<std::uint32_t>(std::countr_zero(items)) + 1};
    TaskView task;
    if (!view_item(item, task)) return;
    (void)bury(item, task, DeadReason::kDeliveryLimit, {"delivery-limit", "delivered too often"}, now_ns);
  }
}

// Gives an item of a run we hold a slot of its own, leased to us, with `tally`. False when the item is not
// ours any more, or when there is no room for it: then we keep it, and claim it again.
bool Engine::move_out(const Lease& lease, const TaskView& task, const shm::Tally& tally, Lease& single) noexcept {
  const std::string meta = "{\"stem.run_item\":\"" + to_string(task.id) + "\"}";
  TaskExtras extras;
  extras.unique_key = moved_key(task.id.handle);
  extras.run_item = task.id.handle;
  extras.meta = meta;
  TaskSpec spec;
  spec.queue = task.queue;
  spec.task = task.task;
  spec.priority = task.priority;
  spec.max_retries = task.max_retries;
  spec.in_place = (task.flags & shm::kInPlace) != 0;
  spec.payload = task.payload;
  spec.extras = &extras;
  Filled filled;
  EnqueueResult made;
  made.status = fill_admitted(spec, task.enqueued_ns, filled, made);
  bool last = false;
  const TaskId copy = made.id;
  // A copy that somebody else is still making (he lost the run, and is slow) goes when he is killed: the item
  // stays until it is there, or gone.
  const auto is_there = [this, copy] {
    const ControlWord word = segment_.descriptor(copy.slot()).control.load();
    return word.generation() == copy.generation() && word.state() != State::kAlloc;
  };
  if (made.status == EnqueueStatus::kDuplicate && is_there()) {  // of somebody who was killed or lost the run
    if (mark_item(lease, /*moved=*/true, last)) {
      (void)resolve_moved(copy.slot(), segment_.descriptor(copy.slot()).control.load());
      if (last)
        end_run({lease.slot, lease.word});
      else
        note_change(task.queue, lease.slot);
    }
    return false;
  }
  if (made.status != EnqueueStatus::kOk) {
    keep_items({lease.slot, lease.word}, item_bit(lease.item));
    return false;
  }
  Descriptor& d = segment_.descriptor(filled.slot);
  d.tally[0].store(shm::TaggedWord(0, tally.pack()).bits(), std::memory_order_relaxed);
  const ControlWord waiting = filled.word.with(State::kWaiting, 0);
  ControlWord word = filled.word;
  if (!d.control.change(word, waiting)) return false;
  if (!mark_item(lease, /*moved=*/true, last)) {
    // Not ours any more. Somebody may have moved it by this very copy, or run it: the item's bits decide.
    (void)resolve_moved(filled.slot, waiting);
    return false;
  }
  self_.row().held[held_next_++ % shm::kHeldSlots].store(filled.slot + 1, std::memory_order_relaxed);
  word = waiting;
  const ControlWord ready = waiting.with(State::kReady, 0);
  single = {filled.slot, ready.with(State::kLeased, self_.owner())};
  bool ours = d.control.change(word, ready);
  word = ready;
  ours = ours && d.control.change(word, single.word);  // the patrol may have been here before us
  // The journal hears that the item is the run's no more, once its copy does not wait any longer.
  if (last)
    end_run({lease.slot, lease.word});
  else
    note_change(task.queue, lease.slot);
  return ours;
}

bool Engine::moved_item_counts(std::uint32_t slot, ControlWord word, bool& final) noexcept {
  final = false;
  const Descriptor& d = segment_.descriptor(slot);
  std::uint32_t offset = 0;
  const auto extras =
      d.block == 0
          ? std::nullopt
          : read_extension(
                blocks_.bytes(d.block - 1, shm::block_tag(slot, word.generation(), shm::BlockKind::kPayload)), offset);
  if (!extras || d.control.load() != word) return false;
  const TaskId item{1, extras->run_item};
  if (item.item() == 0 || item.item() > kRunItems || item.slot() >= segment_.geometry().slot_count) return false;
  const Descriptor& run = segment_.descriptor(item.slot());
  const MaskWord mask(run.due.load(std::memory_order_acquire));
  const ControlWord parent = run.control.load();
  // A run that has ended lets its moved items go first: a copy that still waits after that had not moved.
  final = parent.generation() != item.generation() || parent.state() == State::kFree;
  if (final || !mask.of(item.generation())) return false;
  final = (mask.gone() & item_bit(item.item())) != 0;
  return (mask.moved() & item_bit(item.item())) != 0;
}

bool Engine::resolve_moved(std::uint32_t slot, ControlWord word) noexcept {
  Descriptor& d = segment_.descriptor(slot);
  if (word.state() != State::kWaiting || (d.flags & shm::kMovedOut) == 0) return false;
  bool final = false;
  if (moved_item_counts(slot, word, final)) return promote(slot, word, 0);
  if (!final) return false;  // the run's holder decides
  const ControlWord retiring = word.with(State::kRetiring, self_.owner());
  if (d.control.change(word, retiring)) free_slot_now(slot, retiring);
  return true;
}

// Before a run's slot is freed: copies that wait for an item that has moved become ready.
void Engine::let_moved_go(std::uint32_t slot, ControlWord word) noexcept {
  const std::uint32_t queue = segment_.descriptor(slot).queue;
  const MaskWord mask(segment_.descriptor(slot).due.load(std::memory_order_acquire));
  if (!mask.of(word.generation())) return;
  for (std::uint32_t moved = mask.moved() & full_mask(kRunItems); moved != 0; moved &= moved - 1) {
    const auto item = static_cast<std::uint32_t>(std::countr_zero(moved)) + 1;
    const std::uint64_t handle = TaskId::make(1, slot, word.generation(), item).handle;
    const TaskId copy{1, Unique(segment_, blocks_).holder(moved_key(handle), 0)};
    if (copy.handle == 0) continue;
    (void)resolve_moved(copy.slot(), segment_.descriptor(copy.slot()).control.load());
    // Whoever let it go may have been killed before he told the journal, which must not hear of the run's end first.
    if (queue < segment_.geometry().queue_count) note_change(queue, copy.slot());
  }
}

// ---- recovery

// A run that its holder lost; `acked` = the items that it had over without having committed them. The item
// that it was running when its process died moves out, so that a poisonous one is counted by itself; the
// rest stays together.
bool Engine::redeliver_run(std::uint32_t slot, ControlWord word, std::uint32_t acked, std::uint32_t crashed_item,
                           LeaseEnd end, std::int64_t now_ns) noexcept {
  Descriptor& d = segment_.descriptor(slot);
  const std::uint32_t queue = d.queue;
  const std::uint32_t name = d.task;
  const std::uint32_t carried = (acked | carried_over(d, word.grant())) & full_mask(kRunItems);
  const std::uint32_t pending = run_pending(d, word) & ~carried;
  if (word.grant() >= shm::kMaxGrant) {  // its last recoverer lost it and died: no grant is left to take it with
    quarantine({slot, word});
    return false;
  }
  ControlWord expected = word;
  const ControlWord ready = word.regrant(State::kReady);
  const ControlWord mine = ready.with(State::kLeased, self_.owner());
  self_.row().held[held_next_++ % shm::kHeldSlots].store(slot + 1, std::memory_order_relaxed);
  if (carried != 0 && !carry_over(slot, word, carried)) return false;
  confirm_items(slot, ready, MaskWord(d.due.load(std::memory_order_acquire)));
  if (!d.control.change(expected, ready)) return false;
  void_settle(slot, word);
  count_redelivered(queue, end, static_cast<std::uint64_t>(std::popcount(pending)));
  const LostLease lost{queue, name, 0, static_cast<std::uint32_t>(std::popcount(pending)), end, crashed_item != 0};
  tell_lost(slot, word, crashed_item, lost, now_ns);
  expected = ready;
  if (!d.control.change(expected, mine)) return true;  // somebody runs it already
  const Lease run{slot, mine};
  const std::uint32_t over = lift_mask(run);
  const Lease crashed{slot, mine, crashed_item};
  TaskView task;
  Lease single;
  if (crashed_item != 0 && (over & item_bit(crashed_item)) == 0 && view_item(crashed, task)) {
    shm::Tally tally = task.tally;
    ++tally.attempts;
    if (end == LeaseEnd::kDied) ++tally.deaths;
    if (move_out(crashed, task, task.tally, single) && regrant(single.slot, single.word, tally, 0, now_ns))
      hint_ahead(segment_, single.slot, single.word.generation(), queue);
  }
  if (segment_.descriptor(slot).control.load() != mine) return true;  // that was its last item
  if (run_pending(d, mine) == 0) {
    end_run(run);
  } else {
    if (release_run(run))
      hint_ahead(segment_, slot, word.generation(), queue);
    else
      bury_run(run, now_ns);
  }
  return true;
}

}  // namespace stem::engine
