#include "beat/scheduler.hpp"

#include <algorithm>

#include "base/histogram.hpp"

namespace stem::beat {

using shm::BeatCounter;

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

Scheduler::Scheduler(std::unique_ptr<Board> board, engine::Engine& engine, BeatLock& lock, Options options)
    : board_(std::move(board)), engine_(engine), lock_(lock), options_(std::move(options)) {}

Scheduler::Scheduler(ScheduleStore& store, BeatLock& lock, TickMaker& maker, Options options)
    : Scheduler(std::make_unique<SegmentBoard>(store, maker), store.engine(), lock, std::move(options)) {}

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
  const std::uint32_t rows = board_->row_total();
  for (std::uint32_t row = 0; row < rows; ++row) {
    const std::uint64_t stamp = board_->stamp_of(row);
    const auto known = items_.find(row);
    if (known != items_.end() && known->second.stored.word.bits() == stamp) continue;
    if (known != items_.end()) items_.erase(known);
    auto stored = board_->read(row, stamp);
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
  item.stored.figures.fired_ns = board_->fired_ns(item.stored);
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
  board_->note_skipped(item.stored, how_many);
  count(BeatCounter::kSkipped, how_many);
  options_.tell({.kind = BeatEvent::Kind::kSkipped,
                 .entry = &item.stored.entry,
                 .planned_ns = last_planned_ns,
                 .count = how_many,
                 .task = {},
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
  using What = FireResult::What;
  using Kind = BeatEvent::Kind;
  const std::int64_t began_ns = options_.stopwatch_ns();
  const StoredEntry& stored = item.stored;
  if (item.pause_ns == 0 && engine_.events().followed(now.monotonic_ns))
    engine_.tell_schedule(shm::EventKind::kScheduleDue, stored.row, planned_ns, stored.entry.id, now.monotonic_ns);
  const FireResult result = board_->fire(stored, {stored.entry, planned_ns, lock_.token()}, now);
  switch (result.what) {
    case What::kStale: return Next::kPlan;
    case What::kChanged: wait(item, now.realtime_ns + options_.tick_ns); return Next::kWait;
    default: count(BeatCounter::kAttempts);
  }
  const std::int64_t drift_ns = now.realtime_ns - planned_ns - stored.entry.jitter_of(planned_ns);
  board_->note(stored, result, drift_ns, now);
  switch (result.what) {
    case What::kBusy: wait(item, now.realtime_ns + kFirstPauseNs); return Next::kWait;
    case What::kRefused:
    case What::kNoTask: return fail(item, planned_ns, result, now);
    case What::kDuplicate:
      item.passed_ns = planned_ns;
      count(BeatCounter::kDeduplicated);
      tell(Kind::kDeduplicated, item, planned_ns, result);
      return Next::kPlan;
    case What::kLost:
      item.pause_ns = 0;
      count(BeatCounter::kLost);
      tell(Kind::kLost, item, planned_ns, result);
      return Next::kPlan;
    default: break;
  }
  item.pause_ns = 0;
  count(BeatCounter::kSuccess);
  record(engine_.segment().schedules().drift, drift_ns);
  record(engine_.segment().schedules().dispatch, options_.stopwatch_ns() - began_ns);
  tell(Kind::kFired, item, planned_ns, result, drift_ns);
  return Next::kPlan;
}

void Scheduler::tell(BeatEvent::Kind kind, const Item& item, std::int64_t planned_ns, const FireResult& result,
                     std::int64_t drift_ns) {
  options_.tell({.kind = kind,
                 .entry = &item.stored.entry,
                 .planned_ns = planned_ns,
                 .drift_ns = drift_ns,
                 .task = result.task,
                 .message = result.message});
}

Scheduler::Next Scheduler::fail(Item& item, std::int64_t planned_ns, const FireResult& result, const Now& now) {
  count(BeatCounter::kFailed);
  engine_.tell_schedule(shm::EventKind::kScheduleFailed, item.stored.row, planned_ns,
                        item.stored.entry.id + ": " + result.message, now.monotonic_ns);
  tell(BeatEvent::Kind::kFailed, item, planned_ns, result);
  if (result.what == FireResult::What::kNoTask) {
    item.passed_ns = planned_ns;
    return Next::kPlan;
  }
  item.pause_ns = std::clamp(item.pause_ns * 2, kFirstPauseNs, kLongestPauseNs);
  wait(item, now.realtime_ns + item.pause_ns);
  return Next::kWait;
}

}  // namespace stem::beat
