#include "tests/simulation/cluster.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "federation/scripts.hpp"
#include "tests/simulation/weather.hpp"

namespace stem::simulation {
namespace {

constexpr std::int64_t kLookNs = 250 * kMillisecondNs;
constexpr std::int64_t kPatienceNs = 600 * kSecondNs;  // of virtual time, after the last fault

class Cluster {
 public:
  explicit Cluster(const SimulationOptions& options);
  Outcome run();

 private:
  void make_hosts();
  void plan_tasks();
  void plan_faults();
  Plan draw_plan();
  void make_tasks(std::size_t host, const std::vector<Plan>& plans);
  void make_outside(const Plan& plan);
  void send_outside(std::uint64_t number);
  void lie_in_wait(std::uint32_t host, const std::vector<std::string>& argv);
  void strike(Fault fault, std::size_t index);
  void lose_host(std::uint32_t host);
  void watch_commands();
  void watch_credit();
  void watch_duplicates();
  bool keys_are_free() const;
  std::uint64_t may_wait(std::uint32_t host) const;
  bool is_over() const;
  bool redis_is_empty() const;
  void judge();
  std::vector<std::string> missing_results() const;
  bool is_told_outside(std::uint64_t number) const;
  void judge_letters();
  std::size_t any_host() { return random_.below(hosts_.size()); }

  SimulationOptions options_;
  base::Random random_;
  base::Random key_random_;  // apart: histories without unique keys are what they would be without it
  Climate climate_;
  federation::UniqueKeys unique_keys_ = federation::UniqueKeys::kOfHost;
  bool shared_limits_ = false;
  Timeline time_;
  Diary diary_;
  Accounts accounts_;
  NetworkOptions network_;
  VirtualServer server_;
  federation::Keys keys_{"stem"};
  std::vector<std::unique_ptr<VirtualHost>> hosts_;  // null: lost
  std::vector<Fault> waiting_faults_;                // for a moment that hurts
  Outcome outcome_;
};

std::string outside_id(std::uint64_t number) { return fmt::format("outside-{}", number); }

NetworkOptions draw_network(base::Random& random) {
  NetworkOptions network;
  network.least_delay_ns = static_cast<std::int64_t>(20 + random.below(200)) * kMicrosecondNs;
  network.most_delay_ns = network.least_delay_ns * static_cast<std::int64_t>(1 + random.below(20));
  network.slow_in = random.below(2) == 0 ? 0 : 100;
  return network;
}

Cluster::Cluster(const SimulationOptions& options)
    : options_(options),
      random_(base::mix64(options.seed)),
      key_random_(base::mix64(options.seed ^ 0x6b657973)),
      climate_(draw_climate(random_)),
      diary_(time_, options.trace),
      accounts_(diary_),
      network_(draw_network(random_)),
      server_(time_, diary_, base::Random(random_.next()), network_) {
  if (options.hosts != 0) climate_.hosts = options.hosts;
  if (options.tasks_per_host != 0) climate_.tasks_per_host = options.tasks_per_host;
  if (options.producing_ns != 0) climate_.producing_ns = options.producing_ns;
  if (climate_.hosts > 20) climate_.faults *= climate_.hosts / 10;
  server_.on_rollback = [this](const ModelRedis& before, const ModelRedis& after, bool to_replica) {
    accounts_.rolled_back(before, after, to_replica);
  };
  if (climate_.weather == Weather::kRough) server_.keep_history();
  outcome_.seed = options.seed;
  outcome_.weather = to_string(climate_.weather);
  diary_.note("seed {}: {} weather, {} hosts", options.seed, outcome_.weather, climate_.hosts);
}

void Cluster::make_hosts() {
  constexpr federation::UniqueKeys kKinds[] = {federation::UniqueKeys::kOfHost, federation::UniqueKeys::kFailOpen,
                                               federation::UniqueKeys::kFailClosed};
  unique_keys_ = kKinds[key_random_.below(std::size(kKinds))];
  // A host that cannot ask, and be it at its start, runs them unasked, unless it was told to wait.
  if (unique_keys_ == federation::UniqueKeys::kFailClosed && climate_.once()) accounts_.expect_exclusive_keys();
  shared_limits_ = key_random_.below(2) == 0;
  if (shared_limits_ && climate_.once()) accounts_.expect_places();
  const bool local_first = random_.below(2) == 0;
  for (std::uint32_t i = 0; i < climate_.hosts; ++i) {
    HostOptions host;
    host.number = i;
    host.directory = options_.directory;
    host.workers = static_cast<std::uint32_t>(i == 0 ? 1 + random_.below(3) : random_.below(4));
    host.wall_skew_us = random_.below(3) == 0 ? static_cast<std::int64_t>(random_.below(600'000'000)) - 300'000'000 : 0;
    host.gateway.policy = local_first ? federation::Policy::kLocalFirst : federation::Policy::kGlobal;
    host.gateway.hold = random_.below(4) == 0 ? federation::Hold::kUntilDone : federation::Hold::kUntilReceived;
    host.gateway.unique_keys = unique_keys_;
    host.gateway.shared_limits = shared_limits_;
    host.gateway.replicas = random_.below(4) == 0 ? 1 : 0;
    host.gateway.prefetch_multiplier = static_cast<std::uint32_t>(1 + random_.below(6));
    host.gateway.poll_ns = static_cast<std::int64_t>(1 + random_.below(30)) * kMillisecondNs;
    host.gateway.canary = options_.canary;
    hosts_.push_back(std::make_unique<VirtualHost>(time_, diary_, server_, accounts_, base::Random(random_.next()),
                                                   std::move(host)));
    hosts_.back()->start_gateway();
  }
}

Plan Cluster::draw_plan() {
  Plan plan;
  const std::int64_t most_ns = random_.below(10) == 0 ? climate_.longest_task_ns : 50 * kMillisecondNs;
  plan.duration_ns = kMillisecondNs + static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(most_ns)));
  const std::uint64_t conduct = random_.below(20);
  plan.conduct = conduct == 0 ? Conduct::kFailForGood : conduct < 3 ? Conduct::kFailOnce : Conduct::kSucceed;
  plan.awaited = random_.below(3) == 0;
  plan.priority = static_cast<std::uint8_t>(random_.below(2) == 0 ? 0 : random_.below(10));
  plan.visibility_ns = climate_.visibility_ns;
  plan.delay_ns = random_.below(10) == 0 ? static_cast<std::int64_t>(random_.below(3 * kSecondNs)) : 0;
  if (unique_keys_ != federation::UniqueKeys::kOfHost && key_random_.below(3) == 0) {
    plan.unique_key = 1 + key_random_.below(4);
    plan.awaited = true;  // else nobody is told of a duplicate
  }
  if (shared_limits_ && key_random_.below(3) == 0) plan.concurrency_key = 1 + key_random_.below(2);
  return plan;
}

