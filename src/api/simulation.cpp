// The engine under a clock that only the test moves, with workers that are objects in this thread.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <stdexcept>

#include "api/producer.hpp"
#include "api/waiting.hpp"
#include "api/worker_context.hpp"
#include "engine/keeper.hpp"
#include "engine/verify.hpp"
#include "shm/names.hpp"
#include "stem/testing.hpp"

namespace stem::testing {
namespace {

// A directory that is gone when the simulation is.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    const bool shared_memory = ::access("/dev/shm", W_OK) == 0;
    path_ = (shared_memory ? "/dev/shm" : std::filesystem::temp_directory_path().string()) + "/stem-simulation-XXXXXX";
    if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("no directory for a simulation: " + path_);
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class VirtualClock final : public api::Clock {
 public:
  std::int64_t monotonic_ns() const noexcept override { return started_ns_ + passed_ns_; }
  std::int64_t realtime_ns() const noexcept override { return realtime_started_ns_ + passed_ns_; }
  void pause(std::int64_t ns) const noexcept override { passed_ns_ += ns; }
  void move_to(std::int64_t monotonic_ns) noexcept {
    if (monotonic_ns > this->monotonic_ns()) passed_ns_ = monotonic_ns - started_ns_;
  }
  std::int64_t passed_ns() const noexcept { return passed_ns_; }

 private:
  const std::int64_t started_ns_ = base::monotonic_ns();
  const std::int64_t realtime_started_ns_ = base::realtime_ns();
  mutable std::int64_t passed_ns_ = 0;
};

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error("simulation: " + result.error().message);
  return std::move(*result);
}

// A participant and its engine.
struct Actor {
  Actor(const std::shared_ptr<shm::Segment>& segment, shm::Role role, const std::string& name)
      : participant(must(shm::Participant::join(segment, {role, name}))), engine(*participant) {}
  std::unique_ptr<shm::Participant> participant;
  engine::Engine engine;
};

struct SimulatedHandler {
  detail::RawHandler run;
  RetryDelay retry_delay;
};

struct Crash {
  CrashAt when = CrashAt::kBeforeHandler;
  int times = 0;
};

shm::SegmentOptions small_segment(const std::string& directory, const SimulationOptions& options) {
  shm::SegmentOptions o;
  o.name_space = "simulation";
  o.directory = directory;
  o.slot_count = options.task_capacity;
  o.participant_count = options.workers + 8;
  o.queue_count = 256;
  o.task_count = 256;
  o.block_bytes = 256u << 20;
  return o;
}

}  // namespace

struct Simulation::State {
  explicit State(const SimulationOptions& o)
      : options(o),
        segment(must(shm::Segment::create(small_segment(directory.path(), o)))),
        caller(segment, shm::Role::kClient, "caller"),
        supervisor(segment, shm::Role::kSupervisor, "keeper"),
        keeper(supervisor.engine),
        producer(caller.engine, &clock) {
    for (std::uint32_t i = 0; i < std::max(1u, o.workers); ++i) hire();
  }

  void hire() { workers.push_back(std::make_unique<Actor>(segment, shm::Role::kWorker, "worker")); }
  std::size_t drain();
  std::size_t advance_to(std::int64_t until_ns);
  bool run_one(std::size_t worker, std::uint32_t queue);
  bool crashes(const std::string& task, CrashAt when);
  void kill(std::size_t worker);
  worker::Outcome call(const std::string& name, Actor& worker, const engine::Lease& lease,
                       const engine::TaskView& task);
  void settle(Actor& worker, const engine::Lease& lease, const engine::TaskView& task, const worker::Outcome& outcome);

  SimulationOptions options;
  TemporaryDirectory directory;
  VirtualClock clock;
  std::shared_ptr<shm::Segment> segment;
  Actor caller, supervisor;
  engine::Keeper keeper;
  api::Producer producer;
  std::vector<std::unique_ptr<Actor>> workers;
  std::map<std::string, SimulatedHandler, std::less<>> handlers;
  std::map<std::string, Crash, std::less<>> crashing;
  std::size_t turn = 0;
};

namespace {

class SimulationPort final : public detail::Port {
 public:
  SimulationPort(api::Producer& producer, const VirtualClock& clock,
                 std::function<std::size_t(std::int64_t)> advance_to, std::function<void()> drain)
      : producer_(producer), clock_(clock), advance_to_(std::move(advance_to)), drain_(std::move(drain)) {}

