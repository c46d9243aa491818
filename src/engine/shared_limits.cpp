#include "engine/shared_limits.hpp"

#include <algorithm>
#include <bit>

namespace stem::engine {

using shm::LimiterRow;
using shm::RateBatch;

namespace {

// Nobody takes a place of it any more.
bool is_over(const RateBatch& batch, std::int64_t interval_ns, std::int64_t now_ns) noexcept {
  return batch.until_ns.load(std::memory_order_relaxed) <= now_ns ||
         batch.next_ns.load(std::memory_order_acquire) > batch.end_ns.load(std::memory_order_relaxed) - interval_ns;
}

}  // namespace

LimiterRow& SharedLimits::at(std::uint32_t row) const noexcept {
  return segment_.at<LimiterRow>(segment_.layout().limiters)[row & (segment_.geometry().limiter_count - 1)];
}

std::atomic<std::uint64_t>& SharedLimits::call_word(std::uint32_t row) const noexcept {
  return segment_.at<std::atomic<std::uint64_t>>(segment_.layout().limiter_calls)[row / 64];
}

void SharedLimits::share(std::uint32_t queue, std::int64_t until_ns) noexcept {
  segment_.queue(queue).limits_shared_until_ns.store(std::max<std::int64_t>(until_ns, 1), std::memory_order_relaxed);
}

void SharedLimits::begin_sharing(std::uint32_t queue) noexcept {
  std::int64_t never = 0;
  (void)segment_.queue(queue).limits_shared_until_ns.compare_exchange_strong(never, 1, std::memory_order_relaxed);
}

void SharedLimits::keep(std::uint32_t queue) noexcept {
  segment_.queue(queue).limits_shared_until_ns.store(0, std::memory_order_relaxed);
}

void SharedLimits::called(std::vector<std::uint32_t>& into) const {
  into.clear();
  const std::uint32_t rows = segment_.geometry().limiter_count;
  const std::atomic<std::uint64_t>* word = &call_word(0);  // hundreds, looked at in each turn of a gateway
  for (std::uint32_t first = 0; first < rows; first += 64, ++word) {
    std::uint64_t bits = word->load(std::memory_order_acquire);
    for (; bits != 0; bits &= bits - 1) {
      const std::uint32_t row = first + static_cast<std::uint32_t>(std::countr_zero(bits));
      if (row < rows && key(row) != 0) into.push_back(row);
    }
  }
}

// order(limiter.call): seq_cst; see Limiter::ask.
bool SharedLimits::drop(std::uint32_t row) noexcept {
  const std::uint64_t bit = std::uint64_t{1} << (row % 64);
  call_word(row).fetch_and(~bit, std::memory_order_seq_cst);
  if (at(row).wanted.load(std::memory_order_seq_cst) == 0) return true;
  call_word(row).fetch_or(bit, std::memory_order_acq_rel);
  return false;
}

std::uint64_t SharedLimits::key(std::uint32_t row) const noexcept {
  return at(row).key.load(std::memory_order_acquire);
}
bool SharedLimits::is_rate(std::uint32_t row) const noexcept {
  return (at(row).limit.load(std::memory_order_relaxed) & shm::kSharedPlaces) == 0;
}
Rate SharedLimits::rate(std::uint32_t row) const noexcept {
  const Rate rate = unpack_rate(at(row).limit.load(std::memory_order_relaxed));
  return rate.period_s == 1 || rate.period_s == 60 || rate.period_s == 3600 ? rate : Rate{};
}
std::uint32_t SharedLimits::most_at_once(std::uint32_t row) const noexcept {
  return static_cast<std::uint32_t>(at(row).limit.load(std::memory_order_relaxed));
}
std::uint64_t SharedLimits::take_wanted(std::uint32_t row) noexcept {
  return at(row).wanted.exchange(0, std::memory_order_acq_rel);
}
std::uint64_t SharedLimits::take_newcomers(std::uint32_t row) noexcept {
  return at(row).newcomers.exchange(0, std::memory_order_relaxed);
}
bool SharedLimits::is_wanted(std::uint32_t row) const noexcept {
  return at(row).wanted.load(std::memory_order_relaxed) != 0;
}

// ---- rates

SharedLimits::Places SharedLimits::places(std::uint32_t row, std::int64_t now_ns) const noexcept {
  Places found;
  const Rate of = rate(row);
  if (!of) return found;
  const std::int64_t interval = std::max<std::int64_t>(interval_ns(of), 1);
  for (int i = 0; i < 2; ++i) {
    const RateBatch& batch = at(row).batches[i];
    const std::int64_t next = batch.next_ns.load(std::memory_order_acquire);
    found.next_ns[i] = next;
    if (is_over(batch, interval, now_ns))
      found.room = true;
    else
      found.left += static_cast<std::uint64_t>((batch.end_ns.load(std::memory_order_relaxed) - next) / interval);
  }
  return found;
}

int SharedLimits::add_places(std::uint32_t row, std::int64_t first_ns, std::uint64_t count, std::int64_t until_ns,
                             std::int64_t now_ns) noexcept {
  const Rate of = rate(row);
  if (!of) return -1;
  const std::int64_t interval = std::max<std::int64_t>(interval_ns(of), 1);
  for (int i = 0; i < 2; ++i) {
    RateBatch& batch = at(row).batches[i];
    if (!is_over(batch, interval, now_ns)) continue;
    // Emptied first, in this order; see Limiter::take_of_batches.
    batch.until_ns.store(0, std::memory_order_release);
    batch.end_ns.store(0, std::memory_order_release);
    batch.next_ns.store(first_ns, std::memory_order_release);
    batch.end_ns.store(first_ns + static_cast<std::int64_t>(count) * interval, std::memory_order_release);
    batch.until_ns.store(until_ns, std::memory_order_release);
    return i;
  }
  return -1;
}

void SharedLimits::pace(std::uint32_t row, std::int64_t from_ns) noexcept {
  auto& pace = at(row).pace_ns;
  std::int64_t was = pace.load(std::memory_order_relaxed);
  while (was < from_ns && !pace.compare_exchange_weak(was, from_ns, std::memory_order_relaxed)) {
  }
}

// ---- places

std::uint32_t SharedLimits::running(std::uint32_t row) const noexcept { return limiter_.holders(at(row)); }

std::uint32_t SharedLimits::waiting(std::uint32_t row) const noexcept {
  std::uint32_t n = 0;
  for (const auto& waiter : at(row).waiters) {
    const TaskId id{1, waiter.load(std::memory_order_acquire)};
    if (id.handle == 0 || id.slot() >= segment_.geometry().slot_count) continue;
    const shm::ControlWord word = segment_.descriptor(id.slot()).control.load();
    if (word.generation() == id.generation() && word.state() == shm::State::kDelayed) ++n;
  }
  return n;
}

std::uint32_t SharedLimits::permits(std::uint32_t row, std::int64_t now_ns) const noexcept {
  if (at(row).permits_until_ns.load(std::memory_order_relaxed) <= now_ns) return 0;
  return static_cast<std::uint32_t>(at(row).permits.load(std::memory_order_relaxed));
}

void SharedLimits::lower_permits(std::uint32_t row, std::uint32_t permits) noexcept {
  // order(limiter.permits): seq_cst; see Limiter::take_place.
  if (permits < at(row).permits.load(std::memory_order_relaxed))
    at(row).permits.store(permits, std::memory_order_seq_cst);
}

void SharedLimits::set_permits(std::uint32_t row, std::uint32_t permits, std::int64_t until_ns,
                               std::int64_t now_ns) noexcept {
  const std::uint32_t before = this->permits(row, now_ns);
  // order(limiter.permits): seq_cst; see Limiter::take_place.
  at(row).permits.store(permits, std::memory_order_seq_cst);
  at(row).permits_until_ns.store(until_ns, std::memory_order_release);
  for (std::uint32_t i = before; i < permits && engine_.let_one_go(key(row), now_ns); ++i) {
  }
}

}  // namespace stem::engine
