#include "worker/worker_process.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <thread>
#include <utility>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/spin_pause.hpp"
#include "engine/due_sleep.hpp"
#include "shm/doorbell.hpp"
#include "shm/names.hpp"
#include "worker/crash_handler.hpp"
#include "worker/settle.hpp"

namespace stem::worker {
namespace {

constexpr std::int64_t kParkNs = 50'000'000;  // a lost wake-up costs at most this
constexpr std::int64_t kQuickNs = 20'000;     // handlers below it are worth claiming several at once
constexpr std::int64_t kRssEveryNs = 10'000'000;
constexpr std::uint32_t kFruitlessClaims = 2'000;  // then the queue is held back by a limit: wait for time
constexpr std::int64_t kHeldBackNs = 1'000'000;
constexpr int kLooksPerClockRead = 16;

}  // namespace

bool WorkerProcess::join() {
  auto segment = shm::Segment::attach(options_.segment.name_space, options_.segment.directory);
  if (!segment) {
    log::error("worker cannot attach", {{"worker", setup_.name}, {"error", segment.error().message}});
    return false;
  }
  segment_ = *segment;
  auto self = shm::Participant::join(segment_, {shm::Role::kWorker, setup_.name});
  if (!self) {
    log::error("worker cannot join", {{"worker", setup_.name}, {"error", self.error().message}});
    return false;
  }
  self_ = std::move(*self);
  shm::RosterRow& row = self_->row();
  row.cpu.store(setup_.core, std::memory_order_relaxed);
  row.rss_bytes.store(own_rss_bytes(), std::memory_order_relaxed);
  // Last: who sees its supervisor sees a worker that is complete.
  row.supervisor.store(setup_.supervisor_incarnation << 12 | (setup_.supervisor + 1), std::memory_order_release);
  intern_names();
  install_crash_handler(*self_, setup_.supervisor);
  engine_ = std::make_unique<engine::Engine>(*self_);
  if (const auto& listener = setup_.handlers->listener())
    engine_->events().listen(
        [&listener, this, loop = std::this_thread::get_id()](const shm::Event& event) {
          // What the pulse writes it must not be held up by.
          if (std::this_thread::get_id() == loop) listener(event, *self_);
        },
        setup_.handlers->detail_of_events());
  const auto& entries = setup_.handlers->entries();
  only_coroutines_ =
      std::all_of(entries.begin(), entries.end(), [](const auto& named) { return bool{named.second.start}; });
  pulse_ = std::make_unique<Pulse>(
      *engine_, page_, options_, setup_.supervisor_pid,
      only_coroutines_ ? Pulse::Renews::kNothing : Pulse::Renews::kCurrent,
      setup_.handlers->has_coroutines() ? Pulse::AnswersWhere::kLoop : Pulse::AnswersWhere::kNobody);
  if (setup_.handlers->has_coroutines() && !board_flights()) return false;
  page_.row.store(self_->incarnation() << 12 | self_->owner(), std::memory_order_release);
  engine_->tell_worker(shm::EventKind::kProcessReady, self_->index(), ::getpid(), setup_.name, base::monotonic_ns());
  shm::ring(*segment_, setup_.supervisor);
  return true;
}

void WorkerProcess::intern_names() {
  known_.resize(segment_->geometry().task_count);
  for (const std::string& name : options_.queues) {
    const auto queue = shm::intern_queue(*segment_, name);
    if (!queue) continue;  // the supervisor has interned them: a full table was refused there
    queues_.push_back(*queue);
    segment_->subscription(self_->index())[*queue / 64].fetch_or(std::uint64_t{1} << (*queue % 64),
                                                                 std::memory_order_relaxed);
  }
}

void WorkerProcess::run() {
  if (!join()) return leave(ExitReason::kNoRoom);
  serve();
  flights_.reset();
  pulse_.reset();
  forget_crash_row();
  engine_.reset();
  self_.reset();
}

void WorkerProcess::serve() {
  if (flights_ != nullptr) return serve_flights();
  ExitReason reason = ExitReason::kNone;
  while ((reason = why_leave()) == ExitReason::kNone) {
    if (page_.paused.load(std::memory_order_acquire) != 0) {
      // Not among those who sleep for work: a ring that it got would be missing to another.
      const std::uint32_t bell = shm::prepare_sleep(*self_);
      if (page_.paused.load(std::memory_order_acquire) != 0) (void)shm::park(*self_, bell, kParkNs);
      continue;
    }
    const std::uint32_t count = claim_some();
    if (count == 0) {
      idle();
    } else {
      run_batch(count);
    }
  }
  leave(reason);
}

ExitReason WorkerProcess::why_leave() {
  if (page_.stop_mode() != StopMode::kNone)
    return page_.shut_down.load(std::memory_order_acquire) != 0 ? ExitReason::kShutDown : ExitReason::kStopped;
  // Somebody proved us dead: our byte lock is gone, so a handler has closed what it did not open.
  if (!self_->still_ours()) return ExitReason::kDetached;
  if (options_.max_tasks_per_child != 0 && tasks_run_ >= options_.max_tasks_per_child)
    return ExitReason::kRecycledCount;
  if (options_.max_memory_per_child_bytes == 0) return ExitReason::kNone;
  const std::int64_t now = base::monotonic_ns();
  if (now - rss_checked_ns_ < kRssEveryNs) return ExitReason::kNone;
  rss_checked_ns_ = now;
  return own_rss_bytes() <= options_.max_memory_per_child_bytes ? ExitReason::kNone : ExitReason::kRecycledMemory;
}

std::uint32_t WorkerProcess::claim_some() {
  // Quick tasks come by the run: holding one for less than a third of a millisecond starves nobody, and
  // taking it apart would cost more than its tasks do.
  std::uint32_t most = timing_.mean_ns < kQuickNs ? std::max(options_.prefetch(), engine::kRunItems) : 1;
  if (flights_ != nullptr) [[unlikely]]
    most = std::min(only_coroutines_ ? shm::kHeldSlots : most, flights_->room());
  if (options_.max_tasks_per_child != 0)
    most = static_cast<std::uint32_t>(std::min<std::uint64_t>(most, options_.max_tasks_per_child - tasks_run_));
  const std::int64_t now = base::monotonic_ns();
  const auto total = static_cast<std::uint32_t>(queues_.size());
  for (std::uint32_t i = 0; i < total; ++i) {
    const std::uint32_t at = (turn_ + i) % total;
    const std::uint32_t queue = queues_[at];
    if (!engine_->has_hint(queue)) continue;
    const std::uint32_t got = engine_->claim(queue, leases_, most, now);
    if (got == 0) continue;
    rung_ = false;
    turn_ = at + 1;
    fruitless_ = 0;
    // More than we take: somebody who sleeps may have the rest.
    if (got == most && shm::anyone_sleeps(*segment_) && engine_->lanes().queued(queue) > 0)
      shm::wake_workers(*segment_, queue, 1);
    return got;
  }
  return 0;
}

void WorkerProcess::idle() {
  const auto hint_seen = [this] {
    return std::any_of(queues_.begin(), queues_.end(), [this](std::uint32_t q) { return engine_->has_hint(q); });
  };
  const std::int64_t until = spins_until();
  do {
    for (int look = 0; look < kLooksPerClockRead; ++look) {
      if (hint_seen()) return held_back();
      base::spin_pause();
    }
  } while (base::monotonic_ns() < until && page_.stop_mode() == StopMode::kNone);
  fruitless_ = 0;
  for (const std::uint32_t queue : queues_) engine_->lanes().clear_marks(queue);
  rung_ = shm::WakeReason::kRung == shm::sleep_for_work(*self_, kParkNs, [this] {
            return std::any_of(queues_.begin(), queues_.end(),
                               [this](std::uint32_t q) { return engine_->maybe_ready(q); }) ||
                   page_.stop_mode() != StopMode::kNone;
          });
}

// Rung without work: a delayed task is due, perhaps.
std::int64_t WorkerProcess::spins_until() {
  const std::int64_t now = base::monotonic_ns();
  const bool may_be_due = std::exchange(rung_, false) && options_.spin_ns != 0;
  return (may_be_due ? engine::due_soon_ns(*segment_, now) : now) + options_.spin_ns;
}

// There is a hint, and still the last claim had nothing. When that goes on, a limit holds the tasks back, and
// looking harder does not help.
void WorkerProcess::held_back() {
  if (++fruitless_ < kFruitlessClaims) return;
  fruitless_ = 0;
  if (flights_ != nullptr) return (void)flights_->turn(kHeldBackNs);
  (void)shm::sleep_for_work(*self_, kHeldBackNs, [] { return false; });
}

void WorkerProcess::run_batch(std::uint32_t count) {
  std::int64_t now = base::monotonic_ns();
  timing_.group_start_ns = now;
  std::int64_t turned_ns = now;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (i > 0 && page_.stop_mode() != StopMode::kNone) {  // warm: finish what runs, give the rest back
      (void)engine_->release(leases_[i], now);
      continue;
    }
    now = run_one(leases_[i], now, i + 1 == count);
    // Plain handlers keep those that wait from going on: no longer than one of them takes.
    if (flights_ != nullptr && now - turned_ns >= kQuickNs && flights_->size() != 0) [[unlikely]] {
      (void)flights_->turn(0);
      timing_.group_start_ns = turned_ns = now = base::monotonic_ns();
    }
  }
  if (engine_->commit_acks() != engine::Settled::kDone) log::warn("a run was lost while its tasks ran");
  self_->row().current.store(0, std::memory_order_relaxed);
  self_->row().inflight.store(flights_ == nullptr ? 0 : flights_->size(), std::memory_order_relaxed);
}

