#include "federation/task_search.hpp"

#include <chrono>
#include <vector>

#include "base/clock.hpp"
#include "federation/scripts.hpp"

namespace stem::federation {
namespace {

constexpr std::int64_t kQueuesKnownNs = 10'000'000'000;  // whoever waits meets queues that are new
constexpr std::int64_t kClockSkewUs = 600'000'000;       // between the host that told the end and this one

}  // namespace

Result<void> TaskSearch::find_queues() {
  const std::int64_t now_ns = base::monotonic_ns();
  if (now_ns < queues_at_ns_) return {};
  const auto found = client_->keys_like(keys_.any_stream(), "stream");
  if (!found.ok()) return found.error();
  for (const std::string& key : *found)
    if (const auto queue = keys_.queue_of_stream(key); !queue.empty()) queues_.emplace(queue);
  queues_at_ns_ = now_ns + kQueuesKnownNs;
  return {};
}

Result<std::optional<TaskStatus>> TaskSearch::result_in(const std::string& queue, const std::string& id) {
  const std::string key = keys_.result(queue, id);
  const auto text = client_->ask({"GET", key});
  if (!text.ok()) return text.error();
  if (text->kind != Reply::Kind::kString) return std::optional<TaskStatus>();
  TaskStatus status;
  if (const auto read = decode_json(text->text, status); !read.ok())
    return read.error().within("the result of " + id + " in Redis");
  return std::optional(std::move(status));
}

Result<std::optional<TaskStatus>> TaskSearch::find_in(const std::string& queue, const std::string& id) {
  const auto wall = std::chrono::system_clock::now().time_since_epoch();
  const std::int64_t now_us = std::chrono::duration_cast<std::chrono::microseconds>(wall).count();
  std::vector<std::string> keys{keys_.result(queue, id)};
  const std::int64_t last = ended_bucket(now_us + kClockSkewUs);
  for (std::int64_t b = ended_bucket(now_us - kEndedKeptUs - kClockSkewUs); b <= last; ++b)
    keys.push_back(keys_.ended(queue, b));
  const std::string count = std::to_string(keys.size());
  std::vector<std::string_view> argv{"EVAL", kEndedScript, count};
  argv.insert(argv.end(), keys.begin(), keys.end());
  argv.emplace_back(id);
  const auto ended = client_->ask(std::move(argv));
  if (!ended.ok()) return ended.error().within("queue " + queue);
  const std::int64_t said = ended->elements.size() == 1 ? ended->elements[0].integer : 0;
  if (said == 1) return result_in(queue, id);
  if (said == 0) return std::optional<TaskStatus>();
  TaskStatus status;
  status.id = id;
  status.state = kEndedState;
  return std::optional(std::move(status));
}

Result<std::optional<TaskStatus>> TaskSearch::find(const std::string& id) {
  if (!keys_.cluster()) {  // there a result's key does not name its queue
    auto status = result_in("", id);
    if (!status.ok() || *status) return status;
  }
  if (const auto found = find_queues(); !found.ok()) return found.error();
  for (const std::string& queue : queues_) {
    auto status = find_in(queue, id);
    if (!status.ok() || *status) return status;
  }
  return std::optional<TaskStatus>();
}

}  // namespace stem::federation
