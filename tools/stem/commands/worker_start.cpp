// `stem worker start`: a supervisor and its worker processes, in the foreground.
#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <optional>

#include "base/log.hpp"
#include "tools/stem/commands/commands.hpp"
#include "worker/exec_handler.hpp"
#include "worker/pinning.hpp"
#include "worker/supervisor.hpp"

namespace stem::cli {
namespace {

constexpr std::uint64_t kMostProcesses = 1024;

struct Scale {
  std::uint32_t min = 0, max = 0;
};

struct WorkerStartOptions {
  std::vector<std::string> apps;
  std::vector<std::string> commands;
  std::optional<std::uint64_t> max_tasks;
  std::optional<std::uint64_t> max_memory_bytes;
  std::optional<Scale> scale;
  std::optional<std::string> node;
  std::optional<std::uint64_t> spin_us;
  std::optional<std::int64_t> drain_timeout_ns;
  std::optional<std::int64_t> soft_grace_ns;
};

Result<Scale> parse_scale(std::string_view text) {
  const Error wrong{Errc::kInvalidArgument,
                    fmt::format("'{}' is not MIN,MAX, as in 1,8 (at most {})", text, kMostProcesses)};
  const std::size_t comma = text.find(',');
  if (comma == std::string_view::npos) return wrong;
  const auto min = base::parse_count(text.substr(0, comma));
  const auto max = base::parse_count(text.substr(comma + 1));
  if (!min || !max || *min < 1 || *max < *min || *max > kMostProcesses) return wrong;
  return Scale{static_cast<std::uint32_t>(*min), static_cast<std::uint32_t>(*max)};
}

Result<void> apply_config(const Config& config, worker::WorkerOptions& worker) {
  worker.queues = config.names("worker.queues");
  if (config.is_set("worker.concurrency")) {
    const std::uint64_t count = config.whole_number("worker.concurrency");
    if (count < 1 || count > kMostProcesses)
      return Error{Errc::kInvalidArgument, fmt::format("concurrency is 1 to {} processes, not {}", kMostProcesses, count)};
    worker.concurrency = static_cast<std::uint32_t>(count);
  }
  const std::uint64_t multiplier = config.whole_number("worker.prefetch_multiplier");
  if (multiplier < 1 || multiplier > shm::kHeldSlots)
    return Error{Errc::kInvalidArgument, fmt::format("the prefetch multiplier is 1 to {}, not {}", shm::kHeldSlots, multiplier)};
  worker.prefetch_multiplier = static_cast<std::uint32_t>(multiplier);
  return worker::parse_pin(config.text("worker.pin"), worker);
}

Result<worker::HandlerTable> handlers_of(const WorkerStartOptions& options) {
  worker::HandlerTable table;
  for (const std::string& app : options.apps)
    if (const auto loaded = worker::load_app(app, table); !loaded) return loaded.error();
  for (const std::string& text : options.commands) {
    const auto parsed = worker::parse_exec(text);
    if (!parsed) return parsed.error().within("--exec");
    table.on(parsed->first, worker::exec_handler(parsed->second));
  }
  if (table.entries().empty())
    return Error{Errc::kInvalidArgument, "it has no handler; give --app LIB.so or --exec 'NAME=COMMAND'"};
  return table;
}

void configure_log(const Config& config) {
  log::Settings settings;
  if (const auto level = log::parse_level(config.text("log.level"))) settings.level = *level;
  if (const auto format = log::parse_format(config.text("log.format"))) settings.format = *format;
  log::configure(settings);
}

int refuse(const Error& error) {
  print_error("worker start: " + error.message);
  return error.code == Errc::kInvalidArgument ? kExitUsage : kExitFailed;
}

int start_worker(const WorkerStartOptions& options, const Context& context) {
  configure_log(context.config);
  worker::WorkerOptions worker;
  worker.segment.name_space = context.namespace_name;
  if (const auto applied = apply_config(context.config, worker); !applied) return refuse(applied.error());
  worker.node = options.node.value_or("");
  worker.max_tasks_per_child = options.max_tasks.value_or(0);
  worker.max_memory_per_child_bytes = options.max_memory_bytes.value_or(0);
  if (options.scale) {
    worker.autoscale_min = options.scale->min;
    worker.autoscale_max = options.scale->max;
  }
  if (options.spin_us) worker.spin_ns = static_cast<std::int64_t>(std::min<std::uint64_t>(*options.spin_us, 1'000'000'000)) * 1000;
  if (options.drain_timeout_ns) worker.drain_timeout_ns = *options.drain_timeout_ns;
  if (options.soft_grace_ns) worker.soft_grace_ns = *options.soft_grace_ns;
  const auto table = handlers_of(options);
  if (!table) return refuse(table.error());
  if (const auto ended = worker::run(worker, *table); !ended) return refuse(ended.error());
  return kExitOk;
}

Run build_worker_start(CommandLine& line) {
  auto options = std::make_shared<WorkerStartOptions>();
  line.texts("--app", &options->apps, "shared object with handlers (exports stem_register); may be repeated")
      .named("LIB.so")
      .completes(Completes::kFiles);
  line.texts("--exec", &options->commands, "run COMMAND for tasks of this name: payload on stdin; may be repeated")
      .named("NAME=COMMAND");
  line.setting("-q,--queue", "worker.queues");
  line.setting("-c,--concurrency", "worker.concurrency");
  line.setting("--prefetch-multiplier", "worker.prefetch_multiplier");
  line.setting("--pin", "worker.pin");
  line.count("--max-tasks-per-child", &options->max_tasks, "replace a process after so many tasks");
  line.size_bytes("--max-memory-per-child", &options->max_memory_bytes, "replace a process when it has grown beyond it");
  line.parsed<Scale>("--autoscale", &options->scale, parse_scale, "as many processes as the backlog asks for").named("MIN,MAX");
  line.text("--node", &options->node, "name of this worker; its processes are NAME-1, NAME-2, ... (default: the host's)")
      .named("NAME");
  line.count("--spin-us", &options->spin_us, "microseconds an idle process spins before it parks (default 50)");
  line.duration_ns("--drain-timeout", &options->drain_timeout_ns, "how long a warm stop waits for tasks (default 60s)");
  line.duration_ns("--soft-grace", &options->soft_grace_ns, "how long a soft stop waits for handlers (default 30s)");
  return [options](const Context& context) { return start_worker(*options, context); };
}

}  // namespace

std::vector<Command> worker_start_commands() {
  return {{.path = "worker start",
           .group = Group::kRun,
           .help = "Run tasks: a supervisor and its pinned worker processes",
           .details = "Says what it will do, prints \"ready\", and runs until it is stopped: SIGTERM finishes what "
                      "runs, SIGINT (or a second SIGTERM) asks handlers to stop, SIGQUIT (or a second SIGINT) gives "
                      "everything back at once. A command given with --exec gets the payload on stdin; its stdout is "
                      "the result; exit code 0 is success, 75 retries, 65 fails for good, any other fails.",
           .examples = {{"stem worker start --exec 'count=wc -w'", "tasks named count, in queue default"},
                        {"stem worker start --app ./libmine.so -q mail,img -c 4", "handlers of your own"}},
           .build = build_worker_start}};
}

}  // namespace stem::cli
