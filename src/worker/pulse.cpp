#include "worker/pulse.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "engine/task.hpp"
#include "shm/doorbell.hpp"
#include "worker/control.hpp"

namespace stem::worker {
namespace {

constexpr std::int64_t kBeatNs = 1'000'000'000;
constexpr std::int64_t kLookNs = 50'000'000;  // for revoke requests, which ring nobody

}  // namespace

std::uint64_t own_rss_bytes() noexcept {
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  unsigned long long total = 0, resident = 0;
  const int got = std::fscanf(file, "%llu %llu", &total, &resident);
  std::fclose(file);
  return got == 2 ? resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) : 0;
}

Pulse::Pulse(engine::Engine& engine, ChildPage& page, const WorkerOptions& options, int supervisor_pid, Renews renews,
             AnswersWhere answers_where)
    : engine_(engine),
      self_(engine.self()),
      page_(page),
      options_(options),
      supervisor_pid_(supervisor_pid),
      renews_(renews),
      answers_where_(answers_where) {
  // Signals are for the loop's thread, whose sleep they must end.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Pulse::~Pulse() {
  ending_.store(true, std::memory_order_release);
  page_.ring_bell();
  thread_.join();
}

void Pulse::arm(std::int64_t deadline_ns, std::uint64_t handle) {
  const std::lock_guard guard(mutex_);
  if (source_.stop_requested() && page_.stop_mode() < StopMode::kSoft) source_ = std::stop_source();
  token_ = source_.get_token();
  stale_.store(false, std::memory_order_release);
  deadline_ns_ = deadline_ns;
  handle_ = handle;
  armed_ = deadline_ns != 0;
  if (armed_) page_.ring_bell();
}

void Pulse::disarm() {
  const std::lock_guard guard(mutex_);
  deadline_ns_ = 0;
  armed_ = false;
}

void Pulse::run() {
  while (!ending_.load(std::memory_order_acquire)) {
    const std::uint32_t bell = page_.bell.load(std::memory_order_acquire);
    const std::uint32_t request = request_futex(self_.row()).load(std::memory_order_acquire);
    const std::int64_t now = base::monotonic_ns();
    if (now >= next_beat_ns_) beat(now);
    answer_control();
    fire_revoke();
    std::int64_t next = std::min({next_beat_ns_, now + kLookNs, advance_stop(now)});
    next = std::min(next, fire_soft_limit(now));
    futexes_.clear();
    futexes_.add(page_.bell, bell);
    futexes_.add(request_futex(self_.row()), request);
    if (!ending_.load(std::memory_order_acquire)) futexes_.wait_until(next);
  }
  answer_control();  // a shutdown is often quicker by way of the supervisor than its own request
}

void Pulse::beat(std::int64_t now_ns) {
  self_.beat();
  self_.row().rss_bytes.store(own_rss_bytes(), std::memory_order_relaxed);
  next_beat_ns_ = now_ns + kBeatNs;
  if (renews_ == Renews::kCurrent) count_renewal();
  if (engine_.events().stepped(now_ns))
    engine_.tell_worker(shm::EventKind::kHeartbeat, self_.index(), self_.row().inflight.load(std::memory_order_relaxed),
                        {}, now_ns);
  // PR_SET_PDEATHSIG is lost when the supervisor dies between fork and prctl, and is bound to a thread.
  if (::getppid() != supervisor_pid_) page_.raise_stop(StopMode::kWarm);
}

// With this beat the lease of what runs goes on.
void Pulse::count_renewal() {
  const std::uint64_t current = self_.row().current.load(std::memory_order_acquire);
  if (current == 0) return;
  const std::uint32_t slot = engine::TaskId{1, current}.slot();
  if (slot >= self_.segment().slots_used()) return;  // nonsense in the segment
  const shm::Descriptor& d = self_.segment().descriptor(slot);
  if ((d.flags & shm::kNoRenew) == 0) self_.count_renewal_beside(d.queue);
}

