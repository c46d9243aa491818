// `stem worker status|stats|inspect`: what workers are, have done, and are doing.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "tools/stem/cluster_control.hpp"
#include "tools/stem/commands/commands.hpp"
#include "tools/stem/interrupts.hpp"
#include "tools/stem/json_output.hpp"
#include "tools/stem/table.hpp"
#include "tools/stem/worker_rows.hpp"
#include "worker/control.hpp"

namespace stem::cli {
namespace {

constexpr std::int64_t kFollowEveryNs = 1'000'000'000;

enum class View { kStatus, kStats, kInspect };

std::string_view name_of(View view) {
  switch (view) {
    case View::kStatus: return "worker status";
    case View::kStats: return "worker stats";
    case View::kInspect: return "worker inspect";
  }
  return "worker";
}

struct StatusOptions {
  WorkerSelection selection;
  RedisChoice redis;
  std::int64_t timeout_ns = 500'000'000;
  bool once = false;
  bool follow = false;
  View view = View::kStatus;
};

std::string core_text(int cpu) { return cpu < 0 ? std::string() : std::to_string(cpu); }

// A worker that answers is alive now; of a silent one nobody knows since when.
std::string heartbeat_text(const WorkerRow& row) { return row.answered ? "now" : "no reply"; }

std::string task_text(const Attachment& attachment, engine::TaskId id) {
  const auto info = engine::Query(attachment.engine()).task(id);
  return info ? info->task : std::string();
}

void print_status(const std::vector<WorkerRow>& rows, const Style& style) {
  Table table({{"WORKER", Align::kLeft, true},
               {"NODE", Align::kLeft, true},
               {"PID", Align::kRight},
               {"CORE", Align::kRight},
               {"STATE"},
               {"INFLIGHT", Align::kRight},
               {"DONE", Align::kRight},
               {"FAILED", Align::kRight},
               {"RSS", Align::kRight},
               {"LAST-HEARTBEAT"}});
  for (const WorkerRow& row : rows) {
    const auto& s = row.stats;
    const std::string state = state_text(row);
    table.add_row({s.name, row.node, std::to_string(s.pid), core_text(s.cpu),
                   Cell(state, state == "silent" || state == "dead" ? Tone::kBad : Tone::kPlain),
                   std::to_string(s.inflight), std::to_string(s.succeeded), std::to_string(s.failed),
                   s.rss_bytes == 0 ? std::string() : base::human_size(s.rss_bytes), heartbeat_text(row)});
  }
  table.print(style);
}

void print_stats(const std::vector<WorkerRow>& rows, const Style& style) {
  Table table({{"WORKER"},
               {"STARTED", Align::kRight},
               {"DONE", Align::kRight},
               {"FAILED", Align::kRight},
               {"INFLIGHT", Align::kRight},
               {"RSS", Align::kRight},
               {"BEATS", Align::kRight},
               {"KEEPER"}});
  for (const WorkerRow& row : rows) {
    const auto& s = row.stats;
    table.add_row({s.name, std::to_string(s.started), std::to_string(s.succeeded), std::to_string(s.failed),
                   std::to_string(s.inflight), s.rss_bytes == 0 ? std::string() : base::human_size(s.rss_bytes),
                   std::to_string(s.heartbeat), s.keeper ? "yes" : ""});
  }
  table.print(style);
}

void print_inspect(const Attachment& attachment, const std::vector<WorkerRow>& rows, const Style& style) {
  Table table({{"WORKER"}, {"STATE"}, {"TASK-ID"}, {"TASK"}, {"RUNNING-FOR", Align::kRight}});
  const std::int64_t now = base::monotonic_ns();
  for (const WorkerRow& row : rows) {
    if (row.supervisor) continue;
    const bool running = row.stats.current.handle != 0;
    table.add_row({row.stats.name, state_text(row), running ? engine::to_string(row.stats.current) : std::string(),
                   running ? task_text(attachment, row.stats.current) : std::string(),
                   running ? base::human_duration(now - row.stats.current_since_ns) : std::string()});
  }
  table.print(style);
}

nlohmann::ordered_json document_of(const Attachment& attachment, const std::vector<WorkerRow>& rows) {
  auto workers = nlohmann::ordered_json::array();
  const std::int64_t now_ns = base::monotonic_ns();
  for (const WorkerRow& row : rows) workers.push_back(federation::json_of(row, attachment.engine(), now_ns));
  return {{"workers", std::move(workers)}};
}

int show_once(const Attachment& attachment, const StatusOptions& options, const Context& context) {
  if (auto good = check_queues(attachment, options.selection); !good) return fail(name_of(options.view), good.error());
  std::vector<std::string> unknown;
  auto rows = worker::select_workers(attachment.engine(), options.selection, unknown);
  ask_workers(attachment, rows, worker::Command::kPing, 0, options.timeout_ns);
  if (context.json) {
    const auto document = document_of(attachment, rows);
    options.follow ? print_json_line(document) : print_json(document);
  } else if (rows.empty() && unknown.empty()) {
    fmt::print("{}\n", options.selection.everyone() ? "no workers" : "no worker serves that queue");
  } else if (options.view == View::kStats) {
    print_stats(rows, context.style);
  } else if (options.view == View::kInspect) {
    print_inspect(attachment, rows, context.style);
  } else {
    print_status(rows, context.style);
  }
  for (const std::string& name : unknown) print_error("no worker is named " + name);
  if (!unknown.empty()) return kExitNotFound;
  for (const WorkerRow& row : rows)
    if (!row.answered) return kExitTimeout;
  return kExitOk;
}

void print_hosts(const ClusterAnswer& answer, View view, const Style& style) {
  std::vector<Column> columns{{"HOST", Align::kLeft, true}, {"WORKER", Align::kLeft, true}, {"PID", Align::kRight}};
  if (view == View::kStatus)
    columns.insert(columns.end(), {{"CORE", Align::kRight},
                                   {"STATE"},
                                   {"INFLIGHT", Align::kRight},
                                   {"DONE", Align::kRight},
                                   {"FAILED", Align::kRight},
                                   {"RSS", Align::kRight}});
  if (view == View::kStats)
    columns.insert(columns.end(), {{"STARTED", Align::kRight},
                                   {"DONE", Align::kRight},
                                   {"FAILED", Align::kRight},
                                   {"INFLIGHT", Align::kRight},
                                   {"RSS", Align::kRight}});
  if (view == View::kInspect)
    columns.insert(columns.end(), {{"STATE"}, {"TASK-ID"}, {"TASK"}, {"RUNNING-FOR", Align::kRight}});
  const std::size_t width = columns.size();
  Table table(std::move(columns));
  for (const HostAnswer& host : answer.hosts) {
    for (const auto& w : host.workers) {
      const auto number = [&w](const char* name) { return std::to_string(w.value(name, std::int64_t{0})); };
      const std::uint64_t rss = w.value("rssBytes", std::uint64_t{0});
      const std::string rss_text = rss == 0 ? std::string() : base::human_size(rss), state = w.value("state", "");
      std::vector<Cell> row{host.host, w.value("worker", ""), number("pid")};
      const std::int64_t core = w.value("core", std::int64_t{-1});
      if (view == View::kStatus)
        row.insert(row.end(), {core < 0 ? std::string() : std::to_string(core),
                               Cell(state, state == "silent" || state == "dead" ? Tone::kBad : Tone::kPlain),
                               number("inflight"), number("done"), number("failed"), rss_text});
      if (view == View::kStats)
        row.insert(row.end(), {number("started"), number("done"), number("failed"), number("inflight"), rss_text});
      if (view == View::kInspect) {
        const auto task = w.find("task");
        const bool runs = task != w.end() && task->is_object();
        row.insert(row.end(), {state, runs ? task->value("id", "") : "", runs ? task->value("name", "") : "",
                               runs ? base::human_duration(task->value("runningForNs", std::int64_t{0})) : ""});
      }
      table.add_row(std::move(row));
    }
    if (host.answered) continue;
    std::vector<Cell> row{host.host, Cell(host.reachable ? "no reply" : "cannot be asked", Tone::kBad)};
    row.resize(width, Cell(""));
    table.add_row(std::move(row));
  }
  if (table.empty())
    fmt::print("no workers\n");
  else
    table.print(style);
}

int show_hosts(const StatusOptions& options, const Context& context, RedisHold& redis) {
  federation::HostRequest request;
  request.selection = options.selection;
  request.timeout_ms = std::clamp<std::int64_t>(options.timeout_ns / 1'000'000, 1, federation::kMostTimeoutMs);
  const auto answer = ask_hosts(redis, request);
  if (!answer.ok()) return fail(name_of(options.view), answer.error());
  if (context.json) {
    const auto document = cluster_answer_json(*answer);
    options.follow ? print_json_line(document) : print_json(document);
  } else {
    print_hosts(*answer, options.view, context.style);
  }
  for (const std::string& name : answer->unknown) print_error("no worker of any host is named " + printable(name));
  return cluster_exit_code(*answer, /*leaving_is_wanted=*/false);
}

int show_cluster(const StatusOptions& options, const Context& context) {
  auto redis = connect(options.redis, context);
  if (!redis.ok()) return fail(name_of(options.view), redis.error());
  if (!options.follow) return show_hosts(options, context, *redis);
  Interrupts interrupts;
  do {
    if (show_hosts(options, context, *redis) == kExitFailed) return kExitFailed;
    if (std::fflush(stdout) != 0) return kExitFailed;
  } while (!interrupts.wait_ns(kFollowEveryNs));
  return kExitOk;
}

int show(const StatusOptions& options, const Context& context) {
  if (options.redis.is_cluster()) return show_cluster(options, context);
  const auto attachment = Attachment::ask(context);
  if (!attachment) return fail(name_of(options.view), attachment.error());
  if (!options.follow) return show_once(*attachment, options, context);
  const bool redraw = !context.json && stdout_is_terminal();
  Interrupts interrupts;
  do {
    if (redraw) fmt::print("\x1b[H\x1b[J");
    (void)show_once(*attachment, options, context);
    if (!context.json) fmt::print("{}\n", redraw ? "\nctrl-c ends" : "");
    if (std::fflush(stdout) != 0) return kExitFailed;  // whoever read it has gone
    if (!is_named(attachment->segment()))
      return fail(name_of(options.view), {Errc::kNotFound, "the segment was destroyed"});
    attachment->engine().self().beat();
  } while (!interrupts.wait_ns(kFollowEveryNs));
  return kExitOk;
}

template <View view>
Run build_view(CommandLine& line) {
  auto options = std::make_shared<StatusOptions>();
  options->view = view;
  line.texts("-w,--worker", &options->selection.names, "a worker, or a node for all of its").named("NAME");
  line.texts("-q,--queue", &options->selection.queues, "only workers that serve this queue").named("QUEUE");
  line.duration_ns("--timeout", &options->timeout_ns, "how long to wait for a sign of life (default 500ms)");
  declare_all_hosts(line, options->redis, "asks every gateway for its host");
  if (view == View::kStatus) line.flag("--once", &options->once, "print once (the default)");
  line.flag("--follow", &options->follow, "again every second, until interrupted");
  return [options](const Context& context) { return show(*options, context); };
}

}  // namespace

std::vector<Command> worker_status_commands() {
  return {{.path = "worker status",
           .group = Group::kRun,
           .help = "Workers, their cores, and how they are",
           .details = "Exit code 3 when one gave no sign of life.",
           .examples = {{"stem worker status", ""}, {"stem worker status --follow --json", "one object a second"}},
           .traits = kReads,
           .build = build_view<View::kStatus>},
          {.path = "worker stats",
           .group = Group::kRun,
           .help = "What workers have done",
           .examples = {{"stem worker stats", ""}},
           .traits = kReads,
           .build = build_view<View::kStats>},
          {.path = "worker inspect",
           .group = Group::kRun,
           .help = "What workers are running right now",
           .examples = {{"stem worker inspect -w alpha", "all processes of one node"}},
           .traits = kReads,
           .build = build_view<View::kInspect>}};
}

}  // namespace stem::cli
