#include "beat/scheduler.hpp"

#include <algorithm>

#include "base/histogram.hpp"

namespace stem::beat {

using engine::EnqueueStatus;
using engine::TickStatus;
using shm::BeatCounter;
using shm::DefinitionWord;
using shm::TurnWord;

namespace {

constexpr std::int64_t kMisfireGraceNs = 60 * kSecondNs;  // of the policy skip
constexpr std::int64_t kFirstPauseNs = 100'000'000;
constexpr std::int64_t kLongestPauseNs = 5 * kSecondNs;
constexpr std::uint64_t kMostCounted = 10'000;    // skipped ticks of a cron entry; more are not told apart
constexpr std::int64_t kClockStepNs = kSecondNs;  // less is a clock that is being slewed
constexpr int kMostTicksAStep = 1000;             // then the lock is looked after

void record(shm::BeatHistogram& histogram, std::int64_t value_ns) {
  histogram.counts[base::histogram_bucket(value_ns)].fetch_add(1, std::memory_order_relaxed);
  histogram.sum_ns.fetch_add(static_cast<std::uint64_t>(std::max<std::int64_t>(value_ns, 0)),
                             std::memory_order_relaxed);
}

}  // namespace

Scheduler::Scheduler(ScheduleStore& store, BeatLock& lock, TickMaker& maker, Options options)
    : store_(store), engine_(store.engine()), lock_(lock), maker_(maker), options_(std::move(options)) {}

shm::ScheduleRow& Scheduler::row_of(const Item& item) const { return engine_.segment().schedule(item.stored.row); }

void Scheduler::count(BeatCounter counter, std::uint64_t by) const {
  engine_.segment().schedules().counters[static_cast<int>(counter)].fetch_add(by, std::memory_order_relaxed);
}

std::int64_t Scheduler::step(const Now& now) {
  const bool held = holding_;
  holding_ = lock_.hold(now.monotonic_ns);
  if (!holding_) return std::min(lock_.next_ns(now.monotonic_ns), now.monotonic_ns + options_.tick_ns);
  if (!held) {  // others have fired meanwhile: what we know is old
    items_.clear();
    heap_ = {};
  }
  look_at_entries(now);
  int ticks = 0;
  while (!heap_.empty() && heap_.top().at_ns <= now.realtime_ns && ticks < kMostTicksAStep) {
    const Due due = heap_.top();
    heap_.pop();
    const auto found = items_.find(due.row);
    if (found == items_.end() || found->second.round != due.round) continue;
    ++ticks;
    if (!lock_.still_ours()) return now.monotonic_ns;
    if (deal_with(found->second, now) == Next::kPlan) plan(found->second, now);
  }
  const std::int64_t latest = std::min(now.monotonic_ns + options_.tick_ns, lock_.next_ns(now.monotonic_ns));
  if (heap_.empty() || heap_.top().at_ns - now.realtime_ns > options_.tick_ns) return latest;
  return std::min(latest, now.monotonic_ns + std::max<std::int64_t>(heap_.top().at_ns - now.realtime_ns, 0));
}

// The table may change at any moment, by anybody: what is there now, and differs from what we know, is read.
void Scheduler::look_at_entries(const Now& now) {
  const std::uint32_t rows = store_.row_total();
  for (std::uint32_t row = 0; row < rows; ++row) {
    const DefinitionWord word = store_.word_of(row);
    const auto known = items_.find(row);
    if (known != items_.end() && known->second.stored.word.bits() == word.bits()) continue;
    if (known != items_.end()) items_.erase(known);
    auto stored = store_.read(row, word);
    if (!stored) continue;
    Item& item = items_[row];
    item.stored = std::move(*stored);
    plan(item, now);
  }
  // The wall clock was set back: what was planned by the old time is planned anew.
  const std::int64_t ahead_ns = now.realtime_ns - now.monotonic_ns;
  if (ahead_ns < ahead_ns_ - kClockStepNs)
    for (auto& [row, item] : items_) plan(item, now);
  ahead_ns_ = ahead_ns;
}

void Scheduler::wait(Item& item, std::int64_t until_ns) {
  item.round = ++rounds_;
  heap_.push({until_ns, item.stored.row, item.round});
}

// Finds the entry's next tick and puts it into the heap.
void Scheduler::plan(Item& item, const Now& now) {
  item.stored.figures.fired_ns = row_of(item).fired_ns.load(std::memory_order_acquire);
  item.round = ++rounds_;
  item.planned_ns = 0;
  const StoredEntry& stored = item.stored;
  if (!stored.entry.enabled || stored.is_over()) return;
  const std::int64_t base_ns = std::max(stored.base_ns(now.realtime_ns), std::min(item.passed_ns, now.realtime_ns));
  const auto next = stored.entry.spec.next(base_ns, stored.since_ns, stored.entry.zone);
  if (!next) return;
  item.planned_ns = *next;
  wait(item, *next + stored.entry.jitter_of(*next));
}

void Scheduler::skip(Item& item, std::uint64_t how_many, std::int64_t last_planned_ns) {
  if (how_many == 0) return;
  row_of(item).skipped.fetch_add(how_many, std::memory_order_relaxed);
  count(BeatCounter::kSkipped, how_many);
  options_.tell({.kind = BeatEvent::Kind::kSkipped,
                 .entry = &item.stored.entry,
                 .planned_ns = last_planned_ns,
                 .count = how_many,
                 .message = {}});
}

// Its next tick is due. Ticks that follow it may be due as well: then nobody was there to fire them in time, and
// the misfire policy says what becomes of them.
Scheduler::Next Scheduler::deal_with(Item& item, const Now& now) {
  const StoredEntry& stored = item.stored;
  const Entry& entry = stored.entry;
  const std::size_t most = entry.misfire == Misfire::kAll ? entry.misfire_max : 1;
  const std::int64_t base_ns = item.planned_ns - 1;
  auto due = latest_planned(stored, base_ns, now.realtime_ns - entry.jitter_ns, most);
  if (due.empty()) due.push_back(item.planned_ns);
  const std::int64_t planned_ns = due.front();
  if (planned_ns > item.planned_ns) {
    skip(item, count_planned(stored, base_ns, planned_ns, kMostCounted), planned_ns);
    item.passed_ns = planned_ns - 1;
    item.planned_ns = planned_ns;
  }
  if (entry.misfire == Misfire::kSkip && now.realtime_ns - planned_ns - entry.jitter_of(planned_ns) > kMisfireGraceNs) {
    skip(item, 1, planned_ns);
    item.passed_ns = planned_ns;
    return Next::kPlan;
  }
  return fire(item, planned_ns, now);
}

Scheduler::Next Scheduler::fire(Item& item, std::int64_t planned_ns, const Now& now) {
  shm::ScheduleRow& row = row_of(item);
  const TurnWord turn(row.turn.load(std::memory_order_acquire));
  if (turn.open()) {  // of somebody who was killed, or is slow
    engine_.complete_turn(item.stored.row, turn);
    return Next::kPlan;
  }
  // After the turn: as long as it stands, these stand.
  if (row.fired_ns.load(std::memory_order_acquire) != item.stored.figures.fired_ns) return Next::kPlan;
  if (store_.word_of(item.stored.row).bits() != item.stored.word.bits()) {
    wait(item, now.realtime_ns + options_.tick_ns);  // changed: the next look reads it
    return Next::kWait;
  }
  const std::int64_t began_ns = options_.stopwatch_ns();
  count(BeatCounter::kAttempts);
  auto spec = maker_.make({item.stored.entry, planned_ns, lock_.token()}, now);
  if (!spec.ok()) return fail(item, planned_ns, EnqueueStatus::kTooLarge, spec.error().message, /*for_good=*/true, now);
  const engine::TickResult result = engine_.fire_tick(*spec, item.stored.row, planned_ns, turn, now.monotonic_ns);
  if (result.status == TickStatus::kRefused) return refused(item, planned_ns, result.enqueue, now);
  item.pause_ns = 0;
  if (result.status == TickStatus::kLost) {
    count(BeatCounter::kLost);
    options_.tell(
        {.kind = BeatEvent::Kind::kLost, .entry = &item.stored.entry, .planned_ns = planned_ns, .message = {}});
    return Next::kPlan;
  }
  const std::int64_t drift_ns = now.realtime_ns - planned_ns - item.stored.entry.jitter_of(planned_ns);
  row.fired_at_ns.store(now.realtime_ns, std::memory_order_relaxed);
  row.drift_ns.store(drift_ns, std::memory_order_relaxed);
  row.last_status.store(0, std::memory_order_relaxed);
  count(BeatCounter::kSuccess);
  record(engine_.segment().schedules().drift, drift_ns);
  record(engine_.segment().schedules().dispatch, options_.stopwatch_ns() - began_ns);
  options_.tell({.kind = BeatEvent::Kind::kFired,
                 .entry = &item.stored.entry,
                 .planned_ns = planned_ns,
                 .drift_ns = drift_ns,
                 .task = result.enqueue.id,
                 .message = {}});
  return Next::kPlan;
}

// The holder of a unique key is itself a tick that nobody has chosen: it will be let go, or be gone.
bool Scheduler::is_undecided(engine::TaskId id) const {
  const shm::ControlWord word = engine_.segment().descriptor(id.slot()).control.load();
  return word.generation() == id.generation() &&
         (word.state() == shm::State::kWaiting || word.state() == shm::State::kAlloc);
}

Scheduler::Next Scheduler::refused(Item& item, std::int64_t planned_ns, const engine::EnqueueResult& result,
                                   const Now& now) {
  if (result.status != EnqueueStatus::kDuplicate)
    return fail(item, planned_ns, result.status, to_string(result.status), result.status == EnqueueStatus::kTooLarge,
                now);
  if (is_undecided(result.id)) {
    wait(item, now.realtime_ns + kFirstPauseNs);
    return Next::kWait;
  }
  item.passed_ns = planned_ns;
  row_of(item).deduplicated.fetch_add(1, std::memory_order_relaxed);
  count(BeatCounter::kDeduplicated);
  options_.tell({.kind = BeatEvent::Kind::kDeduplicated,
                 .entry = &item.stored.entry,
                 .planned_ns = planned_ns,
                 .task = result.id,
                 .message = {}});
  return Next::kPlan;
}

Scheduler::Next Scheduler::fail(Item& item, std::int64_t planned_ns, EnqueueStatus status, std::string message,
                                bool for_good, const Now& now) {
  shm::ScheduleRow& row = row_of(item);
  row.failed.fetch_add(1, std::memory_order_relaxed);
  row.last_status.store(static_cast<std::uint32_t>(status), std::memory_order_relaxed);
  count(BeatCounter::kFailed);
  options_.tell({.kind = BeatEvent::Kind::kFailed,
                 .entry = &item.stored.entry,
                 .planned_ns = planned_ns,
                 .message = std::move(message)});
  if (for_good) {
    item.passed_ns = planned_ns;
    return Next::kPlan;
  }
  item.pause_ns = std::clamp(item.pause_ns * 2, kFirstPauseNs, kLongestPauseNs);
  wait(item, now.realtime_ns + item.pause_ns);
  return Next::kWait;
}

}  // namespace stem::beat