void Pulse::answer_control() {
  ControlRequest request;
  if (!take_request(self_.row(), request)) return;
  if (request.command == Command::kWhere && answers_where_ == AnswersWhere::kLoop) return;
  tell_received(engine_, request, base::monotonic_ns());
  Answer what = Answer::kDone;
  switch (request.command) {
    case Command::kPing: break;
    case Command::kPause: page_.paused.store(1, std::memory_order_release); break;
    case Command::kResume: page_.paused.store(0, std::memory_order_release); break;
    case Command::kShutdown:
      page_.shut_down.store(1, std::memory_order_release);
      page_.raise_stop(static_cast<StopMode>(std::min(request.argument, static_cast<std::uint32_t>(StopMode::kHard))));
      break;
    default: what = Answer::kRefused; break;
  }
  std::uint32_t value = page_.paused.load(std::memory_order_relaxed) != 0 ? kPausedValue : 0;
  if (page_.stop_mode() != StopMode::kNone) value |= kStoppingValue;
  answer(self_.row(), request, what, value);
  tell_answered(engine_, request, what, base::monotonic_ns());
  shm::ring(self_.segment(), self_.index());  // the loop may be parked
}

// Notes a new mode, and raises it when its time is over. Returns when to look again.
std::int64_t Pulse::advance_stop(std::int64_t now_ns) {
  const StopMode mode = page_.stop_mode();
  if (mode != stop_seen_) {
    stop_seen_ = mode;
    stop_since_ns_ = now_ns;
    self_.row().stop_mode.store(static_cast<std::uint32_t>(mode), std::memory_order_relaxed);
    // Not for a hard stop: a handler that gave up in its last moment would use an attempt.
    if (mode == StopMode::kSoft) {
      const std::lock_guard guard(mutex_);
      stale_.store(true, std::memory_order_seq_cst);
      source_.request_stop();
    }
    // Hard: the supervisor kills this process and requeues what it holds. An orphan ends by itself.
    if (mode == StopMode::kHard && ::getppid() != supervisor_pid_) ::_exit(1);
    const auto supervisor = self_.row().supervisor.load(std::memory_order_relaxed) & 0xfff;
    if (mode == StopMode::kHard && supervisor != 0)
      shm::ring(self_.segment(), static_cast<std::uint32_t>(supervisor) - 1);
  }
  if (mode == StopMode::kNone || mode == StopMode::kHard) return INT64_MAX;
  const std::int64_t limit = mode == StopMode::kWarm ? options_.drain_timeout_ns : options_.soft_grace_ns;
  if (now_ns - stop_since_ns_ < limit) return stop_since_ns_ + limit;
  page_.raise_stop(mode == StopMode::kWarm ? StopMode::kSoft : StopMode::kHard);
  return now_ns;
}

std::int64_t Pulse::fire_soft_limit(std::int64_t now_ns) {
  shm::Event timeout;
  {
    const std::lock_guard guard(mutex_);
    if (deadline_ns_ == 0) return INT64_MAX;
    if (now_ns < deadline_ns_) return deadline_ns_;
    deadline_ns_ = 0;
    stale_.store(true, std::memory_order_seq_cst);
    source_.request_stop();
    timeout.handle = handle_;
  }
  const shm::Descriptor& d = self_.segment().descriptor(engine::TaskId{1, timeout.handle}.slot());
  const shm::ControlWord word = d.control.load();
  timeout.kind = shm::EventKind::kTimeout;
  timeout.at_ns = now_ns;
  timeout.queue = d.queue;
  timeout.task = d.task;
  timeout.attempt = static_cast<std::uint16_t>(engine::tally_of(d, word.grant()).attempts);
  engine_.events().write(timeout);
  log::warn("soft time limit reached", {{"task", engine::to_string({self_.segment().epoch(), timeout.handle})}});
  return INT64_MAX;
}

void Pulse::fire_revoke() {
  const std::uint64_t current = self_.row().current.load(std::memory_order_seq_cst);
  if (current == 0 || !engine::Control::revoke_requested(self_.row(), {self_.segment().epoch(), current})) return;
  const std::lock_guard guard(mutex_);
  if (source_.stop_requested()) return;
  // The mark first: if the loop has begun another task since, it either sees the mark and takes a new token,
  // or the task read below is the new one.
  stale_.store(true, std::memory_order_seq_cst);
  if (self_.row().current.load(std::memory_order_seq_cst) != current) return;
  source_.request_stop();
}

}  // namespace stem::worker
