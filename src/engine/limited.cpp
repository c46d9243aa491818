// A task that is about to start asks its limits: its own, its group's, its queue's (limiter.hpp).
#include <algorithm>

#include "engine/engine.hpp"
#include "engine/limiter.hpp"

namespace stem::engine {
namespace {

// The places in time that one start takes: all of them, or none.
class RatePlaces {
 public:
  RatePlaces(Limiter& limiter, LimitsOf whose, std::uint32_t looks, std::int64_t now_ns)
      : limiter_(limiter), whose_(whose), looks_(looks), now_ns_(now_ns), start_ns_(now_ns), ask_ns_(now_ns) {}

  void take(std::uint64_t key, Rate rate) noexcept {
    if (!rate || !complete_) return;
    places_[count_] = limiter_.take_rate(key, rate, whose_, looks_, now_ns_);
    const RatePlace& place = places_[count_++];
    complete_ = place.taken;
    missing_ = key;
    (place.taken ? start_ns_ : ask_ns_) = std::max(place.taken ? start_ns_ : ask_ns_, place.at_ns);
  }
  void give_back() noexcept {
    for (int i = 0; i < count_; ++i) Limiter::give_back(places_[i]);
    count_ = 0;
  }
  bool complete() const { return complete_; }
  std::int64_t start_ns() const { return start_ns_; }  // when complete
  std::int64_t ask_ns() const { return ask_ns_; }      // when not
  std::uint64_t missing() const { return missing_; }   // when not: the key
  bool any() const { return count_ > 0; }

 private:
  Limiter& limiter_;
  LimitsOf whose_;
  std::uint32_t looks_;
  std::int64_t now_ns_, start_ns_, ask_ns_;
  RatePlace places_[3];
  int count_ = 0;
  std::uint64_t missing_ = 0;
  bool complete_ = true;
};

}  // namespace

LimitsOf Engine::limits_of(const shm::QueueRow& queue, const TaskExtras& extras, std::int64_t now_ns) const noexcept {
  const std::int64_t until_ns = queue.limits_shared_until_ns.load(std::memory_order_relaxed);
  if (until_ns == 0) return LimitsOf::kHost;
  if (now_ns < until_ns) return LimitsOf::kCluster;
  return extras.limits_fail_closed ? LimitsOf::kNobody : LimitsOf::kHost;
}

// Holds a task back when one of its limits says so. Rates are paid once, all at the same time; places are
// asked for at every start; by then the rates are paid.
bool Engine::limited(const Lease& lease, TaskView& task, std::int64_t now_ns, bool& lost) noexcept {
  Limiter limiter(segment_);
  const shm::QueueRow& queue = segment_.queue(task.queue);
  const TaskExtras none;
  const TaskExtras& extras = task.has_extras ? task.extras : none;
  const LimitsOf whose = limits_of(queue, extras, now_ns);
  const Rate queue_rate = unpack_rate(queue.rate.load(std::memory_order_relaxed));
  const std::uint32_t queue_limit = queue.concurrency.load(std::memory_order_relaxed);
  const auto hold_until = [&](std::int64_t until_ns, bool paid) {
    self_.count(task.queue, shm::Counter::kRateDenied);
    lost = hold_back(lease, task, until_ns, paid, now_ns) != Settled::kDone;
    return true;
  };

  RatePlaces rates(limiter, whose, task.tally.releases, now_ns);
  if (!task.tally.rate_paid) {
    // The narrowest first: who is turned away there takes no place of the others.
    rates.take(extras.group_rate_key, extras.group_rate);
    rates.take(extras.rate_key, extras.rate);
    rates.take(queue_rate_key(segment_, task.queue), queue_rate);
    if (!rates.complete()) {
      rates.give_back();
      const bool nobody = whose == LimitsOf::kNobody;
      (void)hold_until(nobody ? limiter.look_again_ns(rates.missing(), task.tally.releases, now_ns) : rates.ask_ns(),
                       /*paid=*/false);
      return true;  // not remembered: by then it may have a place, whose time is to come
    }
  }
  // Whoever finds no slot to wait in comes again at once, and would pay each time.
  const auto hold_paid = [&](std::int64_t until_ns) {
    (void)hold_until(until_ns, /*paid=*/true);
    if (lost) rates.give_back();
    return true;
  };
  if (rates.start_ns() > now_ns) return hold_paid(rates.start_ns());

  std::uint64_t full_key = 0;
  const auto take_place = [&](std::uint64_t key, std::uint32_t limit) {
    if (limit == 0 || full_key != 0 ||
        limiter.take_place(key, limit, whose, task.tally.releases, lease.slot, lease.word, now_ns))
      return;
    full_key = key;
  };
  take_place(queue_concurrency_key(segment_, task.queue), queue_limit);
  take_place(extras.concurrency_key, extras.concurrency_limit);
  if (full_key != 0) {
    // Or when a task of this key ends, whichever is first.
    (void)hold_paid(limiter.look_again_ns(full_key, task.tally.releases, now_ns));
    if (!lost) limiter.add_waiter(full_key, task.id.handle);
    return true;
  }
  const bool any_limit = rates.any() || queue_limit != 0 || extras.concurrency_limit != 0;
  if (whose == LimitsOf::kHost && any_limit && queue.limits_shared_until_ns.load(std::memory_order_relaxed) != 0)
    self_.count(task.queue, shm::Counter::kRateDegraded);
  return false;
}

Settled Engine::hold_back(const Lease& lease, const TaskView& task, std::int64_t until_ns, bool paid,
                          std::int64_t now_ns) noexcept {
  if (lease.item != 0) {
    Lease single;
    TaskView own;
    if (!move_out(lease, task, task.tally, single) || !view(single, own)) return Settled::kFenced;
    return hold_back(single, own, until_ns, paid, now_ns);
  }
  shm::Tally tally = task.tally;
  ++tally.releases;
  tally.rate_paid = tally.rate_paid || paid;
  if (!put_off(lease.slot, lease.word, tally, until_ns)) return Settled::kFenced;
  if (events_.followed(now_ns)) [[unlikely]]
    tell(shm::EventKind::kLimited, task, until_ns - now_ns, now_ns);
  return Settled::kDone;
}

// A task with a place in a concurrency limit has ended: let one that waits for it go.
void Engine::let_waiter_go(const TaskView& task, std::int64_t now_ns) noexcept {
  if (segment_.queue(task.queue).concurrency.load(std::memory_order_relaxed) != 0)
    (void)let_one_go(queue_concurrency_key(segment_, task.queue), now_ns);
  if (task.has_extras && task.extras.concurrency_limit != 0) (void)let_one_go(task.extras.concurrency_key, now_ns);
}

bool Engine::let_one_go(std::uint64_t key, std::int64_t now_ns) noexcept {
  Limiter limiter(segment_);
  // A waiter that was let go or revoked meanwhile must not stand for the next.
  for (std::uint64_t handle = limiter.take_waiter(key); handle != 0; handle = limiter.take_waiter(key)) {
    const TaskId id{1, handle};
    if (id.slot() >= segment_.geometry().slot_count) continue;
    const shm::ControlWord word = segment_.descriptor(id.slot()).control.load();
    if (word.generation() == id.generation() && word.state() == shm::State::kDelayed &&
        promote(id.slot(), word, now_ns))
      return true;
  }
  return false;
}

}  // namespace stem::engine
