// The worker's side, in the user's own program.
//
//   auto worker = stem::Worker::open("stem", {.queues = {"img"}});
//   worker->on(resize, [&](stem::Context& ctx, const Resize& r) -> Thumb { ... });
//   return worker->run();
//
// Plain handlers run one task at a time in a process; handlers that are coroutines (stem/co.hpp) many at once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "stem/events.hpp"
#include "stem/handler.hpp"

namespace stem::worker {
class HandlerTable;
}

namespace stem {

struct WorkerOptions {
  std::vector<std::string> queues{};                   // empty: $STEM_WORKER_QUEUES (comma separated), else "default"
  std::string node{};                                  // empty: the host's name
  std::uint32_t concurrency = 0;                       // worker processes; 0 = one for each core
  std::uint32_t async_slots = 0;                       // coroutine handlers at once in a process; 0 = 256
  std::uint32_t prefetch_multiplier = 0;               // 0: $STEM_PREFETCH_MULTIPLIER, else 2
  std::string pin = "auto";                            // "auto", "none", or cores as in "0-3,8"
  std::uint64_t max_tasks_per_child = 0;               // 0 = no limit
  std::uint64_t max_memory_per_child_bytes = 0;        // 0 = no limit
  std::uint32_t autoscale_min = 0, autoscale_max = 0;  // both 0 = off
  Duration spin = std::chrono::microseconds(50);       // how long an idle worker looks before it sleeps
  Duration drain_timeout = std::chrono::seconds(60);
  Duration soft_grace = std::chrono::seconds(30);
  bool banner = true;
};

class Worker {
 public:
  // Checks the options; the segment is opened, or made, by run().
  static Result<Worker> open(std::string_view name_space = {}, const WorkerOptions& options = {});
  Worker(Worker&&) noexcept;
  Worker& operator=(Worker&&) noexcept;
  ~Worker();

  // The handler takes (Context&, const Args&) and returns R or Outcome<R>, or is a coroutine of those: Co<R>,
  // Co<Outcome<R>>. What it captures is there in every worker process, as of the fork. The same name again replaces.
  // An error in the task's options (a rate that does not parse) is returned, and returned again by run().
  template <class R, class... A, class F>
  const Result<void>& on(const Task<R(A...)>& task, F handler, RetryDelay retry_delay = {}) {
    if constexpr (detail::is_coroutine<F, Task<R(A...)>>)
      return add(task, detail::make_co_handler(task, std::move(handler)), std::move(retry_delay));
    else
      return add(task, detail::make_handler(task, std::move(handler)), std::move(retry_delay));
  }
  // Bytes in, bytes out.
  const Result<void>& on_raw(std::string_view task_name, std::function<Outcome<Bytes>(Context&, BytesView)> handler);

  // Called in each worker process for what happens there (docs/events.md), after it has happened, in the thread that
  // runs the tasks, between them: it should be quick. (task-timeout is not among them: the handler's stop token says
  // so.) What it throws is logged. With it every task's start and end is noted, with kSteps each step of it.
  void on_event(OnEvent listener, EventDetail detail = EventDetail::kTasks);

  // Forks the worker processes and supervises them until it is told to stop (SIGTERM, SIGINT, SIGQUIT,
  // `stem worker shutdown`). The calling process must have one thread, so call it before starting others.
  // 0, or 70 when it could not start, with a line on stderr.
  int run();

 private:
  struct State;
  explicit Worker(std::unique_ptr<State> state) noexcept;
  const Result<void>& add(const TaskInfo& task, detail::RawHandler handler, RetryDelay retry_delay);
  const Result<void>& add(const TaskInfo& task, detail::RawCoHandler handler, RetryDelay retry_delay);
  friend void register_app(worker::HandlerTable& table, const std::function<void(Worker&)>& register_handlers);
  friend int worker_main(int argc, char** argv, const std::function<void(Worker&)>& register_handlers);

  std::unique_ptr<State> state_;
};

// main() for a program that is a worker: the flags of `stem worker start`, then run().
int worker_main(int argc, char** argv, const std::function<void(Worker&)>& register_handlers);

// For a shared object that `stem worker start --app` loads:
//   extern "C" void stem_register(stem::worker::HandlerTable& table) {
//     stem::register_app(table, [](stem::Worker& worker) { worker.on(...); });
//   }
// Ends the program with a sentence when a task's options make no sense.
void register_app(worker::HandlerTable& table, const std::function<void(Worker&)>& register_handlers);

}  // namespace stem
