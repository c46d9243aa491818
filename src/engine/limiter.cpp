#include "engine/limiter.hpp"

#include <algorithm>

#include "base/random.hpp"
#include "shm/doorbell.hpp"

namespace stem::engine {

using shm::LimiterRow;

namespace {

constexpr std::int64_t kLongestPaceNs = 30 * kSecondNs;
constexpr std::int64_t kFirstLookNs = 1'000'000;
constexpr std::uint32_t kMostDoublings = 6;        // then one looks every 64 ms,
constexpr std::int64_t kBetweenLooksNs = 100'000;  // and many together so often
constexpr std::int64_t kLongestLookNs = 2 * kSecondNs;

std::uint64_t queue_hash(const shm::Segment& segment, std::uint32_t queue) noexcept {
  return segment.at<std::atomic<std::uint64_t>>(segment.layout().queue_keys)[queue].load(std::memory_order_relaxed);
}

// Wakes whoever speaks with the cluster.
void ring_gateways(shm::Segment& segment) noexcept {
  const std::uint32_t rows = segment.rows_used();
  for (std::uint32_t i = 0; i < rows; ++i) {
    const shm::RosterRow& row = segment.row(i);
    if (row.role.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(shm::Role::kGateway) &&
        shm::row_state(row.status.load(std::memory_order_acquire)) == shm::RowState::kLive)
      shm::ring(segment, i);
  }
}

}  // namespace

std::uint64_t queue_rate_key(const shm::Segment& segment, std::uint32_t queue) noexcept {
  return base::mix64(0x7261746500000000ull ^ queue_hash(segment, queue)) | 1;
}
std::uint64_t queue_concurrency_key(const shm::Segment& segment, std::uint32_t queue) noexcept {
  return base::mix64(0x636f6e6300000000ull ^ queue_hash(segment, queue)) | 1;
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

RatePlace Limiter::take_rate(std::uint64_t key, Rate rate, LimitsOf whose, std::uint32_t looks,
                             std::int64_t now_ns) noexcept {
  if (whose == LimitsOf::kNobody) return {now_ns, false};
  LimiterRow* r = row(key, true);
  if (r == nullptr || rate.count == 0 || rate.period_s == 0) return {now_ns};
  if (whose == LimitsOf::kCluster) return take_of_batches(*r, rate, looks, now_ns);
  const std::int64_t interval = interval_ns(rate);
  std::int64_t arrival = r->arrival_ns.load(std::memory_order_acquire);
  for (;;) {
    const std::int64_t base = std::max(arrival, now_ns);
    if (r->arrival_ns.compare_exchange_weak(arrival, base + interval, std::memory_order_acq_rel)) {
      const std::int64_t at = base - tolerance_ns(rate);
      if (at > now_ns) r->denied.fetch_add(1, std::memory_order_relaxed);
      return {at, true, &r->arrival_ns, interval};
    }
  }
}

// A place of a batch that this host has got; the earlier one first. Without one, more are asked for, and whoever was
// turned away looks again: those who wait are in no order.
RatePlace Limiter::take_of_batches(LimiterRow& r, Rate rate, std::uint32_t looks, std::int64_t now_ns) noexcept {
  const std::int64_t interval = std::max<std::int64_t>(interval_ns(rate), 1);
  for (;;) {
    shm::RateBatch* first = nullptr;
    std::int64_t next = 0;
    for (shm::RateBatch& batch : r.batches) {
      // The gateway empties a batch before it writes it, in the opposite order: what is read here belongs together,
      // or the CAS below fails.
      if (batch.until_ns.load(std::memory_order_acquire) <= now_ns) continue;
      const std::int64_t end = batch.end_ns.load(std::memory_order_acquire);
      const std::int64_t at = batch.next_ns.load(std::memory_order_acquire);
      if (at > end - interval || (first != nullptr && next <= at)) continue;
      first = &batch;
      next = at;
    }
    if (first == nullptr) break;
    // order(limiter.batch): acq_rel; each place of a batch is one task's.
    if (!first->next_ns.compare_exchange_strong(next, next + interval, std::memory_order_acq_rel)) continue;
    const std::int64_t at = next - tolerance_ns(rate);
    if (at > now_ns) r.denied.fetch_add(1, std::memory_order_relaxed);
    return {at, true, &first->next_ns, interval, next + interval};
  }
  r.denied.fetch_add(1, std::memory_order_relaxed);
  ask(r, pack_rate(rate), looks == 0);
  return {take_pace(r, looks, kLongestPaceNs, now_ns), false};
}

// When to look again: after a growing while, not before the gateway says that there may be something, and all who look
// one after the other.
std::int64_t Limiter::take_pace(LimiterRow& r, std::uint32_t looks, std::int64_t longest_ns,
                                std::int64_t now_ns) noexcept {
  const std::int64_t least_ns = now_ns + (kFirstLookNs << std::min(looks, kMostDoublings));
  std::int64_t pace = r.pace_ns.load(std::memory_order_relaxed);
  std::int64_t mine = 0;
  do {
    mine = std::max(pace, now_ns);
    if (mine >= now_ns + longest_ns) return std::max(least_ns, now_ns + longest_ns);
  } while (!r.pace_ns.compare_exchange_weak(pace, mine + kBetweenLooksNs, std::memory_order_relaxed));
  return std::max(mine, least_ns);
}

// order(limiter.call): seq_cst; the count, then a look at the bit. A gateway that drops the row clears the bit, then
// looks at the count: so one of the two sees the other.
void Limiter::ask(LimiterRow& r, std::uint64_t limit, bool anew) noexcept {
  r.limit.store(limit, std::memory_order_relaxed);
  if (anew) r.newcomers.fetch_add(1, std::memory_order_relaxed);
  const bool first = r.wanted.fetch_add(1, std::memory_order_seq_cst) == 0;
  const auto index = static_cast<std::uint64_t>(&r - segment_.at<LimiterRow>(segment_.layout().limiters));
  auto& calls = segment_.at<std::atomic<std::uint64_t>>(segment_.layout().limiter_calls)[index / 64];
  const std::uint64_t bit = std::uint64_t{1} << (index % 64);
  const bool called = (calls.load(std::memory_order_seq_cst) & bit) != 0;
  if (!called) calls.fetch_or(bit, std::memory_order_acq_rel);
  if (first || !called) ring_gateways(segment_);
}

void Limiter::give_back(const RatePlace& place) noexcept {
  if (place.word == nullptr || !place.taken) return;
  if (place.next_ns == 0) {
    place.word->fetch_sub(place.interval_ns, std::memory_order_acq_rel);
    return;
  }
  std::int64_t next = place.next_ns;  // somebody took the one after it: then it is lost
  (void)place.word->compare_exchange_strong(next, next - place.interval_ns, std::memory_order_acq_rel);
}

bool Limiter::stands(std::uint64_t holder) const noexcept {
  const auto slot = static_cast<std::uint32_t>(holder) & (shm::kMaxSlots - 1);
  if (holder == 0 || slot >= segment_.geometry().slot_count) return false;
  const shm::ControlWord word = segment_.descriptor(slot).control.load();
  return word.generation() == holder >> shm::kSlotBits && word.state() == shm::State::kLeased;
}

bool Limiter::take_place(std::uint64_t key, std::uint32_t limit, LimitsOf whose, std::uint32_t looks,
                         std::uint32_t slot, shm::ControlWord word, std::int64_t now_ns) noexcept {
  if (whose == LimitsOf::kNobody) return false;
  LimiterRow* r = row(key, true);
  if (r == nullptr) return true;
  const std::uint64_t mine = TaskId::make(1, slot, word.generation()).handle;
  std::uint32_t places = std::min(limit, shm::kLimiterHolders);
  if (whose == LimitsOf::kHost) {
    if (take_holder(*r, mine, places)) return true;
    r->denied.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  // order(limiter.permits): seq_cst on both sides. Either we see that the gateway has lowered the permits, or it
  // counts us when it tells the cluster how many it still needs.
  const std::uint64_t permits = r->permits.load(std::memory_order_seq_cst);
  places = static_cast<std::uint32_t>(std::min<std::uint64_t>(places, permits));
  if (r->permits_until_ns.load(std::memory_order_acquire) <= now_ns) places = 0;
  if (take_holder(*r, mine, places)) {
    if (r->permits.load(std::memory_order_seq_cst) == permits) return true;
    give_up(*r, mine);
  }
  r->denied.fetch_add(1, std::memory_order_relaxed);
  ask(*r, shm::kSharedPlaces | limit, looks == 0);
  return false;
}

// Who runs is counted in all places: there may have been more when they were taken. Two who take the last one see each
// other when they count again, and at least one of them gives it up.
bool Limiter::take_holder(LimiterRow& r, std::uint64_t mine, std::uint32_t places) noexcept {
  bool have = false;  // from before a retry or a lost lease
  for (const auto& place : r.holders) have = have || place.load(std::memory_order_acquire) == mine;
  for (std::uint32_t i = 0; i < places && !have; ++i) {
    std::uint64_t holder = r.holders[i].load(std::memory_order_acquire);
    // order(limiter.place): seq_cst; the place is ours before the handler starts, before the others are counted, and
    // before the permits are read again.
    have = !stands(holder) && r.holders[i].compare_exchange_strong(holder, mine, std::memory_order_seq_cst);
  }
  if (!have) return false;
  if (others(r, mine) < places) return true;
  give_up(r, mine);
  return false;
}

std::uint32_t Limiter::others(const LimiterRow& r, std::uint64_t mine) const noexcept {
  return static_cast<std::uint32_t>(std::count_if(std::begin(r.holders), std::end(r.holders), [&](const auto& h) {
    const std::uint64_t holder = h.load(std::memory_order_seq_cst);
    return holder != mine && stands(holder);
  }));
}

void Limiter::give_up(LimiterRow& r, std::uint64_t mine) noexcept {
  for (auto& place : r.holders) {
    std::uint64_t holder = mine;
    if (place.load(std::memory_order_relaxed) == mine)
      (void)place.compare_exchange_strong(holder, 0, std::memory_order_seq_cst);
  }
}

std::int64_t Limiter::look_again_ns(std::uint64_t key, std::uint32_t looks, std::int64_t now_ns) noexcept {
  LimiterRow* r = row(key, true);
  return r == nullptr ? now_ns + kLongestLookNs : take_pace(*r, looks, kLongestLookNs, now_ns);
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
  return r == nullptr ? 0 : holders(*r);
}

std::int64_t Limiter::next_place_ns(std::uint64_t key, Rate rate) const noexcept {
  const LimiterRow* r = row(key, false);
  return r == nullptr ? 0 : r->arrival_ns.load(std::memory_order_relaxed) - tolerance_ns(rate);
}

std::uint32_t Limiter::holders(const LimiterRow& r) const noexcept { return others(r, 0); }

}  // namespace stem::engine
