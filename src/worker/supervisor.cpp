#include "worker/supervisor.hpp"

#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/spin_pause.hpp"
#include "engine/due_sleep.hpp"
#include "engine/keeper.hpp"
#include "journal/expect.hpp"
#include "shm/names.hpp"
#include "worker/autoscale.hpp"
#include "worker/banner.hpp"
#include "worker/children.hpp"
#include "worker/control.hpp"
#include "worker/journal_process.hpp"
#include "worker/pinning.hpp"
#include "worker/stop_signals.hpp"
#include "worker/time_slice.hpp"

namespace stem::worker {
namespace {

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 && name[0] != '\0' ? name : "node";
}

class Supervisor {
 public:
  Supervisor(const WorkerOptions& options, const HandlerTable& handlers, shm::Participant& self)
      : options_(options),
        handlers_(handlers),
        self_(self),
        engine_(self),
        keeper_(engine_),
        signals_(self.row().doorbell),
        journal_(self.segment()),
        children_(options, handlers, engine_),
        autoscale_(options.autoscale_min, options.autoscale_max) {
    for (const std::string& name : options.queues)
      if (const auto queue = shm::find_queue(self.segment(), name)) queues_.push_back(*queue);
  }

  void run() {
    engine_.tell_worker(shm::EventKind::kWorkerInit, shm::kNobody, options_.concurrency, options_.node,
                        base::monotonic_ns());
    children_.set_target(options_.concurrency, base::monotonic_ns());
    for (;;) {
      const std::uint32_t bell = self_.row().doorbell.load(std::memory_order_acquire);
      const std::int64_t now = base::monotonic_ns();
      std::int64_t next = children_.step(now);  // first: a death must not wait for the patrol
      obey(now);
      next = std::min({next, advance_stop(now), scale(now)});
      next = std::min({next, keeper_.step(now), journal_.step(now)});
      announce();
      if (stop_ != StopMode::kNone && children_.all_gone()) break;
      sleep_until(next, bell);
    }
    engine_.tell_worker(shm::EventKind::kWorkerShutdown, shm::kNobody, 0, to_string(stop_), base::monotonic_ns());
    log::info("worker stopped", {{"node", options_.node}, {"mode", to_string(stop_)}});
  }

 private:
  void announce() {
    if (announced_ || !children_.all_joined()) return;
    announced_ = true;
    if (options_.print_banner) print_banner(options_, handlers_, self_.segment(), children_, keeper_.holding());
    engine_.tell_worker(shm::EventKind::kWorkerReady, shm::kNobody, children_.running(), options_.node,
                        base::monotonic_ns());
    log::debug("worker ready", {{"node", options_.node}, {"processes", children_.running()}});
  }

  void obey(std::int64_t now_ns) {
    raise_stop(signals_.wanted(), now_ns);
    ControlRequest request;
    if (!take_request(self_.row(), request)) return;
    tell_received(engine_, request, now_ns);
    Answer what = Answer::kDone;
    switch (request.command) {
      case Command::kPing: break;
      // The processes get requests of their own; these are for the ones to come.
      case Command::kPause: paused_ = true; break;
      case Command::kResume: paused_ = false; break;
      case Command::kShutdown:
        raise_stop(static_cast<StopMode>(std::min(request.argument, static_cast<std::uint32_t>(StopMode::kHard))),
                   now_ns);
        break;
      case Command::kResize:
        if (stop_ == StopMode::kNone && request.argument <= kMostProcesses) {
          children_.set_target(request.argument, now_ns);
          log::info("resized", {{"node", options_.node}, {"processes", request.argument}});
        } else {
          what = Answer::kRefused;
        }
        break;
      default: what = Answer::kRefused; break;
    }
    children_.set_paused(paused_);
    answer(self_.row(), request, what, (paused_ ? kPausedValue : 0) | (stop_ != StopMode::kNone ? kStoppingValue : 0));
    tell_answered(engine_, request, what, base::monotonic_ns());
  }