// Returns the time as last read.
std::int64_t WorkerProcess::run_one(const engine::Lease& lease, std::int64_t now_ns, bool last) {
  engine::TaskView& task = view_;  // kept: the items of a run have most of it in common
  if (!engine_->view(lease, task)) return now_ns;
  const HandlerEntry* handler = handler_of(task.task);
  if (handler == nullptr) {
    const std::string name(shm::task_name(*segment_, task.task));
    (void)engine_->bury(lease, task, engine::DeadReason::kUnregisteredTask,
                        {"unregistered-task", "no handler for '" + name + "' in worker " + setup_.name}, now_ns);
    log::warn("no handler for a task", {{"task", engine::to_string(task.id)}, {"name", name}});
    return now_ns;
  }
  // Tasks before it may have taken longer than tiny ones do, and these look at the time that they begin at.
  if (timing_.grouped != 0 && (task.has_extras || (task.flags & shm::kNoRenew) != 0)) [[unlikely]]
    now_ns = base::monotonic_ns();
  if (engine_->begin(lease, task, now_ns) != engine::Begin::kStart) return now_ns;
  if (handler->start) {
    ++tasks_run_;
    flights_->launch(*handler, lease, task, now_ns);
    return now_ns;
  }
  const bool limited = task.has_extras && (task.extras.hard_limit_ns != 0 || task.extras.soft_limit_ns != 0);
  if (limited) [[unlikely]]
    arm_hard_limit(task, now_ns);
  Outcome outcome = call(*handler, lease, task, now_ns);
  if (limited) [[unlikely]]
    page_.hard_task.store(0, std::memory_order_release);
  if (pulse_->end_task(task.id)) outcome = Outcome::discard("revoked while it ran");
  ++tasks_run_;
  const bool others_wait = flights_ != nullptr && flights_->size() != 0;
  now_ns = clock_task(task, now_ns, last || limited || others_wait);
  // Tiny tasks share an acknowledgement; what takes longer has its own before the next starts.
  settle(*engine_, lease, task, outcome, timing_.tiny() ? Acknowledge::kTogether : Acknowledge::kNow, now_ns);
  return now_ns;
}

