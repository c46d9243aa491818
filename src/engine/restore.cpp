// Tasks that come back from a journal: made in kWaiting, where nobody runs them, and let go once the journal knows
// them under their new ids. So each comes back once, whenever the one who restores is killed (docs/journal.md).
#include "engine/engine.hpp"
#include "engine/extension.hpp"
#include "engine/failure_record.hpp"
#include "shm/names.hpp"

namespace stem::engine {

using shm::ControlWord;
using shm::Counter;
using shm::Descriptor;
using shm::State;
using shm::TaggedWord;

EnqueueResult Engine::restore(const RestoredTask& task, std::int64_t now_ns) noexcept {
  EnqueueResult result;
  if (!self_.still_ours()) {
    result.status = EnqueueStatus::kDetached;
    return result;
  }
  Filled filled;
  result.status = fill_admitted(task.spec, now_ns, filled, result);
  if (result.status != EnqueueStatus::kOk) return result;
  Descriptor& d = segment_.descriptor(filled.slot);
  d.enqueued_ns = task.enqueued_ns;
  d.tally[0].store(TaggedWord(0, task.tally.pack()).bits(), std::memory_order_relaxed);
  const ControlWord waiting = filled.word.with(State::kWaiting, 0);
  const bool over = task.outcome != OutcomeKind::kNone;
  if (over) d.due.store(TaggedWord(0, to_due_us(task.kept_until_ns)).bits(), std::memory_order_relaxed);
  if (over || !task.failure.empty()) {
    const auto bytes = over ? task.result : task.failure;
    const shm::BlockId block = store_result({filled.slot, filled.word}, bytes);
    if ((block == shm::kNoBlock && !bytes.empty()) ||
        !write_outcome(filled.slot, filled.word, over ? task.outcome : OutcomeKind::kFailed, block)) {
      abandon(filled, d.block == 0 ? shm::kNoBlock : d.block - 1);
      result.status = EnqueueStatus::kNoMemory;
      return result;
    }
  }
  self_.begin_op({shm::OpKind::kPublish, filled.slot, filled.word.generation(), 0}, task.spec.queue,
                 Counter::kEnqueued);
  ControlWord word = filled.word;
  if (!d.control.change(word, waiting)) {
    result.status = EnqueueStatus::kDetached;
    return result;
  }
  self_.count(task.spec.queue, Counter::kEnqueued);
  return result;
}

bool Engine::is_restored(std::uint32_t slot, ControlWord word) const noexcept {
  const Descriptor& d = segment_.descriptor(slot);
  return word.state() == State::kWaiting && (d.flags & shm::kMovedOut) == 0 && !tick_of(slot, word) &&
         d.control.load() == word;
}

State Engine::restored_state(std::uint32_t slot, ControlWord waiting, std::int64_t now_ns) const noexcept {
  const TaggedWord outcome(segment_.descriptor(slot).outcome.load(std::memory_order_acquire));
  const TaggedWord due(segment_.descriptor(slot).due.load(std::memory_order_acquire));
  switch (static_cast<OutcomeKind>(outcome.value() >> 32)) {
    case OutcomeKind::kFailed: return due.value() != 0 ? State::kDone : State::kDead;  // on another host; or here
    case OutcomeKind::kSucceeded:
    case OutcomeKind::kCancelled: return State::kDone;
    default: break;
  }
  return due_ns(slot, waiting) > now_ns ? State::kDelayed : State::kReady;
}

bool Engine::let_restored_go(std::uint32_t slot, ControlWord waiting, std::int64_t now_ns) noexcept {
  Descriptor& d = segment_.descriptor(slot);
  const std::uint32_t queue = d.queue;
  const std::uint32_t priority = d.priority;
  if (queue >= shm::queue_total(segment_) || priority >= shm::kPriorities) return false;
  const State next = restored_state(slot, waiting, now_ns);
  if (next == State::kDone) return let_result_go(slot, waiting, queue, now_ns);
  ControlWord word = waiting;
  if (!d.control.change(word, waiting.with(next, 0))) return false;
  if (next == State::kReady) leave_hint(slot, waiting, queue, priority);
  if (next == State::kDelayed) announce_delayed(slot, waiting.generation(), due_ns(slot, waiting));
  return true;
}

// It is over: counted as such, and kept until its time. By way of settling, like any end: killed in between, whoever
// comes next finishes it.
bool Engine::let_result_go(std::uint32_t slot, ControlWord waiting, std::uint32_t queue, std::int64_t now_ns) noexcept {
  Descriptor& d = segment_.descriptor(slot);
  const TaggedWord outcome(d.outcome.load(std::memory_order_acquire));
  const auto kind = static_cast<OutcomeKind>(outcome.value() >> 32);
  const Counter counter = kind == OutcomeKind::kSucceeded   ? Counter::kSucceeded
                          : kind == OutcomeKind::kCancelled ? Counter::kCancelled
                                                            : Counter::kExported;  // it failed elsewhere
  const ControlWord settling = waiting.with(State::kSettling, self_.owner());
  self_.begin_op({shm::OpKind::kTake, slot, waiting}, queue, counter);
  ControlWord word = waiting;
  if (!d.control.change(word, settling)) {
    self_.drop_op();
    return false;
  }
  self_.count(queue, counter);
  if (kind != OutcomeKind::kFailed)
    after_commit(slot, settling, now_ns);
  else if (word = settling; !d.control.change(word, settling.with(State::kDone, 0)))
    return false;
  return true;
}

}  // namespace stem::engine