void Cluster::plan_tasks() {
  const std::uint64_t total = std::uint64_t{climate_.tasks_per_host} * climate_.hosts;
  for (std::uint64_t made = 0; made < total;) {
    const auto when_ns = static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(climate_.producing_ns)));
    std::vector<Plan> plans(random_.below(8) == 0 ? 2 + random_.below(12) : 1);
    for (Plan& plan : plans) plan = draw_plan();
    made += plans.size();
    if (random_.below(6) == 0)
      time_.at(when_ns, [this, plan = plans[0]] { make_outside(plan); });
    else
      time_.at(when_ns, [this, plans, host = any_host()] { make_tasks(host, plans); });
  }
}

void Cluster::make_tasks(std::size_t index, const std::vector<Plan>& plans) {
  VirtualHost* host = hosts_[index].get();
  if (host == nullptr || host->is_stopped()) return;
  if (plans.size() > 6) return host->enqueue_run(plans);
  for (const Plan& plan : plans) (void)host->enqueue(plan);
}

// A program of another kind that shares the queue: it writes into a lane, or into the delayed set.
void Cluster::make_outside(const Plan& plan) {
  Plan own = plan;
  own.unique_key = own.concurrency_key = 0;  // such a program does not know them
  const std::uint64_t number = accounts_.open(kOutside, own);
  diary_.note("task {} is made outside", number);
  send_outside(number);
}

