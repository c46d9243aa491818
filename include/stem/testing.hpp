// Testing code that enqueues, and handlers, without processes.
//
//   Recorder    enqueues are recorded, nothing runs:        recorder.expect_enqueued(resize, matcher)
//   Inline      a handler runs at once, inside enqueue():   handle.get() has its value
//   Simulation  the real engine on a private segment, with a clock of its own that only advance() moves:
//               delays, retries, limits, expiry, links, crashes; everything in this thread
//
// Each gives a Client for the code under test. Nothing here depends on a test framework.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "stem/client.hpp"
#include "stem/handler.hpp"

namespace stem::testing {

// The answer of an expectation: true or false, with what was found instead.
struct Expectation {
  bool met = false;
  std::string message{};
  explicit operator bool() const noexcept { return met; }
};

struct RecordedTask {
  TaskId id{};
  std::string task{};
  std::string queue{};
  Bytes payload{};
  EnqueueOptions options{};
};

class Recorder {
 public:
  Recorder();
  Client& client() noexcept { return client_; }
  const std::vector<RecordedTask>& all() const noexcept { return *records_; }
  void clear() noexcept { records_->clear(); }

  // The arguments of every enqueue of this task, in order; those that do not decode are left out.
  template <class R, class... A>
  std::vector<typename Task<R(A...)>::Args> enqueued(const Task<R(A...)>& task) const {
    std::vector<typename Task<R(A...)>::Args> found;
    for (const RecordedTask& r : *records_) {
      if (r.task != task.name) continue;
      auto args = Codec<typename Task<R(A...)>::Args>::decode(r.payload);
      if (args) found.push_back(std::move(*args));
    }
    return found;
  }
  // `matches` takes the arguments, or the arguments and the options.
  template <class R, class... A, class Matcher>
  Expectation expect_enqueued(const Task<R(A...)>& task, Matcher matches) const {
    using Args = typename Task<R(A...)>::Args;
    for (const RecordedTask& r : *records_) {
      if (r.task != task.name) continue;
      const auto args = Codec<Args>::decode(r.payload);
      if (!args) continue;
      if constexpr (std::is_invocable_v<Matcher&, const Args&, const EnqueueOptions&>) {
        if (matches(*args, r.options)) return {true, {}};
      } else {
        if (matches(*args)) return {true, {}};
      }
    }
    return {false, missing(task.name)};
  }
  template <class R, class... A>
  Expectation expect_enqueued(const Task<R(A...)>& task) const {
    return expect_enqueued(task, [](const auto&) { return true; });
  }
  Expectation expect_nothing_enqueued() const;

 private:
  std::string missing(std::string_view task) const;

  std::shared_ptr<std::vector<RecordedTask>> records_;
  Client client_;
};

// One attempt, no retries: a handler that throws makes get() an error. A task without a handler is dead
// as `unregistered-task`.
class Inline {
 public:
  Inline();
  Client& client() noexcept { return client_; }
  template <class R, class... A, class F>
  void on(const Task<R(A...)>& task, F handler) {
    add(std::string(task.name), detail::make_handler(task, std::move(handler)));
  }

 private:
  struct State;
  Inline(std::shared_ptr<State> state);
  void add(std::string name, detail::RawHandler handler);

  std::shared_ptr<State> state_;
  Client client_;
};

struct SimulationOptions {
  std::uint32_t task_capacity = 4096;
  std::uint32_t workers = 2;
};

// When an injected crash happens: the handler's effects are not there, or they are and the acknowledgement
// is not.
enum class CrashAt : std::uint8_t { kBeforeHandler, kAfterHandler };

// Throws std::runtime_error when no segment can be made. One thread.
class Simulation {
 public:
  explicit Simulation(const SimulationOptions& options = {});
  ~Simulation();
  Simulation(Simulation&&) noexcept;

  // get() on its handles lets time pass until the task is over or the timeout has passed.
  Client& client() noexcept { return client_; }
  template <class R, class... A, class F>
  void on(const Task<R(A...)>& task, F handler, RetryDelay retry_delay = {}) {
    add(task, detail::make_handler(task, std::move(handler)), std::move(retry_delay));
  }

  // Runs everything that is runnable now, and what that makes runnable; returns how many attempts ran.
  std::size_t drain();
  // Lets time pass; what becomes due runs at its own time.
  std::size_t advance(Duration time);
  // Since the simulation began.
  Duration now() const;

  // The worker process that runs this task next dies, `times` times. What it held is redelivered.
  template <class R, class... A>
  void crash(const Task<R(A...)>& task, CrashAt when, int times = 1) {
    crash_named(std::string(task.name), when, times);
  }

  // Empty when every invariant of the segment holds; otherwise the broken ones, one a line.
  std::string broken_invariants();

 private:
  struct State;
  explicit Simulation(std::unique_ptr<State> state);
  void add(const TaskInfo& task, detail::RawHandler handler, RetryDelay retry_delay);
  void crash_named(std::string task, CrashAt when, int times);

  std::unique_ptr<State> state_;
  Client client_;
};

}  // namespace stem::testing
