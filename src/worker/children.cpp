#include "worker/children.hpp"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "shm/death.hpp"
#include "shm/doorbell.hpp"
#include "worker/pinning.hpp"
#include "worker/worker_process.hpp"

namespace stem::worker {
namespace {

constexpr std::int64_t kHealthyNs = 60'000'000'000;
constexpr std::int64_t kSettledNs = 1'000'000'000;
constexpr std::int64_t kFirstBackOffNs = 100'000'000;
constexpr std::int64_t kLongestBackOffNs = 30'000'000'000;
constexpr std::int64_t kLongestSleepNs = 100'000'000;

// At once after the first crash.
std::int64_t back_off_ns(std::uint32_t crashes) {
  if (crashes == 0) return 0;
  return std::min(kFirstBackOffNs << std::min(crashes - 1, 20u), kLongestBackOffNs);
}

bool same_life(const shm::RosterRow& row, std::uint64_t incarnation) {
  return shm::row_incarnation(row.status.load(std::memory_order_acquire)) == incarnation;
}

}  // namespace

Children::Children(const WorkerOptions& options, const HandlerTable& handlers, engine::Engine& engine)
    : options_(options), handlers_(handlers), engine_(engine), allowed_cores_(allowed_cores()) {}

void Children::set_target(std::uint32_t count, std::int64_t now_ns) {
  target_ = count;
  while (children_.size() < count) {
    Child child;
    child.number = static_cast<std::uint32_t>(children_.size()) + 1;
    child.name = options_.node + "-" + std::to_string(child.number);
    child.core = core_for(options_, allowed_cores_, child.number - 1);
    children_.push_back(std::move(child));
  }
  for (std::uint32_t i = 0; i < children_.size(); ++i) {
    Child& child = children_[i];
    if (i < count) {
      if (child.state != Child::State::kDown) continue;
      child.state = Child::State::kDue;
      child.restart_ns = now_ns;
    } else if (child.state == Child::State::kDue) {
      child.state = Child::State::kDown;
    } else if (child.state != Child::State::kDown && !child.told_to_leave) {
      child.told_to_leave = true;
      child.page->raise_stop(StopMode::kWarm);
      child.page->ring_bell();
      if (child.state == Child::State::kRunning) shm::ring(engine_.segment(), child.row);
    }
  }
}

void Children::start(Child& child, std::int64_t now_ns) {
  child.page = make_child_page();
  child.started_ns = now_ns;
  if (child.page == nullptr) return plan_restart(child, true, now_ns);
  child.page->paused.store(paused_ ? 1 : 0, std::memory_order_relaxed);
  const ProcessSetup setup{.options = &options_,
                           .handlers = &handlers_,
                           .page = child.page.get(),
                           .name = child.name,
                           .core = child.core,
                           .supervisor_pid = ::getpid(),
                           .supervisor = engine_.self().index(),
                           .supervisor_incarnation = engine_.self().incarnation()};
  std::fflush(nullptr);  // or the child would print it again
  // The supervisor's handlers must not run in the child: blocked until it has its own.
  sigset_t all, before;
  sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, &before);
  const pid_t pid = ::fork();
  if (pid == 0) run_worker_process(setup);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) {
    log::error("cannot fork a worker", {{"worker", child.name}, {"error", system_error("fork").message}});
    return plan_restart(child, true, now_ns);
  }
  child.pid = pid;
  child.state = Child::State::kStarting;
  log::debug("worker forked", {{"worker", child.name}, {"worker_pid", pid}});
}

void Children::notice_joined(Child& child) {
  const std::uint64_t joined = child.page->row.load(std::memory_order_acquire);
  if (joined == 0) return;
  child.row = static_cast<std::uint32_t>(joined & 0xfff) - 1;
  child.incarnation = joined >> 12;
  child.state = Child::State::kRunning;
}

// Told by the kernel (its robust mutex) or by its own crash handler. Both may be wrong without harm:
// fencing refuses whoever lives on.
bool Children::looks_dead(const Child& child) const noexcept {
  shm::RosterRow& row = engine_.segment().row(child.row);
  if (!same_life(row, child.incarnation)) return false;  // it detached; waitpid tells the rest
  // order(crash.record): acquire; see on_crash().
  return shm::signalled_dead(row) || row.crash.task.load(std::memory_order_acquire) != 0;
}

void Children::on_death(Child& child, std::int64_t now_ns) {
  const std::uint32_t redelivered = engine_.redeliver_held(child.row, now_ns);
  const std::int32_t group = child.page->command_group.load(std::memory_order_acquire);
  if (group > 1) ::kill(-group, SIGKILL);
  if (redelivered != 0)
    log::warn("worker died, its tasks run elsewhere", {{"worker", child.name}, {"redelivered", redelivered}});
  const auto reason = static_cast<ExitReason>(child.page->exit_reason.load(std::memory_order_acquire));
  departed_.push_back({child.pid, child.name, child.row, child.incarnation, std::move(child.page)});
  plan_restart(child, reason == ExitReason::kNone, now_ns);
  if (reason == ExitReason::kShutDown) child.state = Child::State::kDown;  // until the next resize
}

