#include "engine/limiter.hpp"

#include <algorithm>

#include "base/random.hpp"
#include "engine/engine.hpp"

namespace stem::engine {

using shm::LimiterRow;

std::uint64_t queue_rate_key(std::uint32_t queue) noexcept { return base::mix64(0x7261746500000000ull + queue) | 1; }
std::uint64_t queue_concurrency_key(std::uint32_t queue) noexcept {
  return base::mix64(0x636f6e6300000000ull + queue) | 1;
}

// Open addressing; keys are never removed, so a probe that meets an unused row may stop.
LimiterRow* Limiter::row(std::uint64_t key, bool make) const noexcept {
  constexpr std::uint32_t kProbes = 64;
  const std::uint32_t mask = segment_.geometry().limiter_count - 1;
  auto* rows = segment_.at<LimiterRow>(segment_.layout().limiters);
  for (std::uint32_t i = 0; i < kProbes; ++i) {
    LimiterRow& r = rows[(base::mix64(key) + i) & mask];
    if (!segment_.commit_row(segment_.offset_of(&r), sizeof r)) return nullptr;
    std::uint64_t there = r.key.load(std::memory_order_acquire);
    if (there == key) return &r;
    if (there != 0) continue;
    if (!make) return nullptr;
    if (r.key.compare_exchange_strong(there, key, std::memory_order_acq_rel) || there == key) return &r;
  }
  return nullptr;
}

std::int64_t Limiter::take_rate(std::uint64_t key, Rate rate, std::int64_t now_ns) noexcept {
  LimiterRow* r = row(key, true);
  if (r == nullptr || rate.count == 0 || rate.period_s == 0) return now_ns;
  const std::int64_t period = std::int64_t{rate.period_s} * kSecondNs;
  const std::int64_t interval = period / rate.count;
  const std::int64_t tolerance = period - interval;  // how far a burst may run ahead
  std::int64_t arrival = r->arrival_ns.load(std::memory_order_acquire);
  for (;;) {
    const std::int64_t base = std::max(arrival, now_ns);
    if (r->arrival_ns.compare_exchange_weak(arrival, base + interval, std::memory_order_acq_rel)) {
      const std::int64_t at = base - tolerance;
      if (at > now_ns) r->denied.fetch_add(1, std::memory_order_relaxed);
      return at;
    }
  }
}

void Limiter::give_back_rate(std::uint64_t key, Rate rate) noexcept {
  LimiterRow* r = row(key, false);
  if (r == nullptr || rate.count == 0 || rate.period_s == 0) return;
  r->arrival_ns.fetch_sub(std::int64_t{rate.period_s} * kSecondNs / rate.count, std::memory_order_acq_rel);
}

bool Limiter::stands(std::uint64_t holder) const noexcept {
  const auto slot = static_cast<std::uint32_t>(holder) & (shm::kMaxSlots - 1);
  if (holder == 0 || slot >= segment_.geometry().slot_count) return false;
  const shm::ControlWord word = segment_.descriptor(slot).control.load();
  return word.generation() == holder >> shm::kSlotBits && word.state() == shm::State::kLeased;
}

bool Limiter::take_place(std::uint64_t key, std::uint32_t limit, std::uint32_t slot, shm::ControlWord word) noexcept {
  LimiterRow* r = row(key, true);
  if (r == nullptr) return true;
  const std::uint64_t mine = TaskId::make(1, slot, word.generation()).handle;
  const std::uint32_t places = std::min(limit, shm::kLimiterHolders);
  // Who runs is counted in all places: the limit may have been higher when they were taken. New ones are taken
  // among the first `limit`, so no two can take the last one.
  std::uint32_t running = 0;
  for (const auto& place : r->holders) {
    const std::uint64_t holder = place.load(std::memory_order_acquire);
    if (holder == mine) return true;  // ours from before a lost lease
    if (stands(holder)) ++running;
  }
  for (std::uint32_t i = 0; i < places && running < places; ++i) {
    std::uint64_t holder = r->holders[i].load(std::memory_order_acquire);
    // order(limiter.place): acq_rel; the place is ours before the handler starts.
    if (!stands(holder) && r->holders[i].compare_exchange_strong(holder, mine, std::memory_order_acq_rel)) return true;
  }
  r->denied.fetch_add(1, std::memory_order_relaxed);
  return false;
}

void Limiter::add_waiter(std::uint64_t key, std::uint64_t handle) noexcept {
  LimiterRow* r = row(key, true);
  if (r == nullptr) return;
  for (auto& waiter : r->waiters) {
    std::uint64_t empty = 0;
    if (waiter.compare_exchange_strong(empty, handle, std::memory_order_acq_rel)) return;
  }
  r->waiters[handle % std::size(r->waiters)].store(handle, std::memory_order_release);
}

std::uint64_t Limiter::take_waiter(std::uint64_t key) noexcept {
  LimiterRow* r = row(key, false);
  if (r == nullptr) return 0;
  for (auto& waiter : r->waiters) {
    if (waiter.load(std::memory_order_relaxed) == 0) continue;
    if (const std::uint64_t handle = waiter.exchange(0, std::memory_order_acq_rel); handle != 0) return handle;
  }
  return 0;
}

std::uint32_t Limiter::holders(std::uint64_t key) const noexcept {
  const LimiterRow* r = row(key, false);
  if (r == nullptr) return 0;
  return static_cast<std::uint32_t>(std::count_if(std::begin(r->holders), std::end(r->holders), [this](const auto& h) {
    return stands(h.load(std::memory_order_acquire));
  }));
}

// ---- Engine's side

// Holds a task back when one of its limits says so. Rates are paid once, all at the same time; places are
// asked for at every start; by then the rates are paid.
bool Engine::limited(const Lease& lease, TaskView& task, std::int64_t now_ns, bool& lost) noexcept {
  Limiter limiter(segment_);
  const shm::QueueRow& queue = segment_.queue(task.queue);
  const TaskExtras none;
  const TaskExtras& extras = task.has_extras ? task.extras : none;
  const Rate queue_rate = task.tally.rate_paid ? Rate{} : unpack_rate(queue.rate.load(std::memory_order_relaxed));
  // A run's item that finds no slot to wait in comes again at once, and would pay each time.
  const auto unpay = [&] {
    if (lost && lease.item != 0 && queue_rate) limiter.give_back_rate(queue_rate_key(task.queue), queue_rate);
  };
  if (!task.tally.rate_paid) {
    std::int64_t start_ns = now_ns;
    if (queue_rate) start_ns = std::max(start_ns, limiter.take_rate(queue_rate_key(task.queue), queue_rate, now_ns));
    if (extras.rate) start_ns = std::max(start_ns, limiter.take_rate(extras.rate_key, extras.rate, now_ns));
    if (extras.group_rate)
      start_ns = std::max(start_ns, limiter.take_rate(extras.group_rate_key, extras.group_rate, now_ns));
    if (start_ns > now_ns) {
      self_.count(task.queue, shm::Counter::kRateDenied);
      lost = hold_back(lease, task, start_ns, now_ns) != Settled::kDone;
      unpay();
      return true;
    }
  }
  const std::uint32_t queue_limit = queue.concurrency.load(std::memory_order_relaxed);
  std::uint64_t full_key = 0;
  if (queue_limit != 0 && !limiter.take_place(queue_concurrency_key(task.queue), queue_limit, lease.slot, lease.word))
    full_key = queue_concurrency_key(task.queue);
  if (full_key == 0 && extras.concurrency_limit != 0 &&
      !limiter.take_place(extras.concurrency_key, extras.concurrency_limit, lease.slot, lease.word))
    full_key = extras.concurrency_key;
  if (full_key == 0) return false;
  // Looked at again after a growing while, or when a task of this key ends, whichever is first.
  const std::int64_t wait_ns = std::int64_t{1'000'000} << std::min(task.tally.releases, 11u);
  self_.count(task.queue, shm::Counter::kRateDenied);
  lost = hold_back(lease, task, now_ns + wait_ns, now_ns) != Settled::kDone;
  unpay();
  if (!lost) limiter.add_waiter(full_key, task.id.handle);
  return true;
}

Settled Engine::hold_back(const Lease& lease, const TaskView& task, std::int64_t until_ns,
                          std::int64_t now_ns) noexcept {
  if (lease.item != 0) {
    Lease single;
    TaskView own;
    if (!move_out(lease, task, task.tally, single) || !view(single, own)) return Settled::kFenced;
    return hold_back(single, own, until_ns, now_ns);
  }
  shm::Tally tally = task.tally;
  ++tally.releases;
  tally.rate_paid = true;
  return put_off(lease.slot, lease.word, tally, until_ns) ? Settled::kDone : Settled::kFenced;
}

// A task with a place in a concurrency limit has ended: let one that waits for it go.
void Engine::let_waiter_go(const TaskView& task, std::int64_t now_ns) noexcept {
  Limiter limiter(segment_);
  const std::uint64_t keys[] = {
      segment_.queue(task.queue).concurrency.load(std::memory_order_relaxed) != 0 ? queue_concurrency_key(task.queue)
                                                                                  : 0,
      task.has_extras && task.extras.concurrency_limit != 0 ? task.extras.concurrency_key : 0};
  for (const std::uint64_t key : keys) {
    if (key == 0) continue;
    // A waiter that was let go or revoked meanwhile must not stand for the next.
    for (std::uint64_t handle = limiter.take_waiter(key); handle != 0; handle = limiter.take_waiter(key)) {
      const TaskId id{1, handle};
      if (id.slot() >= segment_.geometry().slot_count) continue;
      const shm::ControlWord word = segment_.descriptor(id.slot()).control.load();
      if (word.generation() == id.generation() && word.state() == shm::State::kDelayed &&
          promote(id.slot(), word, now_ns))
        break;
    }
  }
}

}  // namespace stem::engine
