#include "federation/task_search.hpp"

#include <vector>

#include "base/clock.hpp"
#include "federation/ended_log.hpp"
#include "federation/scripts.hpp"

namespace stem::federation {
namespace {

constexpr std::int64_t kQueuesKnownNs = 10'000'000'000;  // whoever waits meets queues that are new

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

// Reads on where it was: whoever waits asks again and again.
Result<bool> TaskSearch::has_ended_in(const std::string& queue, const std::string& id) {
  const std::string key = keys_.ended(queue);
  const EndMark sought = end_mark(id);
  std::string& from = read_from_.try_emplace(queue, "-").first->second;
  bool found = false;
  for (EndedPage next{.more = true}; next.more; from = next.from) {
    const auto page = client_->ask({"EVAL", kEndedScript, "1", key, from});
    if (!page.ok()) return page.error().within("queue " + queue);
    if (!each_mark(*page, next, [&](EndMark mark) { found = found || mark == sought; }))
      return Error{Errc::kRefused, "Redis gave no page of " + key};
    if (found) return true;  // whoever asks again finds it again
  }
  return false;
}

Result<std::optional<TaskStatus>> TaskSearch::find_in(const std::string& queue, const std::string& id) {
  if (keys_.cluster()) {
    auto status = result_in(queue, id);
    if (!status.ok() || *status) return status;
  }
  const auto ended = has_ended_in(queue, id);
  if (!ended.ok()) return ended.error();
  if (!*ended) return std::optional<TaskStatus>();
  TaskStatus status;
  status.id = id;
  status.state = kEndedState;
  return std::optional(std::move(status));
}

Result<std::optional<TaskStatus>> TaskSearch::find(const std::string& id) {
  if (sought_ != id) read_from_.clear();
  sought_ = id;
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
