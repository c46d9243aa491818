// Producing: take a slot, fill it, make it visible with one change of its control word, leave a hint.
#include <algorithm>
#include <cstring>

#include "base/check.hpp"
#include "engine/engine.hpp"
#include "engine/extension.hpp"
#include "engine/unique.hpp"

namespace stem::engine {

using shm::ControlWord;
using shm::Counter;
using shm::Descriptor;
using shm::State;

EnqueueStatus Engine::admit(const TaskSpec& spec, std::int64_t now_ns) noexcept {
  if (spec.payload.size() > shm::kMaxPayloadBytes) return EnqueueStatus::kTooLarge;
  if (!self_.still_ours()) return EnqueueStatus::kDetached;
  const shm::QueueRow& row = segment_.queue(spec.queue);
  const std::uint32_t most = row.max_length.load(std::memory_order_relaxed);
  const bool drops =
      row.overflow.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(shm::Overflow::kDropOldest);
  if (drops) [[unlikely]]
    make_room(spec.queue, now_ns);
  if (most == 0 || lanes_.queued(spec.queue) < most) return EnqueueStatus::kOk;
  pass_stale_hints(spec.queue);
  if (lanes_.queued(spec.queue) < most) return EnqueueStatus::kOk;
  // kBlock waits in the front door, which owns the clock; here it is full either way.
  return drops && drop_oldest(spec.queue, now_ns) ? EnqueueStatus::kOk : EnqueueStatus::kFull;
}

// A queue that drops its oldest does so too when the segment has no slot left.
void Engine::make_room(std::uint32_t queue, std::int64_t now_ns) noexcept {
  bool more = true;
  Filled filled;
  while (!self_.take_slot(filled.slot, filled.word)) {
    // A run gives its slot back with its last item; a task with a result keeps its slot, so once is enough.
    if (!more || !drop_oldest(queue, now_ns)) return;
    more = keeps_of(queue);
  }
  self_.return_slot(filled.slot, filled.word);
}

// What was revoked or purged has left its hints at the heads of the lanes: they are not the queue's length.
void Engine::pass_stale_hints(std::uint32_t queue) noexcept {
  for (std::uint32_t priority = 0; priority < shm::kPriorities; ++priority) {
    shm::Ring* ring = lanes_.oldest(queue, priority);
    if (ring == nullptr) continue;
    const std::uint64_t start = ring->head();
    std::uint64_t position = start;
    for (shm::HintCell cell; ring->peek(position, cell); ++position) {
      if (cell.slot() >= segment_.geometry().slot_count) continue;
      const ControlWord word = segment_.descriptor(cell.slot()).control.load();
      if (word.state() == State::kReady && (word.generation() & shm::HintCell::kTagMask) == cell.tag()) break;
    }
    if (position != start) ring->advance_head(start, position);
  }
}

void Engine::write_descriptor(Descriptor& d, const TaskSpec& spec, std::uint32_t payload_bytes, std::int64_t now_ns,
                              shm::BlockId block) noexcept {
  shm::Tally tally;
  tally.attempts = spec.attempt;
  d.tally[0].store(shm::TaggedWord(0, tally.pack()).bits(), std::memory_order_relaxed);
  d.tally[1].store(0, std::memory_order_relaxed);
  d.due.store(spec.due_ns > 0 ? shm::TaggedWord(0, to_due_us(spec.due_ns)).bits() : 0, std::memory_order_relaxed);
  d.outcome.store(0, std::memory_order_relaxed);
  d.enqueued_ns = now_ns;
  d.queue = static_cast<std::uint16_t>(spec.queue);
  d.task = static_cast<std::uint16_t>(spec.task);
  d.priority = std::min<std::uint8_t>(spec.priority, shm::kPriorities - 1);
  d.max_retries = spec.max_retries;
  d.payload_bytes = payload_bytes;
  d.block = block == shm::kNoBlock ? 0 : block + 1;
  std::uint8_t flags = 0;
  if (spec.keep_result) flags |= shm::kKeepResult;
  if (!spec.auto_renew) flags |= shm::kNoRenew;
  if (spec.in_place) flags |= shm::kInPlace;
  if (spec.extras != nullptr) {
    flags |= shm::kHasExtension;
    const TaskExtras& e = *spec.extras;
    if (!e.link.empty() || !e.link_error.empty()) flags |= shm::kHasObligations;
    if (e.affinity_key != 0) flags |= shm::kHasAffinity;
    if (e.run_item != 0) flags |= shm::kMovedOut;
  }
  d.flags = flags;
}

// A slot for a single task: the block that a run left with it goes back.
bool Engine::take_slot(Filled& filled) noexcept {
  if (!self_.take_slot(filled.slot, filled.word)) return false;
  const Descriptor& d = segment_.descriptor(filled.slot);
  if (is_run(d) && d.block != 0) [[unlikely]]
    blocks_.give_back(d.block - 1, filled.slot, filled.word.generation() - 1, shm::BlockKind::kPayload);
  return true;
}

EnqueueStatus Engine::fill_block(const TaskSpec& spec, std::uint32_t payload_bytes, std::int64_t now_ns,
                                 const Filled& filled, shm::BlockId& block, std::span<std::byte>& payload) noexcept {
  const std::uint32_t before = spec.extras != nullptr ? extension_bytes(*spec.extras) : 0;
  if (before > shm::kBlockStride[shm::kBlockClasses - 1] - shm::kMaxPayloadBytes - sizeof(shm::BlockHeader) &&
      before + payload_bytes > shm::kMaxPayloadBytes)
    return EnqueueStatus::kTooLarge;
  block = blocks_.take(before + payload_bytes, filled.slot, filled.word.generation(), shm::BlockKind::kPayload);
  if (block == shm::kNoBlock) return EnqueueStatus::kNoMemory;
  const std::span<std::byte> bytes =
      blocks_.bytes(block, shm::block_tag(filled.slot, filled.word.generation(), shm::BlockKind::kPayload));
  if (bytes.size() < before + payload_bytes) return EnqueueStatus::kDetached;  // taken from under us
  if (spec.extras != nullptr) write_extension(*spec.extras, now_ns, bytes);
  payload = bytes.subspan(before, payload_bytes);
  return EnqueueStatus::kOk;
}

void Engine::abandon(const Filled& filled, shm::BlockId block) noexcept {
  if (block != shm::kNoBlock) blocks_.give_back(block, filled.slot, filled.word.generation(), shm::BlockKind::kPayload);
  self_.return_slot(filled.slot, filled.word);
}

// Everything but the change that makes it visible. On kDuplicate `result.id` is the holder's.
EnqueueStatus Engine::fill(const TaskSpec& spec, std::int64_t now_ns, Filled& filled, EnqueueResult& result) noexcept {
  if (const EnqueueStatus admitted = admit(spec, now_ns); admitted != EnqueueStatus::kOk) return admitted;
  return fill_admitted(spec, now_ns, filled, result);
}

EnqueueStatus Engine::fill_admitted(const TaskSpec& spec, std::int64_t now_ns, Filled& filled,
                                    EnqueueResult& result) noexcept {
  if (!take_slot(filled)) return EnqueueStatus::kFull;
  Descriptor& d = segment_.descriptor(filled.slot);
  const auto payload_bytes = static_cast<std::uint32_t>(spec.payload.size());
  shm::BlockId block = shm::kNoBlock;
  if (payload_bytes <= shm::kInlineBytes && spec.extras == nullptr) [[likely]] {
    write_descriptor(d, spec, payload_bytes, now_ns, block);
    if (payload_bytes == shm::kInlineBytes) {
      std::memcpy(d.inline_payload, spec.payload.data(), shm::kInlineBytes);  // constant size: wide stores
    } else if (payload_bytes > 0) {
      std::memcpy(d.inline_payload, spec.payload.data(), payload_bytes);
    }
  } else {
    std::span<std::byte> payload;
    const EnqueueStatus got = fill_block(spec, payload_bytes, now_ns, filled, block, payload);
    if (got != EnqueueStatus::kOk) {
      abandon(filled, block);
      return got;
    }
    if (payload_bytes > 0) std::memcpy(payload.data(), spec.payload.data(), payload_bytes);
    write_descriptor(d, spec, payload_bytes, now_ns, block);
  }
  result.id = TaskId::make(segment_.epoch(), filled.slot, filled.word.generation());
  if (spec.extras != nullptr && spec.extras->unique_key != 0) {
    const UniqueAnswer answer =
        Unique(segment_, blocks_).acquire(spec.extras->unique_key, filled.slot, filled.word, now_ns);
    if (answer.status != UniqueStatus::kAcquired) {
      abandon(filled, block);
      if (answer.status == UniqueStatus::kTableFull) return EnqueueStatus::kFull;
      result.id = TaskId{segment_.epoch(), answer.holder};
      self_.count(spec.queue, Counter::kDeduplicated);
      return EnqueueStatus::kDuplicate;
    }
  }
  return EnqueueStatus::kOk;
}

// The linearization of "accepted".
bool Engine::make_visible(const TaskSpec& spec, const Filled& filled, std::int64_t now_ns) noexcept {
  const bool delayed = spec.due_ns > now_ns;
  const std::uint64_t handle = TaskId::make(1, filled.slot, filled.word.generation()).handle;
  if (events_.stepped(now_ns)) [[unlikely]]
    tell_enqueued(shm::EventKind::kPublishing, spec, handle, now_ns);
  self_.begin_op({shm::OpKind::kPublish, filled.slot, filled.word.generation(), 0}, spec.queue, Counter::kEnqueued);
  ControlWord word = filled.word;
  const ControlWord next = filled.word.with(delayed ? State::kDelayed : State::kReady, 0);
  if (!segment_.descriptor(filled.slot).control.change(word, next)) return false;
  self_.count(spec.queue, Counter::kEnqueued);
  note_change(spec.queue, filled.slot);
  if (events_.followed(now_ns)) [[unlikely]]
    tell_enqueued(shm::EventKind::kEnqueued, spec, handle, now_ns);
  return true;
}

// Leaves the hint of a task that has just been accepted, and wakes whom it concerns.
void Engine::announce(const TaskSpec& spec, const Filled& filled, std::int64_t now_ns) noexcept {
  if (spec.due_ns > now_ns) {
    announce_delayed(filled.slot, filled.word.generation(), spec.due_ns);
    return;
  }
  const std::uint32_t priority = std::min<std::uint32_t>(spec.priority, shm::kPriorities - 1);
  if (spec.extras != nullptr && spec.extras->affinity_key != 0) [[unlikely]] {
    leave_hint(filled.slot, filled.word.with(State::kReady, 0), spec.queue, priority);
    return;
  }
  lanes_.push(spec.queue, priority, filled.word.generation(), filled.slot);
  if (holds_wakes_) {
    ++held_wakes_;
  } else if (shm::anyone_sleeps(segment_)) {
    shm::wake_workers(segment_, spec.queue, 1);
  }
}

void Engine::wake_held(std::uint32_t queue) noexcept {
  if (held_wakes_ > 0 && shm::anyone_sleeps(segment_)) shm::wake_workers(segment_, queue, held_wakes_);
  held_wakes_ = 0;
}

EnqueueResult Engine::enqueue(const TaskSpec& spec, std::int64_t now_ns) noexcept {
  EnqueueResult result;
  Filled filled;
  result.status = fill(spec, now_ns, filled, result);
  if (result.status != EnqueueStatus::kOk) return result;
  if (!make_visible(spec, filled, now_ns)) {
    result.status = EnqueueStatus::kDetached;
    return result;
  }
  announce(spec, filled, now_ns);
  return result;
}

EnqueueStatus Engine::enqueue_many(const TaskSpec* specs, std::size_t count, TaskId* ids, std::size_t& done,
                                   std::int64_t now_ns) noexcept {
  constexpr std::size_t kChunk = 32;
  shm::HintCell hints[kChunk];
  done = 0;
  EnqueueStatus status = EnqueueStatus::kOk;
  while (done < count && status == EnqueueStatus::kOk) {
    const std::size_t before = done;
    status = enqueue_runs(specs, count, ids, done, now_ns);
    if (status == EnqueueStatus::kNoMemory) {
      status = EnqueueStatus::kOk;  // no block for a run: one by one its tasks need none
    } else if (done != before || status != EnqueueStatus::kOk) {
      continue;
    }
    const std::uint32_t queue = specs[done].queue;
    // Hints count as a queue's length once they are pushed: where it is bounded, one by one.
    const std::size_t chunk = segment_.queue(queue).max_length.load(std::memory_order_relaxed) == 0 ? kChunk : 1;
    const std::uint32_t priority = std::min<std::uint32_t>(specs[done].priority, shm::kPriorities - 1);
    std::uint32_t n = 0;
    while (done < count && n < chunk) {
      const TaskSpec& spec = specs[done];
      const bool same_lane = spec.queue == queue && std::min<std::uint32_t>(spec.priority, 9) == priority;
      if (!same_lane || spec.due_ns > now_ns || (spec.extras != nullptr && spec.extras->affinity_key != 0)) break;
      EnqueueResult one;
      Filled filled;
      status = fill(spec, later_ns(now_ns, static_cast<std::int64_t>(done)), filled, one);
      if (status == EnqueueStatus::kDuplicate) {  // not an error of the batch: the holder's id is the answer
        if (ids != nullptr) ids[done] = one.id;
        ++done;
        status = EnqueueStatus::kOk;
        continue;
      }
      if (status != EnqueueStatus::kOk) break;
      if (!make_visible(spec, filled, now_ns)) {
        status = EnqueueStatus::kDetached;
        break;
      }
      hints[n++] = shm::HintCell(0, filled.word.generation(), filled.slot);
      if (ids != nullptr) ids[done] = one.id;
      ++done;
    }
    if (n > 0) {
      lanes_.push_many(queue, priority, hints, n);
      if (shm::anyone_sleeps(segment_)) shm::wake_workers(segment_, queue, n);
    } else if (status == EnqueueStatus::kOk && done < count) {
      const EnqueueResult one =
          enqueue(specs[done], later_ns(now_ns, static_cast<std::int64_t>(done)));  // delayed, or meant for one worker
      status = one.status == EnqueueStatus::kDuplicate ? EnqueueStatus::kOk : one.status;
      if (status == EnqueueStatus::kOk) {
        if (ids != nullptr) ids[done] = one.id;
        ++done;
      }
    }
  }
  return status;
}

EnqueueStatus Engine::loan(const TaskSpec& spec, std::uint32_t payload_bytes, Loan& loan,
                           std::int64_t now_ns) noexcept {
  if (payload_bytes > shm::kMaxPayloadBytes) return EnqueueStatus::kTooLarge;
  if (const EnqueueStatus admitted = admit(spec, now_ns); admitted != EnqueueStatus::kOk) return admitted;
  Filled filled;
  if (!take_slot(filled)) return EnqueueStatus::kFull;
  loan = Loan{};
  if (payload_bytes <= shm::kInlineBytes && spec.extras == nullptr) {
    loan.payload = {segment_.descriptor(filled.slot).inline_payload, payload_bytes};
  } else {
    const EnqueueStatus got = fill_block(spec, payload_bytes, now_ns, filled, loan.block, loan.payload);
    if (got != EnqueueStatus::kOk) {
      abandon(filled, loan.block);
      return got;
    }
  }
  write_descriptor(segment_.descriptor(filled.slot), spec, payload_bytes, now_ns, loan.block);
  loan.slot = filled.slot;
  loan.word = filled.word;
  loan.spec = spec;
  return EnqueueStatus::kOk;
}

EnqueueResult Engine::publish(Loan& loan, std::int64_t now_ns) noexcept {
  EnqueueResult result;
  const Filled filled{loan.slot, loan.word};
  const TaskSpec& spec = loan.spec;
  result.id = TaskId::make(segment_.epoch(), loan.slot, loan.word.generation());
  if (spec.extras != nullptr && spec.extras->unique_key != 0) {
    const UniqueAnswer answer =
        Unique(segment_, blocks_).acquire(spec.extras->unique_key, loan.slot, loan.word, now_ns);
    if (answer.status != UniqueStatus::kAcquired) {
      drop(loan);
      if (answer.status == UniqueStatus::kHeld) self_.count(spec.queue, Counter::kDeduplicated);
      result.status = answer.status == UniqueStatus::kTableFull ? EnqueueStatus::kFull : EnqueueStatus::kDuplicate;
      result.id = TaskId{segment_.epoch(), answer.holder};
      return result;
    }
  }
  if (!make_visible(spec, filled, now_ns)) {
    result.status = EnqueueStatus::kDetached;
    return result;
  }
  loan.slot = ~0u;
  announce(spec, filled, now_ns);
  return result;
}

void Engine::drop(Loan& loan) noexcept {
  if (loan.slot == ~0u) return;
  abandon({loan.slot, loan.word}, loan.block);
  loan.slot = ~0u;
}

// The keeper keeps a private heap; the ring of delayed hints feeds it, and its published wake-up time
// tells whether it must be rung. Lost hints are found by the patrol.
void Engine::announce_delayed(std::uint32_t slot, std::uint64_t generation, std::int64_t due_ns) noexcept {
  (void)delayed_.push(generation, slot);
  shm::Header& h = segment_.header();
  if (due_ns >= h.keeper_due_ns.load(std::memory_order_seq_cst)) return;
  const std::uint64_t keeper = h.keeper.load(std::memory_order_acquire);
  const auto participant = static_cast<std::uint32_t>(keeper & 0xfff);
  if (participant != 0 && participant <= segment_.geometry().participant_count) shm::ring(segment_, participant - 1);
}

// Makes room by cancelling the task at the head of the lowest lane.
bool Engine::drop_oldest(std::uint32_t queue, std::int64_t now_ns) noexcept {
  dropping_ = true;
  const bool dropped = drop_one(queue, now_ns);
  dropping_ = false;
  return dropped;
}

bool Engine::drop_one(std::uint32_t queue, std::int64_t now_ns) noexcept {
  const auto drop = [this, now_ns](const Lease& lease) {
    TaskView task;
    return view(lease, task) &&
           cancel(lease, task, Counter::kDropped, {"overflow", "dropped: the queue was at its maximum length"},
                  now_ns) == Settled::kDone;
  };
  Lease lease;
  // The rest of the run dropped last. (What a worker keeps of other queues is none of ours.)
  if (keeps_of(queue) && claim_kept(&lease, 1, queue) == 1) return drop(lease);
  const bool lowest_first = segment_.queue(queue).lowest_first.load(std::memory_order_relaxed) != 0;
  for (std::uint32_t i = 0; i < shm::kPriorities; ++i) {
    const std::uint32_t priority = lowest_first ? shm::kPriorities - 1 - i : i;
    bool full = false;
    if (claim_lane(queue, priority, &lease, 1, full, /*part_of_run=*/true) != 0 && drop(lease)) return true;
  }
  return false;
}

}  // namespace stem::engine