void Children::plan_restart(Child& child, bool crashed, std::int64_t now_ns) {
  child.pid = 0;
  child.told_to_leave = false;
  if (stop_ != StopMode::kNone || child.number > target_) {
    child.state = Child::State::kDown;
    return;
  }
  child.state = Child::State::kDue;
  child.restart_ns = now_ns;
  if (!crashed) return;
  // A loop of crashes backs off further each time; crashes far apart (somebody kills, a rare input) do not.
  const std::int64_t lived_ns = now_ns - child.started_ns;
  if (lived_ns >= kHealthyNs) child.crashes = 0;
  const std::int64_t delay_ns = back_off_ns(child.crashes);
  child.restart_ns += delay_ns;
  if (child.crashes == 0 || lived_ns < kSettledNs + 10 * delay_ns) ++child.crashes;
}

std::int64_t Children::step(std::int64_t now_ns) {
  std::int64_t next = now_ns + kLongestSleepNs;
  for (Child& child : children_) {
    if (child.state == Child::State::kStarting) notice_joined(child);
    if (child.state == Child::State::kRunning && looks_dead(child)) on_death(child, now_ns);
  }
  reap(now_ns);
  for (Child& child : children_) {
    if (child.state == Child::State::kDue && now_ns >= child.restart_ns) start(child, now_ns);
    if (child.state == Child::State::kDue) next = std::min(next, child.restart_ns);
    if (child.state != Child::State::kRunning) continue;
    if (child.page->stop_mode() == StopMode::kHard && stop_ != StopMode::kHard) kill_now(child, now_ns);
    enforce_hard_limit(child, now_ns);
    if (child.state == Child::State::kRunning && child.page->hard_task.load(std::memory_order_acquire) != 0)
      next = std::min(next, child.page->hard_deadline_ns.load(std::memory_order_relaxed));
  }
  for (const Child& child : children_)
    if (child.page) child.page->supervisor_looks_ns.store(next, std::memory_order_seq_cst);
  return next;
}

void Children::watch(FutexSet& futexes) {
  for (const Child& child : children_) {
    if (child.state != Child::State::kRunning) continue;
    shm::RosterRow& row = engine_.segment().row(child.row);
    if (!same_life(row, child.incarnation)) continue;
    const std::uint32_t word = mark_waited(*shm::alive_word(row));
    if (word == 0) continue;  // detached: its exit is announced by SIGCHLD
    // Died between the look and here: a value that cannot be, so that the wait ends at once.
    futexes.add(*shm::alive_word(row), (word & FUTEX_OWNER_DIED) != 0 ? 0 : word);
  }
}

void Children::stop(StopMode mode, std::int64_t now_ns) {
  stop_ = std::max(stop_, mode);
  for (Child& child : children_) {
    if (child.state == Child::State::kDue) child.state = Child::State::kDown;
    if (child.state != Child::State::kStarting && child.state != Child::State::kRunning) continue;
    child.page->raise_stop(mode);
    child.page->ring_bell();
    if (child.state == Child::State::kStarting) notice_joined(child);
    if (child.state == Child::State::kRunning) shm::ring(engine_.segment(), child.row);
    if (mode == StopMode::kHard) kill_now(child, now_ns);
  }
}

// A stop, not a crash: what it holds goes back as it came, and nobody counts a death.
void Children::kill_now(const Child& child, std::int64_t now_ns) {
  child.page->exit_reason.store(
      static_cast<std::uint32_t>(child.page->shut_down.load(std::memory_order_acquire) != 0 ? ExitReason::kShutDown
                                                                                            : ExitReason::kStopped),
      std::memory_order_release);
  ::kill(child.pid, SIGKILL);
  const std::int32_t group = child.page->command_group.load(std::memory_order_acquire);
  if (group > 1) ::kill(-group, SIGKILL);
  if (child.state == Child::State::kRunning) release_held(child, now_ns);
}

// What a worker that is being killed on purpose holds goes back as it came; of what it ran, that is a redelivery: it
// runs again.
void Children::release_held(const Child& child, std::int64_t now_ns) {
  const shm::Segment& segment = engine_.segment();
  shm::RosterRow& row = segment.row(child.row);
  if (!same_life(row, child.incarnation)) return;
  const auto give_back = [&](std::uint32_t slot) {
    const shm::ControlWord word = segment.descriptor(slot).control.load();
    if (word.state() == shm::State::kLeased && word.owner() == child.row + 1)
      (void)engine_.redeliver(slot, word, /*current=*/0, engine::LeaseEnd::kStopped, now_ns);
  };
  for (const auto& entry : row.held) {
    const std::uint32_t slot = entry.load(std::memory_order_acquire) - 1;
    if (slot < segment.geometry().slot_count) give_back(slot);
  }
  if (row.inflight.load(std::memory_order_acquire) <= shm::kHeldSlots) return;
  // More than the row can name: coroutine handlers.
  const auto used = segment.slots_used();
  for (std::uint32_t slot = 0; slot < used; ++slot) give_back(slot);
}

