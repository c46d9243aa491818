#include "stem/worker.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "api/event_text.hpp"
#include "api/task_resolver.hpp"
#include "api/worker_context.hpp"
#include "api/worker_flags.hpp"
#include "base/units.hpp"
#include "worker/supervisor.hpp"

namespace stem {

namespace {
constexpr int kUsage = 2;
constexpr int kFailed = 70;

void add_flag(CLI::App& command, const api::WorkerFlag& flag, api::FlagTexts& given) {
  auto* option = command.add_option_function<std::vector<std::string>>(
      std::string(flag.names),
      [&given, &flag](const std::vector<std::string>& texts) {
        std::string& joined = given[std::string(flag.long_name())];
        for (const std::string& text : texts) joined += (joined.empty() ? "" : ",") + text;
      },
      std::string(flag.help));
  option->type_name(std::string(flag.value))->expected(1);
  option->multi_option_policy(flag.repeatable ? CLI::MultiOptionPolicy::TakeAll : CLI::MultiOptionPolicy::TakeLast);
}

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
  api::FlagTexts given;
  for (const std::string& queue : options.queues) given["--queue"] += queue + ",";
  if (!options.node.empty()) given["--node"] = options.node;
  if (options.concurrency != 0) given["--concurrency"] = std::to_string(options.concurrency);
  if (options.async_slots != 0) given["--async-slots"] = std::to_string(options.async_slots);
  if (options.prefetch_multiplier != 0) given["--prefetch-multiplier"] = std::to_string(options.prefetch_multiplier);
  if (!options.pin.empty()) given["--pin"] = options.pin;
  auto made = api::worker_options(name_space, given);
  if (!made) return made.error();
  made->max_tasks_per_child = options.max_tasks_per_child;
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

namespace {

// Its leases are not what people expect of a worker that lives.
std::string note_of(const TaskInfo& task) {
  if (task.options.auto_renew) return {};
  return "its leases end after " + base::human_duration(task.options.visibility_timeout.count()) +
         " unless the handler extends them (auto_renew off)";
}

}  // namespace

const Result<void>& Worker::add(const TaskInfo& task, detail::RawHandler handler, RetryDelay retry_delay) {
  if (auto good = api::check_task(task); !good) {
    if (state_->registered.ok()) state_->registered = good;
    return state_->registered;
  }
  state_->handlers.on(std::string(task.name), [handler = std::move(handler), retry_delay = std::move(retry_delay)](
                                                  worker::TaskContext& context) mutable {
    return api::run_handler(handler, retry_delay, context);
  });
  state_->handlers.note(task.name, note_of(task));
  return state_->registered;
}

const Result<void>& Worker::add(const TaskInfo& task, detail::RawCoHandler handler, RetryDelay retry_delay) {
  if (auto good = api::check_task(task); !good) {
    if (state_->registered.ok()) state_->registered = good;
    return state_->registered;
  }
  // Coroutines outlive the call: what they refer to stands in the table as long as the process.
  auto shared = std::make_shared<api::CoHandlerParts>(api::CoHandlerParts{std::move(handler), std::move(retry_delay)});
  state_->handlers.on_start(std::string(task.name),
                            [shared](worker::TaskContext& context, std::optional<worker::Outcome>& into) {
                              return api::run_co_handler(*shared, context, into);
                            });
  state_->handlers.note(task.name, note_of(task));
  return state_->registered;
}

const Result<void>& Worker::on_raw(std::string_view task_name,
                                   std::function<Outcome<Bytes>(Context&, BytesView)> handler) {
  const Task<Bytes(BytesView)> task{task_name};
  return on(task, std::move(handler));
}

void Worker::on_event(OnEvent listener, EventDetail detail) {
  state_->handlers.listen(
      [listener = std::move(listener)](const shm::Event& event, const shm::Participant& self) {
        api::tell(listener, api::to_event(event, self.row().name, self.segment()));
      },
      api::to_shm(detail));
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
  for (const auto& [name, entry] : worker.state_->handlers.entries()) {
    if (entry.start)
      table.on_start(name, entry.start);
    else
      table.on(name, entry.run);
    table.note(name, entry.note);
  }
  const worker::HandlerTable& made = worker.state_->handlers;
  if (made.listener()) table.listen(made.listener(), made.detail_of_events());
}

int worker_main(int argc, char** argv, const std::function<void(Worker&)>& register_handlers) {
  CLI::App command("Runs this program's tasks");
  std::string name_space;
  api::FlagTexts given;
  command.add_option("--namespace", name_space, "which segment (default stem)")->type_name("NAME");
  for (const api::WorkerFlag& flag : api::worker_flags()) add_flag(command, flag, given);
  try {
    command.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return command.exit(e) == 0 ? 0 : kUsage;
  }
  auto options = api::worker_options(name_space, given);
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
