// What happens to tasks, workers and queues, as signals of their own names (docs/events.md lists them).
//
//   auto events = stem::Events::follow("stem");
//   for (const stem::Event& e : events->wait(1s)) if (e.name == "task-failed") page_somebody(e);
//
//   worker.on_event([](const stem::Event& e) { ... });   // of this worker's own processes; see stem/worker.hpp
//
// For people and their tools: nothing is decided by an event, and one may be missing (its writer was killed between
// the change and the note, or nobody read for too long; missed() counts those).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "stem/options.hpp"
#include "stem/result.hpp"

namespace stem {

struct Event {
  std::string_view name;  // "task-retry"; lives as long as the program
  std::chrono::system_clock::time_point at{};
  std::string id{};           // of its task; empty when it is of none
  std::string task{};         // its name
  std::string queue{};        // empty when it is of none
  std::uint32_t attempt = 0;  // from 0
  std::string by{};           // the participant who noted it: a worker process, a client
  std::string
      text{};  // what went wrong; a worker's name; what became of a task (task-postrun); the traceparent of a task
               // that was enqueued or started
  std::string reason{};    // of task-failed: as `stem dlq list` has it
  std::int64_t value = 0;  // docs/events.md: a duration in ns, or a number
};

// How much of what every task does is told: kTasks = enqueued, started, succeeded, ...; kSteps = also
// before-task-publish, task-received, task-postrun and worker-heartbeat.
enum class EventDetail : std::uint8_t { kTasks, kSteps };

using OnEvent = std::function<void(const Event&)>;

// Reads the events of every process of a namespace. While one exists, and wait() is called at least every three
// seconds, what every task does (enqueued, started, succeeded) is noted too. Not thread-safe.
class Events {
 public:
  // From now on. An empty name: $STEM_NAMESPACE, else "stem". kNotFound when there is no such segment.
  static Result<Events> follow(std::string_view name_space = {}, const std::string& directory = {},
                               EventDetail detail = EventDetail::kTasks);
  Events(Events&&) noexcept;
  Events& operator=(Events&&) noexcept;
  ~Events();

  // What is new, oldest first; waits until there is something, or `timeout` has passed.
  std::vector<Event> wait(Duration timeout);
  // Events that were overwritten before they were read.
  [[nodiscard]] std::uint64_t missed() const noexcept;

 private:
  struct State;
  explicit Events(std::unique_ptr<State> state) noexcept;
  std::unique_ptr<State> state_;
};

}  // namespace stem