  detail::Enqueued enqueue(const TaskInfo& task, BytesView payload, bool in_place,
                           const EnqueueOptions* options) noexcept override {
    bool detached = false;
    return producer_.enqueue(task, payload, in_place, options, detached);
  }
  std::unique_ptr<Error> enqueue_many(const TaskInfo& task, std::span<const BytesView> payloads, bool in_place,
                                      const EnqueueOptions* options, detail::Enqueued* ids,
                                      std::size_t& done) noexcept override {
    bool detached = false;
    return producer_.enqueue_many(task, payloads, in_place, options, ids, done, detached);
  }
  Result<std::unique_ptr<detail::LoanedSlot>> loan(const TaskInfo& task, std::size_t payload_bytes, bool in_place,
                                                   const EnqueueOptions* options) noexcept override {
    bool detached = false;
    return producer_.loan(task, payload_bytes, in_place, options, detached);
  }
  Result<detail::Finished> wait(TaskId id, Duration timeout) noexcept override {
    detail::Finished end;
    if (id.epoch != producer_.engine().segment().epoch()) return end;
    const std::int64_t until_ns =
        clock_.monotonic_ns() + std::min<std::int64_t>(timeout.count(), engine::kDefaultResultTtlNs);
    drain_();
    while (!api::finished(producer_.engine(), id, end)) {
      if (clock_.monotonic_ns() >= until_ns) return api::timed_out(id);
      advance_to_(std::min(until_ns, clock_.monotonic_ns() + 1'000'000));
    }
    return end;
  }
  Result<TaskState> state(TaskId id) noexcept override { return api::task_state(producer_.engine(), id); }
  Result<std::optional<Progress>> progress(TaskId id) noexcept override {
    return api::task_progress(producer_.engine(), id);
  }
  Result<TaskState> revoke(TaskId id, bool terminate) noexcept override {
    return api::revoke_task(producer_.engine(), id, terminate, clock_.monotonic_ns());
  }

 private:
  api::Producer& producer_;
  const VirtualClock& clock_;
  std::function<std::size_t(std::int64_t)> advance_to_;
  std::function<void()> drain_;
};

}  // namespace

// What is runnable now, and what that makes runnable, queue by queue and worker by worker.
std::size_t Simulation::State::drain() {
  std::size_t ran = 0;
  for (bool some = true; some;) {
    some = false;
    (void)keeper.step(clock.monotonic_ns());
    for (std::uint32_t queue = 0; queue < shm::queue_total(*segment); ++queue)
      while (run_one(turn % workers.size(), queue)) {
        some = true;
        ++ran;
        ++turn;
      }
  }
  return ran;
}

std::size_t Simulation::State::advance_to(std::int64_t until_ns) {
  std::size_t ran = drain();
  while (clock.monotonic_ns() < until_ns) {
    for (auto& worker : workers) worker->participant->beat();
    const std::int64_t next_ns = keeper.step(clock.monotonic_ns());
    clock.move_to(std::min(std::max(next_ns, clock.monotonic_ns() + 1), until_ns));
    ran += drain();
  }
  return ran;
}

bool Simulation::State::crashes(const std::string& task, CrashAt when) {
  const auto found = crashing.find(task);
  if (found == crashing.end() || found->second.when != when || found->second.times <= 0) return false;
  --found->second.times;
  return true;
}

// As the kernel's signal and proof would have it: what it held is redelivered, its place is free, and
// another process takes over.
void Simulation::State::kill(std::size_t worker) {
  (void)supervisor.engine.redeliver_held(workers[worker]->participant->index(), clock.monotonic_ns());
  workers[worker] = nullptr;
  workers[worker] = std::make_unique<Actor>(segment, shm::Role::kWorker, "worker");
}

