// The worker's loop where handlers are coroutines: claim as many as there is room for, start them, and turn the loop that
// they wait on.
#include <algorithm>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/spin_pause.hpp"
#include "shm/doorbell.hpp"
#include "worker/worker_process.hpp"

namespace stem::worker {
namespace {

constexpr std::int64_t kParkNs = 50'000'000;  // a lost wake-up costs at most this
constexpr int kLooksPerTurn = 16;
constexpr std::uint32_t kClaimsPerTurn = 16;

}  // namespace

bool WorkerProcess::board_flights() {
  auto flights = Flights::create(*engine_, page_, options_.async_slots);
  if (!flights.ok()) {
    log::error("worker cannot run coroutine handlers", {{"worker", setup_.name}, {"error", flights.error().message}});
    return false;
  }
  flights_ = *std::move(flights);
  return true;
}

void WorkerProcess::serve_flights() {
  ExitReason reason = ExitReason::kNone;
  for (;;) {
    if (may_leave(reason)) break;
    if (page_.stop_mode() >= StopMode::kSoft) flights_->stop();
    const bool takes =
        reason == ExitReason::kNone && page_.paused.load(std::memory_order_acquire) == 0 && flights_->room() != 0;
    const std::uint32_t count = takes ? claim_some() : 0;
    if (count == 0) {
      idle_flights(takes);
    } else {
      run_batch(count);
      (void)flights_->turn(0);
    }
  }
  leave(reason);
}

// The gate: nobody comes in any more, and the last one out closes it. A shutdown or the loss of the row may come
// meanwhile.
bool WorkerProcess::may_leave(ExitReason& reason) {
  if (reason == ExitReason::kNone) {
    reason = why_leave();
    // As a warm stop of this process alone: who does not come to an end is told after the drain timeout.
    if (reason == ExitReason::kRecycledCount || reason == ExitReason::kRecycledMemory) {
      page_.raise_stop(StopMode::kWarm);
      page_.ring_bell();
    }
  } else if (page_.shut_down.load(std::memory_order_acquire) != 0) {
    reason = ExitReason::kShutDown;
  }
  if (reason == ExitReason::kNone) return false;
  if (self_->still_ours()) return flights_->size() == 0;
  if (reason != ExitReason::kShutDown) reason = ExitReason::kDetached;
  return true;  // without a lease nothing is worth waiting for
}

void WorkerProcess::idle_flights(bool takes) {
  if (!takes) return (void)flights_->turn(kParkNs);
  const auto any = [this](auto look) { return std::any_of(queues_.begin(), queues_.end(), look); };
  const std::int64_t until = spins_until();
  do {
    for (int look = 0; look < kLooksPerTurn; ++look) {
      if (any([this](std::uint32_t q) { return engine_->has_hint(q); })) {
        if (fruitless_ % kClaimsPerTurn == 0)
          (void)flights_->turn(0);  // a limit that holds tasks back holds only these
        return held_back();
      }
      base::spin_pause();
    }
    if (flights_->turn(0)) return;
  } while (base::monotonic_ns() < until && page_.stop_mode() == StopMode::kNone);
  fruitless_ = 0;
  for (const std::uint32_t queue : queues_) engine_->lanes().clear_marks(queue);
  // As shm::sleep_for_work(), on the loop, which waits for the doorbell too.
  const std::uint32_t bell = shm::prepare_sleep(*self_);
  shm::set_sleep_bit(*self_);
  const bool work = any([this](std::uint32_t q) { return engine_->maybe_ready(q); });
  if (!work && page_.stop_mode() == StopMode::kNone) (void)flights_->turn(kParkNs);
  shm::clear_sleep_bit(*self_);
  rung_ = shm::prepare_sleep(*self_) != bell;
}

}  // namespace stem::worker
