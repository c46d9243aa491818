#include "engine/shared_keys.hpp"

#include <algorithm>

#include "engine/affinity.hpp"

namespace stem::engine {

using shm::ControlWord;
using shm::KeysShared;
using shm::State;

namespace {

constexpr std::int64_t kNoRoomNs = 2'000'000;         // the gateway has not read its inbox yet
constexpr std::int64_t kBelievedNs = 60 * kSecondNs;  // no gateway says more at once

// A task whose key is asked for. One from another host has its key, or came without one.
bool asks_for_key(const TaskView& task) noexcept {
  return task.has_extras && task.extras.unique_everywhere && task.extras.unique_key != 0 && task.extras.origin.empty();
}

}  // namespace

void SharedKeys::share(std::uint32_t queue, std::int64_t until_ns, bool fail_closed) noexcept {
  const KeysShared keys{std::max<std::int64_t>(until_ns, 0), fail_closed, engine_.self().owner()};
  auto& shared = segment_.queue(queue).keys_shared;
  std::uint64_t was = shared.load(std::memory_order_relaxed);
  // Another's word is that of the gateway after us: we were stopped for long.
  if (KeysShared::unpack(was).gateway != keys.gateway) return;
  (void)shared.compare_exchange_strong(was, keys.pack(), std::memory_order_relaxed);
}

void SharedKeys::begin_sharing(std::uint32_t queue, bool fail_closed) noexcept {
  auto& shared = segment_.queue(queue).keys_shared;
  const std::int64_t until_ns = KeysShared::unpack(shared.load(std::memory_order_relaxed)).until_ns;
  shared.store(KeysShared{until_ns, fail_closed, engine_.self().owner()}.pack(), std::memory_order_relaxed);
}

void SharedKeys::keep(std::uint32_t queue) noexcept {
  segment_.queue(queue).keys_shared.store(0, std::memory_order_relaxed);
}

std::uint32_t SharedKeys::take_asked(Parcel* into, std::uint32_t most, const std::function<bool(std::uint32_t)>& wanted,
                                     std::int64_t now_ns) {
  const shm::Ring& inbox = engine_.inbox_;
  const std::uint64_t start = inbox.head();
  std::uint64_t position = start;
  std::uint32_t taken = 0;
  for (shm::HintCell cell; taken < most && inbox.peek(position, cell);) {
    ++position;
    if (cell.slot() >= segment_.geometry().slot_count) continue;
    shm::Descriptor& d = segment_.descriptor(cell.slot());
    ControlWord word = d.control.load();
    // What `word` can be: (1) put off in the life that was named, and for no longer than a task that was named: it is
    // ours. (2) put off for longer: it has run meanwhile, and is to run again later. (3) anything else: it has moved on.
    if (word.state() != State::kDelayed || (word.generation() & shm::HintCell::kTagMask) != cell.tag()) continue;
    const std::int64_t due_ns = engine_.due_ns(cell.slot(), word);
    if (due_ns > now_ns + kKeyNamedNs || !wanted(d.queue) || is_run(d)) continue;
    // Killed in here, it is ready without a hint, which the patrol finds, or a lease that was never begun.
    const ControlWord ready = word.with(State::kReady, 0);
    if (!d.control.change(word, ready)) continue;
    engine_.self().row().held[engine_.held_next_++ % shm::kHeldSlots].store(cell.slot() + 1, std::memory_order_relaxed);
    word = ready;
    const ControlWord leased = ready.with(State::kLeased, engine_.self().owner());
    if (!d.control.change(word, leased)) continue;
    // A name is anybody's word: what needs no key stays here, and is due when it was.
    TaskView task;
    if (!engine_.view({cell.slot(), leased}, task)) continue;
    if (!asks_for_key(task)) {
      (void)engine_.put_off(cell.slot(), leased, task.tally, due_ns);
      continue;
    }
    word = leased;
    const ControlWord out = leased.with(State::kOutbox, engine_.self().owner());
    if (d.control.change(word, out)) into[taken++] = {cell.slot(), out};
  }
  if (position != start) engine_.inbox_.advance_head(start, position);
  return taken;
}

// ---- the worker's side

// True when a task does not start now, because its unique key must be asked for first; `lost`: the lease was lost.
bool Engine::awaits_key(const Lease& lease, const TaskView& task, std::int64_t now_ns, bool& lost) noexcept {
  if (!asks_for_key(task)) return false;
  if (task.extras.unique_for_ns != 0 && task.extras.unique_for_ns <= now_ns) return false;
  const auto keys = KeysShared::unpack(segment_.queue(task.queue).keys_shared.load(std::memory_order_relaxed));
  if (keys.gateway == 0 || keys.gateway > segment_.geometry().participant_count) return false;
  const bool can_ask = now_ns < keys.until_ns && keys.until_ns < now_ns + kBelievedNs;
  if (!can_ask && !keys.fail_closed) {
    if (task.tally.releases == 0) self_.count(task.queue, shm::Counter::kUniqueDegraded);
    return false;
  }
  shm::Ring inbox = inbox_of(segment_, keys.gateway - 1);
  const bool room = inbox.size() < inbox.capacity();
  // Put off before it is named: what the gateway reads of it then is true.
  const std::int64_t until_ns = later_ns(now_ns, can_ask && !room ? kNoRoomNs : kKeyNamedNs);
  lost = !put_off(lease.slot, lease.word, task.tally, until_ns);
  if (!lost && can_ask && inbox.push(lease.word.generation(), lease.slot))
    (void)shm::wake_worker(segment_, keys.gateway - 1);
  return true;
}

}  // namespace stem::engine