bool Simulation::State::run_one(std::size_t at, std::uint32_t queue) {
  Actor& worker = *workers[at];
  const std::int64_t now_ns = clock.monotonic_ns();
  engine::Lease lease;
  if (worker.engine.claim(queue, &lease, 1, now_ns) == 0) return false;
  engine::TaskView task;
  if (!worker.engine.view(lease, task)) return true;
  const std::string name(shm::task_name(*segment, task.task));
  if (worker.engine.begin(lease, task, now_ns) != engine::Begin::kStart) return true;
  if (crashes(name, CrashAt::kBeforeHandler)) {
    kill(at);
    return true;
  }
  const worker::Outcome outcome = call(name, worker, lease, task);
  if (crashes(name, CrashAt::kAfterHandler)) {
    kill(at);
    return true;
  }
  settle(worker, lease, task, outcome);
  worker.participant->row().current.store(0, std::memory_order_release);
  return true;
}

worker::Outcome Simulation::State::call(const std::string& name, Actor& worker, const engine::Lease& lease,
                                        const engine::TaskView& task) {
  const auto handler = handlers.find(name);
  if (handler == handlers.end())
    return worker::Outcome::fail_permanently("unregistered-task", "no handler for \"" + name + "\"");
  worker::TaskContext context(worker.engine, lease, task, {}, clock.monotonic_ns(), nullptr);
  try {
    return api::run_handler(handler->second.run, handler->second.retry_delay, context, &clock);
  } catch (const std::exception& e) {
    return worker::Outcome::fail(api::error_kind(e), e.what());
  } catch (...) {
    return worker::Outcome::fail("unknown exception", "an exception without a message");
  }
}

void Simulation::State::settle(Actor& worker, const engine::Lease& lease, const engine::TaskView& task,
                               const worker::Outcome& outcome) {
  using Kind = worker::Outcome::Kind;
  const std::int64_t now_ns = clock.monotonic_ns();
  const engine::Failure failure{outcome.error_kind(), outcome.message()};
  bool retried = false;
  engine::Settled settled = engine::Settled::kDone;
  switch (outcome.kind()) {
    case Kind::kSuccess: settled = worker.engine.succeed(lease, task, outcome.result(), now_ns); break;
    case Kind::kRetry: settled = worker.engine.fail(lease, task, failure, outcome.delay_ns(), now_ns, retried); break;
    case Kind::kFail: settled = worker.engine.fail(lease, task, failure, -1, now_ns, retried); break;
    case Kind::kSnooze: settled = worker.engine.snooze(lease, task, outcome.delay_ns(), now_ns); break;
    case Kind::kDiscard: settled = worker.engine.cancel(lease, task, shm::Counter::kCancelled, failure, now_ns); break;
    case Kind::kFailPermanently: {
      engine::DeadReason reason = engine::DeadReason::kPermanentFailure;
      (void)engine::parse_dead_reason(outcome.error_kind(), reason);
      settled = worker.engine.bury(lease, task, reason, failure, now_ns);
      break;
    }
  }
  (void)settled;  // fenced: the lease was lost meanwhile, and its outcome is void
}

Simulation::Simulation(const SimulationOptions& options) : Simulation(std::make_unique<State>(options)) {}
Simulation::Simulation(std::unique_ptr<State> state)
    : state_(std::move(state)),
      client_(std::make_unique<SimulationPort>(
          state_->producer, state_->clock,
          [s = state_.get()](std::int64_t until_ns) { return s->advance_to(until_ns); },
          [s = state_.get()] { (void)s->drain(); })) {}
Simulation::~Simulation() = default;
Simulation::Simulation(Simulation&&) noexcept = default;

void Simulation::add(const TaskInfo& task, detail::RawHandler handler, RetryDelay retry_delay) {
  if (auto good = api::check_task(task); !good) throw std::runtime_error("simulation: " + good.error().message);
  state_->handlers[std::string(task.name)] = {std::move(handler), std::move(retry_delay)};
}

std::size_t Simulation::drain() { return state_->drain(); }
std::size_t Simulation::advance(Duration time) {
  return state_->advance_to(state_->clock.monotonic_ns() + time.count());
}
Duration Simulation::now() const { return Duration(state_->clock.passed_ns()); }
void Simulation::crash_named(std::string task, CrashAt when, int times) {
  state_->crashing[std::move(task)] = {when, times};
}

std::string Simulation::broken_invariants() {
  std::string text;
  for (const engine::Finding& f : engine::verify(state_->supervisor.engine).findings)
    if (f.severity == engine::Finding::Severity::kBroken) text += f.invariant + ": " + f.detail + "\n";
  return text;
}

}  // namespace stem::testing
