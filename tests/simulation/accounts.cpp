#include "tests/simulation/accounts.hpp"

#include <charconv>
#include <utility>

namespace stem::simulation {
namespace {

constexpr std::string_view kMark = "{\"n\":";

// Numbers of the tasks that a Redis holds: in its streams and delayed.
std::set<std::uint64_t> numbers_in(const ModelRedis& redis) {
  std::set<std::uint64_t> numbers;
  std::uint64_t number = 0;
  for (const std::string& key : redis.keys()) {
    if (const Stream* stream = redis.stream(key))
      for (const auto& [id, fields] : stream->entries)
        for (const std::string& field : fields)
          if (Accounts::number_in(field, number)) numbers.insert(number);
    if (const auto* sorted = redis.sorted(key))
      for (const auto& [member, score] : *sorted)
        if (Accounts::number_in(member, number)) numbers.insert(number);
  }
  return numbers;
}

}  // namespace

bool Accounts::number_in(std::string_view text, std::uint64_t& number) {
  const std::size_t at = text.find(kMark);
  if (at == text.npos) return false;
  const char* from = text.data() + at + kMark.size();
  return std::from_chars(from, text.data() + text.size(), number).ec == std::errc{};
}

std::uint64_t Accounts::open(std::uint32_t origin, const Plan& plan) {
  TaskAccount task;
  task.origin = origin;
  task.plan = plan;
  tasks_.push_back(task);
  return tasks_.size() - 1;
}

void Accounts::started(std::uint64_t number, std::uint32_t host) {
  diary_.note("host {} starts task {} of host {}", host, number, static_cast<std::int32_t>(at(number).origin));
  ++at(number).starts;
  hold_key(number);
  auto& running = running_[at(number).plan.concurrency_key];
  running.insert(number);
  if (limited_ && at(number).plan.concurrency_key != 0 && running.size() > kPlaces)
    violation(fmt::format("task {} is one of {} that run with one key", number, running.size()));
}

void Accounts::failed(std::uint64_t number, std::uint32_t host) {
  diary_.note("host {}: task {} has failed, and is tried again", host, number);
  running_[at(number).plan.concurrency_key].erase(number);
}

void Accounts::hold_key(std::uint64_t number) {
  const std::uint64_t key = at(number).plan.unique_key;
  if (key == 0 || at(number).ended()) return;
  const auto [held, is_new] = key_holders_.try_emplace(key, number);
  if (!is_new && held->second != number && exclusive_keys_)
    violation(fmt::format("task {} starts while task {} has the key {}", number, held->second, key));
}

void Accounts::give_key(std::uint64_t number) {
  running_[at(number).plan.concurrency_key].erase(number);
  const auto held = key_holders_.find(at(number).plan.unique_key);
  if (held != key_holders_.end() && held->second == number) key_holders_.erase(held);
}

void Accounts::duplicate(std::uint64_t number) {
  diary_.note("task {} is a duplicate", number);
  TaskAccount& task = at(number);
  ended_ += !task.ended();
  task.duplicate = true;
  if (task.starts > 0 && exclusive_keys_) violation(fmt::format("task {} has run, and is a duplicate", number));
}

void Accounts::succeeded(std::uint64_t number, std::uint32_t host) {
  diary_.note("host {} has run task {}", host, number);
  ended_ += !at(number).ended();
  ++at(number).successes;
  give_key(number);
  if (at(number).plan.conduct == Conduct::kFailForGood)
    violation(fmt::format("task {} was to fail, and succeeded", number));
}

void Accounts::buried(std::uint64_t number, std::uint32_t host) {
  diary_.note("host {} has buried task {}", host, number);
  ended_ += !at(number).ended();
  ++at(number).burials;
  give_key(number);
}

void Accounts::refused(std::uint64_t number, std::uint32_t host) {
  diary_.note("host {} is refused the end of task {}", host, number);
  ++at(number).fenced;
}

void Accounts::host_lost(std::uint32_t host) {
  for (TaskAccount& task : tasks_)
    if (task.origin == host) task.may_be_lost = task.result_may_be_lost = true;
}

void Accounts::all_may_repeat() {
  for (TaskAccount& task : tasks_) task.may_repeat = true;
}

// What was there and is not any more was lost, where nobody holds it; what is there again may run again.
void Accounts::rolled_back(const ModelRedis& before, const ModelRedis& after, bool to_replica) {
  const std::set<std::uint64_t> had = numbers_in(before), has = numbers_in(after);
  for (const std::uint64_t number : had) {
    TaskAccount& task = at(number);
    task.may_repeat = true;
    if (has.contains(number) || task.held || (to_replica && task.replicated)) continue;
    task.may_be_lost = task.result_may_be_lost = true;
    diary_.note("task {} is lost with Redis", number);
  }
  for (const std::uint64_t number : has) at(number).may_repeat = true;
  for (TaskAccount& task : tasks_) {
    if (!task.ended()) continue;
    task.may_repeat = true;  // its end may be gone
    task.result_may_be_lost = task.result_may_be_lost || task.origin == kOutside;
  }
}

void Accounts::violation(std::string what) {
  diary_.note("VIOLATION: {}", what);
  violations_.push_back(std::move(what));
}

void Accounts::check_runs(bool once) {
  for (std::uint64_t number = 0; number < tasks_.size(); ++number) {
    const TaskAccount& task = tasks_[number];
    if (!task.ended() && !task.may_be_lost) violation(fmt::format("task {} is lost: it never ended", number));
    if (!once || task.may_repeat) continue;
    const std::uint32_t planned = task.plan.conduct == Conduct::kFailOnce ? 2 : 1;
    if (task.starts > planned)
      violation(fmt::format("task {} was started {} times, not {}", number, task.starts, planned));
    if (task.successes + task.burials > 1)
      violation(fmt::format("task {} ended {} times", number, task.successes + task.burials));
  }
}

}  // namespace stem::simulation
