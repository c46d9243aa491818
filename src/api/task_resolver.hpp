// From names and options, as people write them, to numbers and nanoseconds, as the engine takes them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "engine/engine.hpp"
#include "stem/task.hpp"

namespace stem::api {

// A task's options in the engine's terms, checked. Texts point into `task_name` and the like below, or
// into the descriptor that was resolved, whose literals live for ever.
struct ResolvedTask {
  std::uint64_t key = 0;
  engine::TaskSpec spec;
  engine::TaskExtras extras;  // complete but for what depends on the call
  bool plain = false;         // no extras needed: the quick path
  bool unique = false;
  std::int64_t unique_for_ns = 0;  // 0 = the visibility timeout
  std::int64_t expires_after_ns = 0;
  std::string task_name;
  std::string queue_name;
  std::string concurrency_key;
  std::string group_rate_key;
  std::string group_rate_header;
  std::string retry_for, no_retry_for;
};

// Why these options cannot be taken, in a sentence; nothing when they can. Workers ask when a handler is
// registered, producers at the first enqueue.
Result<void> check_task(const TaskInfo& task);

// One per attached thread.
class TaskResolver {
 public:
  explicit TaskResolver(shm::Segment& segment) : segment_(segment) {}

  // The answer lives as long as the resolver, at least until kMost others were resolved.
  Result<const ResolvedTask*> resolve(const TaskInfo& task);
  // Null when it has not been resolved lately: the quick look before it.
  const ResolvedTask* recent(std::uint64_t key) const noexcept {
    const ResolvedTask* r = recent_[key % kRecent];
    return r != nullptr && r->key == key ? r : nullptr;
  }
  Result<std::uint32_t> queue(const std::string& name);

 private:
  static constexpr std::size_t kRecent = 64;
  static constexpr std::size_t kMost = 4096;

  shm::Segment& segment_;
  const ResolvedTask* recent_[kRecent] = {};
  using Table = std::unordered_map<std::uint64_t, std::unique_ptr<ResolvedTask>>;
  Table all_;
  Table previous_;  // a call in progress may still use one of these
  std::unordered_map<std::string, std::uint32_t> queues_;
};

// $STEM_DEFAULT_QUEUE, $STEM_DEFAULT_MAX_RETRIES.
std::string default_queue();
int default_max_retries();

}  // namespace stem::api
