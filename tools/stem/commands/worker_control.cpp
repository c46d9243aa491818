// `stem worker ping|shutdown|pause|resume|resize`: asks every worker by name, and says of each whether it
// answered.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "tools/stem/cluster_control.hpp"
#include "tools/stem/commands/commands.hpp"
#include "tools/stem/json_output.hpp"
#include "tools/stem/table.hpp"
#include "tools/stem/worker_rows.hpp"
#include "worker/child_page.hpp"
#include "worker/control.hpp"
#include "worker/worker_options.hpp"

namespace stem::cli {
namespace {

struct ControlOptions {
  WorkerSelection selection;
  RedisChoice redis;
  std::int64_t timeout_ns = 2'000'000'000;
  std::string mode = "warm";
  std::string count;
};

void declare_common(CommandLine& line, ControlOptions& options) {
  line.texts("-w,--worker", &options.selection.names, "a worker, or a node for all of its").named("NAME");
  line.texts("-q,--queue", &options.selection.queues, "only workers that serve this queue").named("QUEUE");
  line.duration_ns("--timeout", &options.timeout_ns, "how long to wait for the answers (default 2s)");
  declare_all_hosts(line, options.redis, "asks every gateway for its host");
}

void print_for_people(const std::vector<WorkerRow>& rows, const std::vector<std::string>& unknown, const Style& style) {
  Table table({{"WORKER"}, {"NODE"}, {"PID", Align::kRight}, {"ANSWER"}, {"AFTER", Align::kRight}});
  for (const WorkerRow& row : rows) {
    table.add_row({row.stats.name, row.node, std::to_string(row.stats.pid),
                   row.left        ? Cell("has left", Tone::kPlain)
                   : !row.answered ? Cell("no reply", Tone::kBad)
                   : row.refused   ? Cell("refused", Tone::kBad)
                                   : Cell("ok", Tone::kGood),
                   row.answered ? base::human_duration(row.answered_after_ns) : std::string()});
  }
  for (const std::string& name : unknown) table.add_row({name, "", "", Cell("unknown", Tone::kBad), ""});
  table.print(style);
}

void print_for_programs(const std::vector<WorkerRow>& rows, const std::vector<std::string>& unknown) {
  auto workers = nlohmann::ordered_json::array();
  for (const WorkerRow& row : rows) {
    nlohmann::ordered_json object{{"worker", row.stats.name},     {"node", row.node},         {"pid", row.stats.pid},
                                  {"supervisor", row.supervisor}, {"answered", row.answered}, {"left", row.left},
                                  {"refused", row.refused}};
    object["afterNs"] = row.answered ? nlohmann::ordered_json(row.answered_after_ns) : nlohmann::ordered_json(nullptr);
    workers.push_back(std::move(object));
  }
  print_json({{"workers", std::move(workers)}, {"unknown", unknown}});
}

int exit_code(const std::vector<WorkerRow>& rows, const std::vector<std::string>& unknown, bool leaving_is_wanted) {
  int code = kExitOk;
  for (const WorkerRow& row : rows) {
    if (row.left && leaving_is_wanted) continue;
    if (!row.answered) return kExitTimeout;
    if (row.refused) code = kExitFailed;
  }
  if (!unknown.empty()) return kExitNotFound;
  return rows.empty() ? kExitTimeout : code;
}

std::string_view name_of(worker::Command command) { return federation::to_string(command); }

// Which rows a command is for, beside the selection.
enum class For { kAll, kSupervisors };

void print_hosts(const ClusterAnswer& answer, const Style& style) {
  Table table({{"HOST"}, {"WORKER"}, {"NODE"}, {"PID", Align::kRight}, {"ANSWER"}, {"AFTER", Align::kRight}});
  const auto is = [](const nlohmann::ordered_json& worker, const char* name) { return worker.value(name, false); };
  for (const HostAnswer& host : answer.hosts) {
    for (const auto& worker : host.workers) {
      const bool answered = is(worker, "answered");
      table.add_row({host.host, worker.value("worker", ""), worker.value("node", ""),
                     std::to_string(worker.value("pid", 0)),
                     is(worker, "left")      ? Cell("has left", Tone::kPlain)
                     : !answered             ? Cell("no reply", Tone::kBad)
                     : is(worker, "refused") ? Cell("refused", Tone::kBad)
                                             : Cell("ok", Tone::kGood),
                     answered ? base::human_duration(worker.value("afterNs", std::int64_t{0})) : std::string()});
    }
    if (!host.answered)
      table.add_row({host.host, "", "", "", Cell(host.reachable ? "no reply" : "cannot be asked", Tone::kBad), ""});
    else if (host.workers.empty())
      table.add_row({host.host, "", "", "", "no such worker", ""});
  }
  for (const std::string& name : answer.unknown) table.add_row({"", name, "", "", Cell("unknown", Tone::kBad), ""});
  if (table.empty()) return print_error("no host is in the registry of the cluster");
  table.print(style);
}

int control_hosts(const ControlOptions& options, const Context& context, worker::Command command,
                  std::uint32_t argument, For whom) {
  const std::string name = fmt::format("worker {}", name_of(command));
  if (options.timeout_ns <= 0 || options.timeout_ns > federation::kMostTimeoutMs * 1'000'000)
    return fail(name, {Errc::kInvalidArgument, "--timeout: above 0 and at most 60s"});
  auto redis = connect(options.redis, context);
  if (!redis.ok()) return fail(name, redis.error());
  federation::HostRequest request;
  request.command = command;
  request.argument = argument;
  request.selection = options.selection;
  request.supervisors_only = whom == For::kSupervisors;
  request.timeout_ms = std::max<std::int64_t>(1, options.timeout_ns / 1'000'000);
  const auto answer = ask_hosts(*redis, request);
  if (!answer.ok()) return fail(name, answer.error());
  if (context.json) {
    print_json(cluster_answer_json(*answer));
  } else {
    print_hosts(*answer, context.style);
  }
  return cluster_exit_code(*answer, command == worker::Command::kShutdown);
}

int control(const ControlOptions& options, const Context& context, worker::Command command, std::uint32_t argument,
            For whom = For::kAll) {
  if (options.redis.is_cluster()) return control_hosts(options, context, command, argument, whom);
  const std::string name = fmt::format("worker {}", name_of(command));
  auto attachment = Attachment::open(context);
  if (!attachment) return fail(name, attachment.error());
  if (auto good = check_queues(*attachment, options.selection); !good) return fail(name, good.error());
  std::vector<std::string> unknown;
  auto rows = worker::select_workers(attachment->engine(), options.selection, unknown);
  if (whom == For::kSupervisors) {
    const bool some = !rows.empty();
    std::erase_if(rows, [](const WorkerRow& row) { return !row.supervisor; });
    if (some && rows.empty())
      return fail(name, {Errc::kInvalidArgument, "it is for nodes, not for one process; -w NODE"});
  }
  ask_workers(*attachment, rows, command, argument, options.timeout_ns);
  if (context.json) {
    print_for_programs(rows, unknown);
  } else if (rows.empty() && unknown.empty()) {
    print_error(fmt::format("{}: {}", name,
                            options.selection.everyone()
                                ? "no worker is attached to namespace " + context.namespace_name
                                : "no worker serves that queue"));
  } else {
    print_for_people(rows, unknown, context.style);
  }
  return exit_code(rows, unknown, command == worker::Command::kShutdown);
}

Run build_ping(CommandLine& line) {
  auto options = std::make_shared<ControlOptions>();
  declare_common(line, *options);
  return [options](const Context& context) { return control(*options, context, worker::Command::kPing, 0); };
}

Run build_pause(CommandLine& line) {
  auto options = std::make_shared<ControlOptions>();
  declare_common(line, *options);
  return [options](const Context& context) { return control(*options, context, worker::Command::kPause, 0); };
}

Run build_resume(CommandLine& line) {
  auto options = std::make_shared<ControlOptions>();
  declare_common(line, *options);
  return [options](const Context& context) { return control(*options, context, worker::Command::kResume, 0); };
}

Run build_shutdown(CommandLine& line) {
  auto options = std::make_shared<ControlOptions>();
  declare_common(line, *options);
  line.choice("--mode", &options->mode, {"warm", "soft", "hard"}, "how (default warm)");
  return [options](const Context& context) {
    const auto mode = options->mode == "hard"   ? worker::StopMode::kHard
                      : options->mode == "soft" ? worker::StopMode::kSoft
                                                : worker::StopMode::kWarm;
    return control(*options, context, worker::Command::kShutdown, static_cast<std::uint32_t>(mode));
  };
}

Run build_resize(CommandLine& line) {
  auto options = std::make_shared<ControlOptions>();
  declare_common(line, *options);
  line.argument("COUNT", &options->count, "worker processes that each node shall have").required();
  return [options](const Context& context) {
    const auto count = base::parse_count(options->count);
    if (!count || *count > worker::kMostProcesses) {
      print_error(fmt::format("worker resize: COUNT is 0 to {}, not '{}'", worker::kMostProcesses, options->count));
      return kExitUsage;
    }
    return control(*options, context, worker::Command::kResize, static_cast<std::uint32_t>(*count), For::kSupervisors);
  };
}

}  // namespace

std::vector<Command> worker_control_commands() {
  return {
      {.path = "worker ping",
       .group = Group::kRun,
       .help = "Ask workers for a sign of life",
       .details = "Exit code 3 when one did not answer. With --all-hosts a host that did not answer is named; -w may "
                  "then name a host (all of its workers) or HOST:WORKER, too.",
       .examples = {{"stem worker ping", "every worker"},
                    {"stem worker ping --all-hosts --redis redis://broker", "every worker of every host"}},
       .traits = kReads,
       .build = build_ping},
      {.path = "worker pause",
       .group = Group::kRun,
       .help = "Let workers take no more tasks until resumed",
       .examples = {{"stem worker pause -w alpha-2", ""}},
       .traits = kReads,
       .build = build_pause},
      {.path = "worker resume",
       .group = Group::kRun,
       .help = "Let paused workers go on",
       .examples = {{"stem worker resume", ""}},
       .traits = kReads,
       .build = build_resume},
      {.path = "worker shutdown",
       .group = Group::kRun,
       .help = "Stop workers",
       .details = "warm: finish what runs; soft: ask handlers to stop; hard: give everything back at once.",
       .examples = {{"stem worker shutdown --mode warm", "every worker"},
                    {"stem worker shutdown -w alpha", "one node"}},
       .traits = kReads,
       .build = build_shutdown},
      {.path = "worker resize",
       .group = Group::kRun,
       .help = "Change how many processes a node has, while it runs",
       .examples = {{"stem worker resize 4 -w alpha", ""}},
       .traits = kReads,
       .build = build_resize}};
}

}  // namespace stem::cli