bool Children::all_gone() const noexcept {
  return departed_.empty() &&
         std::all_of(children_.begin(), children_.end(), [](const Child& c) { return c.state == Child::State::kDown; });
}

bool Children::all_joined() const noexcept {
  return std::all_of(children_.begin(), children_.end(), [](const Child& c) {
    return c.state == Child::State::kRunning || c.state == Child::State::kDown;
  });
}

std::uint32_t Children::running() const noexcept {
  return static_cast<std::uint32_t>(std::count_if(children_.begin(), children_.end(), [](const Child& c) {
    return c.state == Child::State::kRunning || c.state == Child::State::kStarting;
  }));
}

void Children::reap(std::int64_t now_ns) {
  std::vector<pid_t> pids;
  for (const Child& child : children_)
    if (child.pid != 0) pids.push_back(child.pid);
  for (const Departed& departed : departed_) pids.push_back(departed.pid);
  for (const pid_t pid : pids) {
    int status = 0;
    if (::waitpid(pid, &status, WNOHANG) == pid) on_exit(pid, status, now_ns);
  }
}

void Children::on_exit(pid_t pid, int status, std::int64_t now_ns) {
  // Not yet known as dead: it left by itself, or died before it joined, or is quicker than its signal.
  for (Child& child : children_) {
    if (child.pid != pid) continue;
    if (child.state == Child::State::kStarting) notice_joined(child);
    const auto reason = static_cast<ExitReason>(child.page->exit_reason.load(std::memory_order_acquire));
    if (reason == ExitReason::kNone && child.state == Child::State::kRunning) {
      on_death(child, now_ns);
      break;
    }
    departed_.push_back({pid, child.name, child.row, child.incarnation, std::move(child.page)});
    if (child.state == Child::State::kStarting) departed_.back().incarnation = 0;
    plan_restart(child, reason == ExitReason::kNone || reason == ExitReason::kNoRoom, now_ns);
    if (reason == ExitReason::kShutDown) child.state = Child::State::kDown;  // until the next resize
    break;
  }
  const auto it = std::find_if(departed_.begin(), departed_.end(), [&](const Departed& d) { return d.pid == pid; });
  if (it == departed_.end()) return;
  // The kernel is done with it: its lock is free, which proves the death.
  if (it->incarnation != 0 && same_life(engine_.segment().row(it->row), it->incarnation))
    (void)engine_.sweep(it->row, now_ns);
  log_exit(*it, status, static_cast<ExitReason>(it->page->exit_reason.load(std::memory_order_acquire)));
  departed_.erase(it);
}

// Also of a place that is not wanted any more by now: what is told is why processes end that were not told to.
void Children::count_restart(int status, ExitReason reason) noexcept {
  shm::RestartCause cause = WIFSIGNALED(status) ? shm::RestartCause::kSignal : shm::RestartCause::kExit;
  switch (reason) {
    case ExitReason::kNone: break;
    case ExitReason::kStopped:
    case ExitReason::kShutDown: return;
    case ExitReason::kRecycledCount: cause = shm::RestartCause::kRecycledTasks; break;
    case ExitReason::kRecycledMemory: cause = shm::RestartCause::kRecycledMemory; break;
    case ExitReason::kDetached: cause = shm::RestartCause::kDetached; break;
    case ExitReason::kNoRoom: cause = shm::RestartCause::kNoRoom; break;
    case ExitReason::kHardLimit: cause = shm::RestartCause::kHardTimeLimit; break;
  }
  auto& count = engine_.self().row().restarts[static_cast<std::uint32_t>(cause)];
  count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

void Children::log_exit(const Departed& departed, int status, ExitReason reason) {
  std::string cause = to_string(reason);
  if (reason != ExitReason::kHardLimit && WIFSIGNALED(status)) {
    const char* name = ::sigabbrev_np(WTERMSIG(status));
    cause = std::string("SIG") + (name == nullptr ? "?" : name);
  } else if (reason == ExitReason::kNone) {
    cause = "exit-" + std::to_string(WEXITSTATUS(status));
  }
  if (stop_ == StopMode::kNone) count_restart(status, reason);
  const bool expected = reason != ExitReason::kNone && reason != ExitReason::kHardLimit;
  const auto level = !expected ? log::Level::kWarn : log::Level::kInfo;
  engine_.tell_worker(shm::EventKind::kProcessEnded, departed.row, departed.pid, departed.name + ": " + cause,
                      base::monotonic_ns());
  log::write(level, "worker ended", {{"worker", departed.name}, {"worker_pid", departed.pid}, {"cause", cause}});
}

}  // namespace stem::worker