void Cluster::send_outside(std::uint64_t number) {
  const Plan& plan = accounts_.at(number).plan;
  const std::string id = outside_id(number), args = fmt::format("{{\"n\":{}}}", number);
  federation::EnvelopeView envelope;
  envelope.id = id;
  envelope.name = "count";
  envelope.queue = "q";
  envelope.args = args;
  envelope.priority = plan.priority;
  envelope.enqueued_at_us = server_.now_us();
  envelope.visibility_timeout_ms = plan.visibility_ns / kMillisecondNs;
  std::vector<std::string> argv;
  if (plan.delay_ns > 0) {
    std::string member;
    federation::append_json(member, envelope);
    argv = {"ZADD", keys_.delayed("q"), fmt::to_string((server_.now_us() + plan.delay_ns / 1000) / 1000), member};
  } else {
    const federation::StreamFields fields(envelope);
    std::vector<std::string_view> words{"XADD", "", "*"};
    fields.append_to(words);
    argv.assign(words.begin(), words.end());
    argv[1] = keys_.stream("q", plan.priority);
  }
  if (!server_.from_outside(argv)) time_.after(100 * kMillisecondNs, [this, number] { send_outside(number); });
}

// ---- faults

void Cluster::plan_faults() {
  for (std::uint32_t i = 0; i < climate_.faults; ++i) {
    const Fault fault = draw_fault(random_, climate_.weather);
    const auto when_ns = static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(climate_.producing_ns)));
    const bool waits = random_.below(2) == 0;
    time_.at(when_ns, [this, fault, waits] { waits ? waiting_faults_.push_back(fault) : strike(fault, any_host()); });
  }
  outcome_.faults = climate_.faults;
}

// A fault hurts most while something is on its way.
void Cluster::lie_in_wait(std::uint32_t host, const std::vector<std::string>& argv) {
  if (waiting_faults_.empty() || (argv[0] != "XADD" && argv[0] != "EVAL") || random_.below(4) != 0) return;
  const Fault fault = waiting_faults_.back();
  waiting_faults_.pop_back();
  time_.after(static_cast<std::int64_t>(random_.below(2 * static_cast<std::uint64_t>(network_.most_delay_ns))),
              [this, fault, host] { strike(fault, host); });
}

void Cluster::strike(Fault fault, std::size_t index) {
  VirtualHost* host = hosts_[index].get();
  const std::int64_t for_ns = draw_length_ns(random_, climate_.weather);
  const std::uint64_t choice = random_.next();
  if (host == nullptr) return;
  diary_.note("FAULT: {} (host {}, {} ms)", to_string(fault), index, for_ns / kMillisecondNs);
  switch (fault) {
    case Fault::kBreakLink: return server_.break_link(choice);
    case Fault::kPartition: return server_.partition(host->number(), for_ns);
    case Fault::kSlowHost:
      server_.slow_down(host->number(), for_ns / 10);
      return time_.after(for_ns, [this, n = host->number()] { server_.slow_down(n, 0); });
    case Fault::kKillGateway:
      if (host->is_stopped()) return;
      host->kill_gateway();
      return time_.after(for_ns, [this, index] {
        if (hosts_[index] != nullptr) hosts_[index]->start_gateway();
      });
    case Fault::kStopRedis: return server_.stop(for_ns);
    case Fault::kKillRedis: return server_.crash(for_ns / 2, 0, for_ns / 2);
    case Fault::kKillWorker: return host->kill_worker(choice);
    case Fault::kStopHost: return host->stop(for_ns);
    case Fault::kLoseHost: return lose_host(static_cast<std::uint32_t>(index));
    case Fault::kKillRedisEverySecond:
      return server_.crash(for_ns / 2, static_cast<std::int64_t>(choice % kSecondNs), for_ns / 2);
    case Fault::kFailOver: return server_.fail_over(static_cast<std::int64_t>(choice % kMostLagNs), for_ns / 10);
    case Fault::kFlush: return server_.flush();
    case Fault::kFillUp: return server_.fill_up(for_ns);
  }
}

// With everything that was only there. The cluster keeps at least one host with workers.
void Cluster::lose_host(std::uint32_t host) {
  if (host == 0) return;
  accounts_.host_lost(host);
  hosts_[host].reset();
}

