#include "tests/simulation/virtual_host.hpp"

#include <fmt/format.h>

#include "engine/outbox.hpp"
#include "federation/payload_text.hpp"
#include "shm/names.hpp"
#include "tests/support/scratch.hpp"

namespace stem::simulation {
namespace {

constexpr std::int64_t kTickNs = 100 * kMillisecondNs;
constexpr std::int64_t kBootNs = 5'000 * kSecondNs;  // before the history began

}  // namespace

VirtualHost::VirtualHost(Timeline& time, Diary& diary, VirtualServer& server, Accounts& accounts, base::Random random,
                         HostOptions options)
    : time_(time),
      diary_(diary),
      server_(server),
      accounts_(accounts),
      random_(random),
      options_(std::move(options)),
      start_ns_(kBootNs * (1 + options_.number % 7)) {
  make_segment();
  supervisor_ = std::make_unique<test::Attached>(segment_);
  supervisor_->participant->random() = base::Random(random_.next());
  keeper_ = std::make_unique<engine::Keeper>(**supervisor_);
  queue_ = test::must_queue(*segment_, "q");
  task_ = test::must_task(*segment_, "count");
  workers_.resize(options_.workers);
  for (Worker& worker : workers_) start_worker(worker);
  time_.after(0, [this, alive = alive_] { *alive ? tick() : void(); });
}

VirtualHost::~VirtualHost() {
  *alive_ = false;
  gateway_.reset();
}

// What is random or of the clock in a new segment is what the seed says: so that a seed is one history.
void VirtualHost::make_segment() {
  shm::SegmentOptions options;
  options.name_space = fmt::format("host-{}", options_.number);
  options.directory = options_.directory;
  options.slot_count = 1024;
  options.participant_count = 8;
  options.queue_count = 1;
  options.task_count = 4;
  options.block_bytes = 8 << 20;
  {
    const auto made = test::must_create(options);
    shm::Header& header = made->header();
    header.epoch = 1 + options_.number;
    header.created_monotonic_ns = now_ns();
    header.created_realtime_ns = (kEpochUs + options_.number) * 1000;
  }
  segment_ = test::must_attach(options.name_space, options.directory);
  (void)shm::Segment::destroy(options.name_space, options.directory);
}

federation::Clocks VirtualHost::clocks() const {
  return {now_ns(), kEpochUs + time_.now_ns() / 1000 + options_.wall_skew_us};
}

// The kernel frees its lock; its row stays as it is, and what it held.
void VirtualHost::kill(std::unique_ptr<test::Attached>& process) {
  if (process == nullptr) return;
  shm::RosterRow& row = process->participant->row();
  row.status.store(shm::row_status(process->participant->incarnation(), shm::RowState::kDead));
  process.reset();
}

// ---- the gateway

void VirtualHost::start_gateway() {
  if (gateway_ != nullptr) return;
  diary_.note("host {}: gateway starts", options_.number);
  gateway_ =
      std::make_unique<VirtualGateway>(*this, server_, time_, diary_, random_.next(), options_.gateway, ++gateways_);
  gateway_->start();
}

void VirtualHost::kill_gateway() {
  if (gateway_ == nullptr) return;
  diary_.note("host {}: gateway killed", options_.number);
  gateway_.reset();
}

// ---- producer

std::uint64_t VirtualHost::open(const Plan& plan) {
  const std::uint64_t number = accounts_.open(options_.number, plan);
  accounts_.at(number).held = plan.awaited || options_.gateway.hold == federation::Hold::kUntilDone;
  accounts_.at(number).replicated = options_.gateway.replicas > 0;
  return number;
}

bool VirtualHost::enqueue(const Plan& plan) {
  const std::uint64_t number = open(plan);
  const std::string payload = fmt::format("{{\"n\":{}}}", number);
  engine::TaskSpec spec;
  engine::TaskExtras extras;
  spec.queue = queue_;
  spec.task = task_;
  spec.priority = plan.priority;
  spec.payload = std::as_bytes(std::span(payload));
  spec.keep_result = plan.awaited;
  if (plan.delay_ns > 0) spec.due_ns = now_ns() + plan.delay_ns;
  if (plan.visibility_ns != 0) {
    extras.visibility_ns = plan.visibility_ns;
    spec.extras = &extras;
  }
  if (plan.unique_key != 0) {
    extras.unique_key = plan.unique_key;
    extras.unique_everywhere = true;
    spec.extras = &extras;
  }
  if (plan.concurrency_key != 0) {
    extras.concurrency_key = plan.concurrency_key;
    extras.concurrency_limit = kPlaces;
    extras.limits_fail_closed = true;
    spec.extras = &extras;
  }
  const auto made = (*supervisor_)->enqueue(spec, now_ns());
  if (made.status == engine::EnqueueStatus::kDuplicate) {  // a task of this host has its key
    accounts_.at(number).plan.awaited = false;
    accounts_.duplicate(number);
    return true;
  }
  if (made.status != engine::EnqueueStatus::kOk) {
    accounts_.violation(fmt::format("host {} has no room for task {}", options_.number, number));
    return false;
  }
  accounts_.at(number).id = made.id;
  this->made(number);
  return true;
}

void VirtualHost::made(std::uint64_t number) {
  diary_.note("host {} makes task {}", options_.number, number);
  look_for_work();
  if (gateway_ != nullptr) gateway_->wake(static_cast<std::int64_t>(random_.below(2 * kMillisecondNs)));
}

void VirtualHost::enqueue_run(std::vector<Plan> plans) {
  std::vector<std::string> payloads;
  std::vector<engine::TaskSpec> specs;
  std::vector<std::uint64_t> numbers;
  for (Plan& plan : plans) {
    plan.awaited = false;
    plan.delay_ns = plan.visibility_ns = 0;
    plan.unique_key = plan.concurrency_key = 0;
    plan.priority = plans.front().priority;
    numbers.push_back(open(plan));
    payloads.push_back(fmt::format("{{\"n\":{}}}", numbers.back()));
  }
  for (const std::string& payload : payloads) {
    engine::TaskSpec& spec = specs.emplace_back();
    spec.queue = queue_;
    spec.task = task_;
    spec.priority = plans.front().priority;
    spec.payload = std::as_bytes(std::span(payload));
  }
  std::size_t done = 0;
  if ((*supervisor_)->enqueue_many(specs.data(), specs.size(), nullptr, done, now_ns()) != engine::EnqueueStatus::kOk)
    accounts_.violation(fmt::format("host {} has no room for a run of tasks", options_.number));
  for (const std::uint64_t number : numbers) made(number);
}

// ---- workers

void VirtualHost::start_worker(Worker& worker) {
  worker.self = std::make_unique<test::Attached>(segment_, shm::Role::kWorker);
  worker.self->participant->random() = base::Random(random_.next());
  (*worker.self)->self().row().serves_all.store(1);
  worker.busy = false;
  ++worker.life;
}

void VirtualHost::look_for_work() {
  if (stopped_) return;
  for (std::size_t i = 0; i < workers_.size(); ++i)
    if (!workers_[i].busy) claim(i);
}

void VirtualHost::claim(std::size_t index) {
  Worker& worker = workers_[index];
  engine::Engine& engine = **worker.self;
  while (!worker.busy && engine.has_hint(queue_) && engine.claim(queue_, &worker.lease, 1, now_ns()) == 1) {
    if (!engine.view(worker.lease, worker.view)) continue;
    if (engine.begin(worker.lease, worker.view, now_ns()) != engine::Begin::kStart) {
      if (gateway_ != nullptr) gateway_->wake(static_cast<std::int64_t>(random_.below(200 * kMicrosecondNs)));
      continue;
    }
    std::string payload(reinterpret_cast<const char*>(worker.view.payload.data()), worker.view.payload.size());
    if (const auto json = federation::json_of_message_pack(payload)) payload = *json;
    if (!Accounts::number_in(payload, worker.number)) {
      accounts_.violation(fmt::format("host {} was given a payload that nobody made: {}", options_.number, payload));
      continue;
    }
    worker.busy = true;
    accounts_.started(worker.number, options_.number);
    time_.after(accounts_.at(worker.number).plan.duration_ns, [this, alive = alive_, index, life = worker.life] {
      if (*alive) end(index, life);
    });
  }
}

void VirtualHost::end(std::size_t index, std::uint64_t life) {
  Worker& worker = workers_[index];
  if (worker.life != life) return;
  if (stopped_)
    return time_.at(stopped_until_ns_, [this, alive = alive_, index, life] { *alive ? end(index, life) : void(); });
  worker.busy = false;
  engine::Engine& engine = **worker.self;
  const TaskAccount& task = accounts_.at(worker.number);
  engine::Settled settled = engine::Settled::kDone;
  if (task.plan.conduct == Conduct::kFailForGood) {
    settled = engine.bury(worker.lease, worker.view, engine::DeadReason::kPermanentFailure,
                          {"broken", fmt::format("{{\"n\":{}}}", worker.number)}, now_ns());
    if (settled == engine::Settled::kDone) accounts_.buried(worker.number, options_.number);
  } else if (task.plan.conduct == Conduct::kFailOnce && worker.view.tally.attempts == 0) {
    bool retried = false;
    settled = engine.fail(worker.lease, worker.view, {"hiccup", "once"}, 200 * kMillisecondNs, now_ns(), retried);
    if (settled == engine::Settled::kDone)
      retried ? accounts_.failed(worker.number, options_.number) : accounts_.buried(worker.number, options_.number);
  } else {
    const std::string result = fmt::format("{{\"ran\":{}}}", worker.number);
    settled = engine.succeed(worker.lease, worker.view, std::as_bytes(std::span(result)), now_ns());
    if (settled == engine::Settled::kDone) accounts_.succeeded(worker.number, options_.number);
  }
  if (settled == engine::Settled::kFenced) accounts_.refused(worker.number, options_.number);
  if (gateway_ != nullptr) gateway_->wake(static_cast<std::int64_t>(random_.below(200 * kMicrosecondNs)));
  look_for_work();
}

void VirtualHost::kill_worker(std::uint64_t choice) {
  if (stopped_ || workers_.empty()) return;
  Worker& worker = workers_[choice % workers_.size()];
  diary_.note("host {}: a worker is killed{}", options_.number,
              worker.busy ? fmt::format(" with task {}", worker.number) : std::string());
  if (worker.busy) accounts_.may_repeat(worker.number);
  kill(worker.self);
  (void)(*supervisor_)->sweep_all(now_ns());
  start_worker(worker);
  look_for_work();
}

// ---- the host

// What a supervisor does: the keeper's work, and the life signs of its workers.
void VirtualHost::tick() {
  time_.after(kTickNs, [this, alive = alive_] { *alive ? tick() : void(); });
  if (stopped_) return;
  supervisor_->participant->beat();
  for (Worker& worker : workers_) worker.self->participant->beat();
  (void)keeper_->step(now_ns());
  look_for_work();
}

void VirtualHost::stop(std::int64_t for_ns) {
  if (stopped_) return;
  diary_.note("host {} stands still", options_.number);
  stopped_ = true;
  stopped_until_ns_ = time_.now_ns() + for_ns;
  time_.after(for_ns, [this, alive = alive_] {
    if (!*alive) return;
    diary_.note("host {} goes on", options_.number);
    stopped_ = false;
    if (gateway_ != nullptr) gateway_->resume();
    look_for_work();
  });
}

// ---- the end

std::string VirtualHost::leftovers(std::uint64_t may_wait) {
  std::string text;
  if (const auto n = test::slots_in(*segment_, shm::State::kOutbox); n > may_wait)
    text += fmt::format("host {}: {} tasks are still in the outbox\n", options_.number, n);
  for (const shm::State state : {shm::State::kReady, shm::State::kDelayed, shm::State::kLeased, shm::State::kSettling,
                                 shm::State::kRetiring, shm::State::kWaiting})
    if (const auto n = test::slots_in(*segment_, state); n > 0)
      text += fmt::format("host {}: {} slots in state {}\n", options_.number, n, static_cast<int>(state));
  engine::Outbox outbox(**supervisor_);
  outbox.each_import([&](engine::TaskId id, const engine::TaskExtras& extras) {
    text += fmt::format("host {}: task {} is still here, from {}\n", options_.number, to_string(id), extras.origin);
  });
  return text;
}

engine::ResultState VirtualHost::result_of(std::uint64_t number, std::string& text) {
  std::vector<std::byte> bytes;
  engine::FailureRecord failure{};
  const auto state = engine::read_result(**supervisor_, accounts_.at(number).id, bytes, failure);
  text = state == engine::ResultState::kSucceeded
             ? std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())
             : fmt::format("{}: {}", failure.kind(), failure.message());
  return state;
}

}  // namespace stem::simulation