void WorkerProcess::arm_hard_limit(const engine::TaskView& task, std::int64_t now_ns) {
  if (task.extras.hard_limit_ns == 0) return;
  const std::int64_t deadline = engine::later_ns(now_ns, task.extras.hard_limit_ns);
  page_.hard_deadline_ns.store(deadline, std::memory_order_relaxed);
  page_.hard_task.store(task.id.handle, std::memory_order_seq_cst);
  // It looks at least every 100 ms; sooner when it must.
  if (deadline < page_.supervisor_looks_ns.load(std::memory_order_seq_cst)) shm::ring(*segment_, setup_.supervisor);
}

const HandlerEntry* WorkerProcess::handler_of(std::uint32_t task) {
  Known& known = known_[task];  // view() has checked the number
  if (!known.looked) [[unlikely]] {
    known.handler = setup_.handlers->find(shm::task_name(*segment_, task));
    known.looked = true;
  }
  return known.handler;
}

// Reads the clock when it is time to, and shares what it says among the tasks since the last reading.
std::int64_t WorkerProcess::clock_task(const engine::TaskView& task, std::int64_t started_ns, bool now) {
  timing_.tasks[timing_.grouped++] = task.task;
  if (!now && timing_.tiny() && timing_.grouped < kTasksPerClockRead) return started_ns;
  const std::int64_t ended = base::monotonic_ns();
  const std::int64_t each = std::max<std::int64_t>(0, ended - timing_.group_start_ns) / timing_.grouped;
  std::uint32_t same = 1;
  for (std::uint32_t i = 0; i < timing_.grouped; ++i, ++same) {
    if (i + 1 < timing_.grouped && timing_.tasks[i + 1] == timing_.tasks[i]) continue;
    self_->record_duration(timing_.tasks[i], each, same);
    same = 0;
  }
  timing_.mean_ns = tasks_run_ <= 1 ? each : timing_.mean_ns + (each - timing_.mean_ns) / 4;
  timing_.grouped = 0;
  timing_.group_start_ns = ended;
  return ended;
}

}  // namespace stem::worker