  std::int64_t scale(std::int64_t now_ns) {
    if (stop_ != StopMode::kNone || paused_) return INT64_MAX;
    if (!autoscale_.due(now_ns)) return autoscale_.next_ns();
    std::uint64_t backlog = 0;
    for (const std::uint32_t queue : queues_)
      if (self_.segment().queue(queue).paused.load(std::memory_order_relaxed) == 0)
        backlog += engine_.lanes().queued(queue);
    const std::uint32_t wanted = autoscale_.tick(backlog, children_.target(), now_ns);
    if (wanted != children_.target()) {
      log::info("scaled", {{"node", options_.node}, {"processes", wanted}, {"backlog", backlog}});
      children_.set_target(wanted, now_ns);
    }
    return autoscale_.next_ns();
  }

  void raise_stop(StopMode mode, std::int64_t now_ns) {
    if (mode <= stop_) return;
    stop_ = mode;
    stop_since_ns_ = now_ns;
    self_.row().stop_mode.store(static_cast<std::uint32_t>(mode), std::memory_order_relaxed);
    engine_.tell_worker(shm::EventKind::kWorkerStopping, shm::kNobody, static_cast<std::int64_t>(mode), to_string(mode),
                        now_ns);
    log::info("stopping", {{"node", options_.node}, {"mode", to_string(mode)}});
    children_.stop(mode, now_ns);
  }

  // The processes watch the same times themselves; this is for one that does not.
  std::int64_t advance_stop(std::int64_t now_ns) {
    if (stop_ == StopMode::kNone || stop_ == StopMode::kHard) return INT64_MAX;
    const std::int64_t limit = stop_ == StopMode::kWarm ? options_.drain_timeout_ns : options_.soft_grace_ns;
    if (now_ns - stop_since_ns_ < limit) return stop_since_ns_ + limit;
    raise_stop(stop_ == StopMode::kWarm ? StopMode::kSoft : StopMode::kHard, now_ns);
    return now_ns;
  }

  void sleep_until(std::int64_t next_ns, std::uint32_t bell) {
    futexes_.clear();
    futexes_.add(self_.row().doorbell, bell);
    children_.watch(futexes_);
    due_sleep_.until(
        next_ns, base::monotonic_ns, [this](std::int64_t until_ns) { futexes_.wait_until(until_ns); },
        [this] {
          base::spin_pause();
          return futexes_.changed();
        });
  }

  const WorkerOptions& options_;
  const HandlerTable& handlers_;
  shm::Participant& self_;
  engine::Engine engine_;
  engine::Keeper keeper_;
  engine::DueSleep due_sleep_{keeper_, allowed_cores().size() > 1};
  StopSignals signals_;
  JournalProcess journal_;
  Children children_;
  Autoscale autoscale_;
  std::vector<std::uint32_t> queues_;
  FutexSet futexes_;
  StopMode stop_ = StopMode::kNone;
  std::int64_t stop_since_ns_ = 0;
  bool paused_ = false;
  bool announced_ = false;
};

}  // namespace

Result<void> run(const WorkerOptions& given, const HandlerTable& handlers) {
  WorkerOptions options = given;
  if (options.node.empty()) options.node = host_name();
  if (options.concurrency == 0)
    options.concurrency = std::max<std::uint32_t>(1, static_cast<std::uint32_t>(allowed_cores().size()));
  if (options.autoscale_max != 0) options.concurrency = options.autoscale_min;
  if (options.queues.empty()) return Error{Errc::kInvalidArgument, "a worker needs a queue to serve"};
  if (handlers.entries().empty())
    return Error{Errc::kInvalidArgument, "a worker needs a handler: --app LIB.so or --exec 'NAME=COMMAND'"};
  auto segment = journal::open_or_create(options.segment);
  if (!segment) return segment.error();
  for (const std::string& queue : options.queues)
    if (const auto id = shm::intern_queue(**segment, queue); !id) return id.error().within("queue " + queue);
  for (const auto& [name, entry] : handlers.entries())
    if (const auto id = shm::intern_task(**segment, name); !id) return id.error().within("handler " + name);
  auto self = shm::Participant::join(*segment, {shm::Role::kSupervisor, options.node});
  if (!self) return self.error();
  ::prctl(PR_SET_TIMERSLACK, 1UL);
  ask_for_short_slices();
  Supervisor(options, handlers, **self).run();
  return {};
}

}  // namespace stem::worker
