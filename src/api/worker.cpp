#include "stem/worker.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "api/task_resolver.hpp"
#include "api/worker_context.hpp"
#include "api/worker_flags.hpp"
#include "worker/supervisor.hpp"

namespace stem {

namespace {
constexpr int kUsage = 2;
constexpr int kFailed = 70;
}  // namespace

struct Worker::State {
  worker::WorkerOptions options;
  worker::HandlerTable handlers;
  Result<void> registered;
};

Worker::Worker(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Worker::Worker(Worker&&) noexcept = default;
Worker& Worker::operator=(Worker&&) noexcept = default;
Worker::~Worker() = default;

Result<Worker> Worker::open(std::string_view name_space, const WorkerOptions& options) {
  api::WorkerFlags flags;
  flags.name_space = name_space;
  flags.queues = options.queues;
  flags.node = options.node;
  flags.concurrency = options.concurrency;
  flags.prefetch_multiplier = options.prefetch_multiplier;
  flags.pin = options.pin;
  flags.max_tasks_per_child = options.max_tasks_per_child;
  auto made = api::worker_options(flags);
  if (!made) return made.error();
  made->max_memory_per_child_bytes = options.max_memory_per_child_bytes;
  made->autoscale_min = options.autoscale_min;
  made->autoscale_max = options.autoscale_max;
  made->spin_ns = options.spin.count();
  made->drain_timeout_ns = options.drain_timeout.count();
  made->soft_grace_ns = options.soft_grace.count();
  made->print_banner = options.banner;
  auto state = std::make_unique<State>();
  state->options = std::move(*made);
  return Worker(std::move(state));
}

const Result<void>& Worker::add(const TaskInfo& task, detail::RawHandler handler, RetryDelay retry_delay) {
  if (auto good = api::check_task(task); !good) {
    if (state_->registered.ok()) state_->registered = good;
    return state_->registered;
  }
  state_->handlers.on(std::string(task.name),
                      [handler = std::move(handler), retry_delay = std::move(retry_delay)](
                          worker::TaskContext& context) mutable { return api::run_handler(handler, retry_delay, context); });
  return state_->registered;
}

const Result<void>& Worker::on_raw(std::string_view task_name,
                                   std::function<Outcome<Bytes>(Context&, BytesView)> handler) {
  const Task<Bytes(BytesView)> task{task_name};
  return on(task, std::move(handler));
}

int Worker::run() {
  Result<void> done = state_->registered;
  if (done.ok()) done = worker::run(state_->options, state_->handlers);
  if (done.ok()) return 0;
  std::fprintf(stderr, "worker: %s\n", done.error().message.c_str());
  return kFailed;
}

void register_app(worker::HandlerTable& table, const std::function<void(Worker&)>& register_handlers) {
  Worker worker(std::make_unique<Worker::State>());
  register_handlers(worker);
  if (!worker.state_->registered.ok()) {
    std::fprintf(stderr, "%s\n", worker.state_->registered.error().message.c_str());
    std::exit(kFailed);
  }
  for (const auto& [name, entry] : worker.state_->handlers.entries()) table.on(name, entry.run);
}

int worker_main(int argc, char** argv, const std::function<void(Worker&)>& register_handlers) {
  CLI::App command("Runs this program's tasks");
  api::WorkerFlags flags;
  api::add_worker_flags(command, flags);
  try {
    command.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return command.exit(e) == 0 ? 0 : kUsage;
  }
  auto options = api::worker_options(flags);
  if (!options) {
    std::fprintf(stderr, "%s\n", options.error().message.c_str());
    return kUsage;
  }
  auto state = std::make_unique<Worker::State>();
  state->options = std::move(*options);
  Worker worker(std::move(state));
  register_handlers(worker);
  return worker.run();
}

}  // namespace stem
