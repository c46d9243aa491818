// `stem worker start`: a supervisor and its worker processes, in the foreground.
#include <fmt/format.h>

#include <memory>

#include "api/worker_flags.hpp"
#include "base/log.hpp"
#include "tools/stem/commands/commands.hpp"
#include "worker/exec_handler.hpp"
#include "worker/supervisor.hpp"

namespace stem::cli {
namespace {

struct WorkerStartOptions {
  std::vector<std::string> apps;
  std::vector<std::string> commands;
  worker::WorkerOptions worker;  // what the flags without a setting have filled in
  std::string last;              // text of such a flag; it has been taken already
};

// What the flags, the environment or the file say of the settings that a worker has.
Result<void> take_settings(const Config& config, worker::WorkerOptions& worker) {
  for (const api::WorkerFlag& flag : api::worker_flags()) {
    if (flag.setting.empty() || !config.is_set(flag.setting)) continue;
    const ConfigValue& value = config.value(flag.setting);
    if (auto good = flag.take(value.text, worker); !good.ok()) return good.error().within(value.where);
  }
  return {};
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

int refuse(const Error& error) {
  print_error("worker start: " + error.message);
  return error.code == Errc::kInvalidArgument ? kExitUsage : kExitFailed;
}

int start_worker(const WorkerStartOptions& options, const Context& context) {
  worker::WorkerOptions worker = options.worker;
  worker.segment.name_space = context.namespace_name;
  if (const auto taken = take_settings(context.config, worker); !taken.ok()) return refuse(taken.error());
  const auto table = handlers_of(options);
  if (!table) return refuse(table.error());
  if (const auto ended = worker::run(worker, *table); !ended) return refuse(ended.error());
  return kExitOk;
}

// Of the shared table: through the settings where it has one, otherwise straight into the options.
void declare(CommandLine& line, const api::WorkerFlag& flag, const std::shared_ptr<WorkerStartOptions>& options) {
  const std::string names(flag.names), value(flag.value), help(flag.help);
  if (!flag.setting.empty()) {
    line.setting(names, flag.setting).named(value).helped(help);
    return;
  }
  const auto take = [options, &flag](std::string_view text) -> Result<std::string> {
    if (auto good = flag.take(text, options->worker); !good.ok()) return good.error();
    return std::string(text);
  };
  line.parsed<std::string>(names, &options->last, take, help).named(value);
}

Run build_worker_start(CommandLine& line) {
  auto options = std::make_shared<WorkerStartOptions>();
  line.texts("--app", &options->apps, "shared object with handlers (exports stem_register)")
      .named("LIB.so")
      .completes(Completes::kFiles);
  line.texts("--exec", &options->commands, "run COMMAND for tasks of this name: payload on stdin")
      .named("NAME=COMMAND");
  for (const api::WorkerFlag& flag : api::worker_flags()) declare(line, flag, options);
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