// ---- while it runs

// An end that is told without asking is told by the consumer whose entry it is. What was said in time and came late,
// when another had it already, does no harm: the task has ended.
void Cluster::watch_commands() {
  server_.on_sent = [this](std::uint32_t host, const std::vector<std::string>& argv) { lie_in_wait(host, argv); };
  server_.on_command = [this](const std::string& client, Words words, std::int64_t sent_ns) {
    if (words[0] != "EVAL" || words[1] != federation::kSettleManyScript) return;
    const auto keys = static_cast<std::size_t>(std::stoul(std::string(words[2])));
    const Stream* stream = server_.model().stream(words[3]);
    const Words args = words.subspan(3 + keys);
    if (stream == nullptr || !stream->groups.contains(args[0])) return;
    const Group& group = stream->groups.find(args[0])->second;
    for (const std::string_view entry : args.subspan(5, std::stoul(std::string(args[4])))) {
      const auto pending = group.pending.find(*EntryId::parse(entry, 0));
      if (pending == group.pending.end() || client.find(pending->second.consumer) != client.npos) continue;
      ++outcome_.foreign_ends;
      diary_.note("{} ends an entry of {}", client, pending->second.consumer);
      if (kEpochUs / 1000 + sent_ns / kMillisecondNs > pending->second.delivered_ms)
        accounts_.violation(fmt::format("{} has not asked whether the entry still was its own", client));
    }
  };
}

void Cluster::watch_credit() {
  for (const auto& host : hosts_) {
    if (host == nullptr || host->gateway() == nullptr) continue;
    const std::uint64_t here = host->gateway()->importer().here(), room = host->gateway()->room();
    if (room > 0 && here > room) outcome_.most_over = std::max(outcome_.most_over, here - room);
  }
}

// A task that is told to be one, whose key another had.
void Cluster::watch_duplicates() {
  for (std::uint64_t number = 0; number < accounts_.tasks().size(); ++number) {
    const TaskAccount& task = accounts_.tasks()[number];
    if (task.plan.unique_key == 0 || task.ended() || hosts_[task.origin] == nullptr) continue;
    std::string text;
    if (hosts_[task.origin]->result_of(number, text) == engine::ResultState::kCancelled &&
        text.starts_with("duplicate"))
      accounts_.duplicate(number);
  }
}

// ---- the end

// Whoever had one has ended.
bool Cluster::keys_are_free() const {
  for (std::uint64_t key = 1; key <= 4; ++key)
    if (server_.model().text(keys_.unique("q", fmt::format("{:016x}", key))) != nullptr) return false;
  return true;
}

std::uint64_t Cluster::may_wait(std::uint32_t host) const {
  return static_cast<std::uint64_t>(
      std::count_if(accounts_.tasks().begin(), accounts_.tasks().end(), [host](const TaskAccount& task) {
        return task.origin == host && task.held && (task.may_be_lost || task.result_may_be_lost);
      }));
}

bool Cluster::redis_is_empty() const {
  const ModelRedis& model = server_.model();
  for (int lane = 0; lane < federation::kLanes; ++lane) {
    const Stream* stream = model.stream(keys_.stream("q", lane));
    if (stream == nullptr) continue;
    if (!stream->entries.empty()) return false;
    for (const auto& [name, group] : stream->groups)
      if (!group.pending.empty()) return false;
  }
  const auto* delayed = model.sorted(keys_.delayed("q"));
  return delayed == nullptr || delayed->empty();
}

bool Cluster::is_over() const {
  for (const TaskAccount& task : accounts_.tasks())
    if (!task.ended() && !task.may_be_lost) return false;
  if (!redis_is_empty() || !missing_results().empty()) return false;
  return std::all_of(hosts_.begin(), hosts_.end(), [this](const auto& host) {
    return host == nullptr || host->leftovers(may_wait(host->number())).empty();
  });
}

