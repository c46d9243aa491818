// `stem observe queues|workers|tasks|dlq|schedules|metrics`.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "tools/stem/commands/engine_commands.hpp"
#include "tools/stem/interrupts.hpp"
#include "tools/stem/json_output.hpp"
#include "tools/stem/observe/prometheus.hpp"
#include "tools/stem/observe/reports.hpp"
#include "tools/stem/observe/schedules.hpp"
#include "tools/stem/when.hpp"

namespace stem::cli {
namespace {

using nlohmann::ordered_json;

constexpr std::int64_t kFirstGapNs = 250'000'000;  // between the two looks of one answer

struct View {
  std::string_view command;  // "observe queues"
  unsigned parts;
  std::string (*text)(const Scene&);
  ordered_json (*json)(const Scene&);
};

struct ObserveOptions {
  bool follow = false;
  std::int64_t interval_ns = 1'000'000'000;
  std::vector<std::string> queues;
};

void print_text(const std::string& text, bool redraw) {
  if (redraw) fmt::print("\x1b[H\x1b[J");
  fmt::print("{}", text);
  if (!redraw) return;
  fmt::print("\nctrl-c ends\n");
}

void print_look(const View& view, const Scene& scene, bool follow, const Context& context) {
  if (context.json) {
    ordered_json document = view.json(scene);
    document["at"] = write_time(Moment::now().to_realtime_ns(scene.now.at_ns));
    document["namespace"] = context.namespace_name;
    follow ? print_json_line(document) : print_json(document);
    return;
  }
  const bool redraw = follow && stdout_is_terminal();
  print_text(view.text(scene), redraw);
  if (follow && !redraw) fmt::print("\n");
  std::fflush(stdout);
}

Result<void> check_queues(const ObserveOptions& options, const shm::Segment& segment) {
  for (const std::string& name : options.queues) {
    if (const auto id = queue_named(segment, name); !id.ok()) return id.error();
  }
  return {};
}

int observe(const View& view, const ObserveOptions& options, const Context& context) {
  if (options.interval_ns <= 0) {
    return fail(view.command, {Errc::kInvalidArgument, "--interval: must be above 0"});
  }
  const auto attached = Attachment::watch(context);
  if (!attached.ok()) return fail(view.command, attached.error());
  if (auto good = check_queues(options, attached->segment()); !good.ok()) {
    return fail(view.command, good.error());
  }
  Interrupts interrupts;
  Heartbeats heartbeats;
  Look before = take_look(*attached, view.parts);
  heartbeats.see(before);
  for (std::int64_t gap_ns = kFirstGapNs; !interrupts.wait_ns(gap_ns); gap_ns = options.interval_ns) {
    Look now = take_look(*attached, view.parts);
    heartbeats.see(now);
    print_look(view,
               {.attachment = *attached,
                .before = before,
                .now = now,
                .heartbeats = heartbeats,
                .queues = options.queues,
                .style = context.style,
                .width = terminal_width()},
               options.follow, context);
    if (!options.follow || std::ferror(stdout) != 0) break;
    if (!is_named(attached->segment())) {
      return fail(view.command, {Errc::kNotFound, "the segment was destroyed"});
    }
    before = std::move(now);
  }
  return kExitOk;
}

template <const View& kView, bool kHasQueues>
Run build(CommandLine& line) {
  auto options = std::make_shared<ObserveOptions>();
  if (kHasQueues) line.texts("-q,--queue", &options->queues, "only this queue").named("QUEUE");
  line.flag("--follow", &options->follow, "look again and again");
  line.duration_ns("--interval", &options->interval_ns, "how often (default 1s)");
  return [options](const Context& context) { return observe(kView, *options, context); };
}

std::string metrics_text(const Scene& scene) {
  return prometheus_text(metrics_of(scene.before, scene.now, scene.heartbeats, scene.attachment),
                         scene.attachment.segment().name_space());
}

ordered_json metrics_json(const Scene& scene) {
  ordered_json document = queues_json(scene);
  document.update(workers_json(scene));
  document.update(tasks_json(scene));
  document["beat"] = schedules_json(scene);
  return document;
}

constexpr View kQueues{"observe queues", kQueuePart, queues_text, queues_json};
constexpr View kWorkers{"observe workers", kWorkerPart, workers_text, workers_json};
constexpr View kTasks{"observe tasks", kTaskPart, tasks_text, tasks_json};
constexpr View kDead{"observe dlq", kQueuePart, dead_text, dead_json};
constexpr View kSchedules{"observe schedules", 0, schedules_text, schedules_json};
constexpr View kMetrics{"observe metrics", kQueuePart | kWorkerPart | kTaskPart, metrics_text, metrics_json};

}  // namespace

std::vector<Command> observe_commands() {
  return {{.path = "observe queues",
           .group = Group::kWatch,
           .help = "Depth, rates and waiting times of every queue",
           .details = "Rates are of the time between two looks (a quarter of a second, or --interval). "
                      "LAG is how long tasks waited for their first start: those of that time, or all "
                      "there ever were when none started in it.",
           .examples = {{"stem observe queues", ""}, {"stem observe queues --follow", ""}},
           .traits = kReads,
           .build = build<kQueues, true>},
          {.path = "observe workers",
           .group = Group::kWatch,
           .help = "Worker processes, their cores, and what they did",
           .details = "LAST-HEARTBEAT is as this command saw it: '<' it moved within that time, '>' it "
                      "has stood still at least so long.",
           .examples = {{"stem observe workers --follow", ""}},
           .traits = kReads,
           .build = build<kWorkers, false>},
          {.path = "observe tasks",
           .group = Group::kWatch,
           .help = "Count, duration and failures of every task name",
           .examples = {{"stem observe tasks --json", ""}},
           .traits = kReads,
           .build = build<kTasks, false>},
          {.path = "observe dlq",
           .group = Group::kWatch,
           .help = "Dead letters, those that failed alike as one row",
           .examples = {{"stem observe dlq -q mail", ""}},
           .traits = kReads,
           .build = build<kDead, true>},
          {.path = "observe schedules",
           .group = Group::kWatch,
           .help = "Schedules: next and last ticks, how late, who fires",
           .details = "NEXT counts jitter in; DRIFT does not. A tick that is more than a second late is overdue.",
           .examples = {{"stem observe schedules --follow", ""}},
           .traits = kReads,
           .build = build<kSchedules, false>},
          {.path = "observe metrics",
           .group = Group::kWatch,
           .help = "Everything in Prometheus' text form",
           .examples = {{"stem observe metrics", ""}},
           .traits = kReads,
           .build = build<kMetrics, false>}};
}

}  // namespace stem::cli