void Cluster::judge() {
  accounts_.check_runs(climate_.once());
  if (!redis_is_empty()) accounts_.violation("Redis still holds entries, or counts some as pending");
  for (const auto& host : hosts_) {
    if (host == nullptr) continue;
    if (const std::string left = host->leftovers(may_wait(host->number())); !left.empty()) accounts_.violation(left);
    if (const std::string broken = test::broken_invariants(host->engine()); !broken.empty())
      accounts_.violation(fmt::format("host {}: {}", host->number(), broken));
  }
  if (climate_.once() && !keys_are_free()) accounts_.violation("a unique key is held, and all have ended");
  for (const std::string& missing : missing_results()) accounts_.violation(missing);
  if (climate_.once()) judge_letters();
  if (climate_.once() && outcome_.foreign_ends > 0)
    accounts_.violation(fmt::format("{} ends were told of entries of others", outcome_.foreign_ends));
}

// Results that are waited for, were not lost, and are not what they should be.
std::vector<std::string> Cluster::missing_results() const {
  std::vector<std::string> missing;
  for (std::uint64_t number = 0; number < accounts_.tasks().size(); ++number) {
    const TaskAccount& task = accounts_.tasks()[number];
    if (!task.plan.awaited || task.result_may_be_lost || task.duplicate) continue;
    if (task.origin == kOutside) {
      if (!is_told_outside(number)) missing.push_back(fmt::format("the result of task {} is not in Redis", number));
      continue;
    }
    if (hosts_[task.origin] == nullptr) continue;
    std::string text;
    const auto state = hosts_[task.origin]->result_of(number, text);
    const bool fails = task.plan.conduct == Conduct::kFailForGood || task.burials > 0;
    // It has run, its end was lost with Redis, and by the time it was sent again another had its key.
    const bool late = task.plan.unique_key != 0 && task.may_repeat && state == engine::ResultState::kCancelled &&
                      text.starts_with("duplicate");
    const bool good = late ? true
                      : fails
                          ? state == engine::ResultState::kFailed || state == engine::ResultState::kDead
                          : state == engine::ResultState::kSucceeded && text == fmt::format("{{\"ran\":{}}}", number);
    if (!good)
      missing.push_back(
          fmt::format("the result of task {} did not come home: state {}, {}", number, static_cast<int>(state), text));
  }
  return missing;
}

bool Cluster::is_told_outside(std::uint64_t number) const {
  const std::string* status = server_.model().text(keys_.result("q", outside_id(number)));
  if (status == nullptr) return false;
  const bool ran = status->find(fmt::format("\"ran\":{}", number)) != status->npos;
  return ran == (accounts_.tasks()[number].burials == 0);
}

// Each task that was to fail is one dead letter, here or there.
void Cluster::judge_letters() {
  std::uint64_t letters = 0, buried = 0;
  for (const auto& host : hosts_) letters += host == nullptr ? 0 : test::slots_in(*host->segment(), shm::State::kDead);
  if (const auto* list = server_.model().list(keys_.dead("q"))) letters += list->size();
  for (const TaskAccount& task : accounts_.tasks()) buried += task.burials;
  if (letters != buried) accounts_.violation(fmt::format("{} dead letters of {} tasks", letters, buried));
}

Outcome Cluster::run() {
  make_hosts();
  plan_tasks();
  plan_faults();
  watch_commands();
  const std::int64_t least_ns = climate_.producing_ns + kSecondNs;
  const std::int64_t most_ns = climate_.producing_ns + kPatienceNs;
  std::int64_t until_ns = 0;
  do {
    until_ns += kLookNs;
    time_.run_until(until_ns);
    watch_credit();
    watch_duplicates();
  } while (until_ns < least_ns || (!is_over() && until_ns < most_ns));
  judge();
  outcome_.violations = accounts_.violations();
  outcome_.diary = diary_.last();
  outcome_.digest = diary_.digest();
  outcome_.events = time_.events();
  outcome_.commands = server_.commands();
  outcome_.tasks = accounts_.tasks().size();
  outcome_.virtual_ns = time_.now_ns();
  for (const TaskAccount& task : accounts_.tasks()) {
    outcome_.lost += !task.ended();
    outcome_.repeated += task.successes + task.burials > 1;
  }
  return outcome_;
}

}  // namespace

Outcome simulate(const SimulationOptions& options) { return Cluster(options).run(); }

}  // namespace stem::simulation
