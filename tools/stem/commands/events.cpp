// `stem events`: what happened lately, and what happens now.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "engine/task.hpp"
#include "shm/names.hpp"
#include "tools/stem/attachment.hpp"
#include "tools/stem/commands/engine_commands.hpp"
#include "tools/stem/dashboard/otlp.hpp"
#include "tools/stem/events/event_report.hpp"
#include "tools/stem/events/traces.hpp"
#include "tools/stem/http_target.hpp"
#include "tools/stem/interrupts.hpp"
#include "tools/stem/json_output.hpp"

namespace stem::cli {
namespace {

using nlohmann::ordered_json;
using shm::EventKind;
using shm::ReadEvent;

constexpr std::int64_t kLookNs = 20'000'000;

struct EventsOptions {
  bool follow = false, steps = false;
  std::vector<std::string> kinds, queues, tasks, ids;
  std::optional<std::int64_t> since_ns;  // CLOCK_REALTIME
  std::string webhook, otlp;
};

// Which events; empty lists match all.
struct Wanted {
  std::vector<EventKind> kinds;
  std::vector<std::uint16_t> queues, tasks;
  std::vector<std::uint64_t> handles;
  std::int64_t since_ns = INT64_MIN;  // CLOCK_MONOTONIC

  bool operator()(const shm::Event& event) const {
    const auto has = [](const auto& list, auto value) {
      return list.empty() || std::find(list.begin(), list.end(), value) != list.end();
    };
    return has(kinds, event.kind) && has(queues, event.queue) && has(tasks, event.task) && has(handles, event.handle) &&
           event.at_ns >= since_ns;
  }
};

std::vector<std::string> kind_names() {
  std::vector<std::string> names;
  for (std::uint32_t i = 1; i < shm::kEventKinds; ++i) names.emplace_back(event_name(static_cast<EventKind>(i)));
  return names;
}

Result<Wanted> wanted_of(const EventsOptions& options, const shm::Segment& segment) {
  Wanted wanted;
  for (const std::string& name : options.kinds) {
    EventKind kind{};
    if (!shm::parse_event_name(name, kind)) {
      return Error{Errc::kInvalidArgument, fmt::format("--kind: there is no event '{}'; there are {}",
                                                       shortened(printable(name), 60), fmt::join(kind_names(), ", "))};
    }
    wanted.kinds.push_back(kind);
  }
  for (const std::string& name : options.queues) {
    const auto id = queue_named(segment, name);
    if (!id.ok()) return id.error();
    wanted.queues.push_back(static_cast<std::uint16_t>(*id));
  }
  for (const std::string& name : options.tasks) {
    const auto id = task_named(segment, name);
    if (!id.ok()) return id.error();
    wanted.tasks.push_back(static_cast<std::uint16_t>(*id));
  }
  for (const std::string& text : options.ids) {
    engine::TaskId id;
    if (!engine::parse_task_id(text, id))
      return Error{Errc::kInvalidArgument, fmt::format("'{}' is no task id", shortened(printable(text), 60))};
    if (id.epoch != segment.epoch())
      return Error{Errc::kNotFound, fmt::format("task {} belongs to another segment", text)};
    wanted.handles.push_back(id.handle);
  }
  if (options.since_ns) wanted.since_ns = Moment::now().to_monotonic_ns(*options.since_ns);
  return wanted;
}

std::string clock_time(std::int64_t realtime_ns) {  // 12:00:00.123456
  const std::int64_t us = realtime_ns / 1000;
  const std::int64_t s = us / 1'000'000 % 86'400;
  return fmt::format("{:02}:{:02}:{:02}.{:06}", s / 3600, s / 60 % 60, s % 60, us % 1'000'000);
}

void print_event(const ReadEvent& read, const shm::Segment& segment, const Moment& now, const Context& context) {
  if (context.json) return print_json_line(event_json(read, segment, now));
  const shm::Event& event = read.event;
  std::string subject;
  if (event.handle != 0) subject = to_string(engine::TaskId{segment.epoch(), event.handle}) + "  ";
  if (event.task < shm::task_total(segment)) subject += printable(shm::task_name(segment, event.task)) + "  ";
  fmt::print("{}  {}  {}{}\n", clock_time(now.to_realtime_ns(event.at_ns)),
             context.style.paint(tone_of_event(event.kind), fmt::format("{:<21}", shm::event_name(event.kind))),
             subject, printable(event_text(read, segment)));
}

class MissedCount {
 public:
  void tell(const shm::EventReader& reader, const Context& context) {
    if (reader.missed() == told_) return;
    const std::uint64_t more = reader.missed() - told_;
    told_ = reader.missed();
    if (context.json)
      print_json_line({{"event", "events-missed"}, {"count", more}});
    else
      print_warning(fmt::format("{} events came faster than they were read, and are missing here", more));
  }

 private:
  std::uint64_t told_ = 0;
};

// Where events go besides the terminal.
class Senders {
 public:
  static Result<Senders> open(const EventsOptions& options, const shm::Segment& segment) {
    Senders senders;
    if ((!options.webhook.empty() || !options.otlp.empty()) && !options.follow)
      return Error{Errc::kInvalidArgument, "--webhook and --otlp go with --follow"};
    if (!options.webhook.empty()) {
      auto target = parse_http_url("--webhook", options.webhook);
      if (!target.ok()) return target.error();
      senders.webhook_ = std::make_unique<JsonPoster>(*std::move(target), kMostBodies);
    }
    if (!options.otlp.empty()) {
      auto target = parse_otlp_url(options.otlp, "/v1/traces");
      if (!target.ok()) return target.error();
      senders.collector_ = std::make_unique<JsonPoster>(*std::move(target), kMostBodies);
      senders.spans_ = std::make_unique<TraceSpans>(segment);
    }
    return senders;
  }

  void add(const ReadEvent& event, bool wanted, const shm::Segment& segment, const Moment& now) {
    if (spans_) spans_->add(event, now);  // of a trace all spans, or its tree has holes
    if (!webhook_ || !wanted) return;
    events_.push_back(event_json(event, segment, now));
    if (events_.size() >= kEventsPerBody) send_events();
  }

  void flush(const shm::Segment& segment) {
    send_events();
    if (!spans_) return;
    for (auto request = spans_->take(segment.name_space()); !request.is_null();
         request = spans_->take(segment.name_space()))
      collector_->post(text_of(request));
  }

  // Tries what waits; then how many bodies were never taken.
  [[nodiscard]] std::uint64_t finish() {
    return (webhook_ ? webhook_->finish() : 0) + (collector_ ? collector_->finish() : 0);
  }

 private:
  static constexpr std::size_t kMostBodies = 1000;
  static constexpr std::size_t kEventsPerBody = 100;

  static std::string text_of(const ordered_json& json) {
    return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  }
  void send_events() {
    if (!webhook_ || events_.empty()) return;
    webhook_->post(text_of({{"events", std::move(events_)}}));
    events_ = ordered_json::array();
  }

  std::unique_ptr<JsonPoster> webhook_, collector_;
  std::unique_ptr<TraceSpans> spans_;
  ordered_json events_ = ordered_json::array();
};

int show_events(const EventsOptions& options, const Context& context) {
  // No row in its roster, and read-only but for one word that says that somebody follows.
  const auto segment = options.follow ? attach_segment(context) : watch_segment(context);
  if (!segment.ok()) return fail("events", segment.error());
  const auto wanted = wanted_of(options, **segment);
  if (!wanted.ok()) return fail("events", wanted.error());
  Interrupts interrupts;  // before there are threads, so that none of them takes the signals
  if (options.steps && !options.follow)
    return fail("events", {Errc::kInvalidArgument, "--steps goes with --follow: what nobody follows is not noted"});
  auto senders = Senders::open(options, **segment);
  if (!senders.ok()) return fail("events", senders.error());
  const bool from_now = options.follow && !options.since_ns;
  shm::EventReader reader(**segment, from_now);
  MissedCount missed;
  shm::Following following(**segment, options.steps ? shm::EventDetail::kSteps : shm::EventDetail::kTasks);
  do {
    if (options.follow && following.renew(base::monotonic_ns()) && !is_named(**segment))
      return fail("events", {Errc::kNotFound, "the segment was destroyed"});
    const Moment now = Moment::now();
    for (const ReadEvent& event : reader.read()) {
      const bool shown = (*wanted)(event.event);
      senders->add(event, shown, **segment, now);
      if (shown) print_event(event, **segment, now, context);
    }
    senders->flush(**segment);
    missed.tell(reader, context);
    std::fflush(stdout);
  } while (options.follow && std::ferror(stdout) == 0 && !interrupts.wait_ns(kLookNs));
  if (const std::uint64_t dropped = senders->finish(); dropped > 0)
    print_warning(fmt::format("{} bodies were not taken, and dropped", dropped));
  return kExitOk;
}

Run build_events(CommandLine& line) {
  auto options = std::make_shared<EventsOptions>();
  line.flag("--follow", &options->follow, "go on with what happens from now on");
  line.flag("--steps", &options->steps,
            "each step of a task, too: before it is published, received, its handler done; and heartbeats");
  line.texts("--kind", &options->kinds, "only events of this kind, as task-failed").named("EVENT");
  line.texts("-q,--queue", &options->queues, "only of this queue").named("QUEUE");
  line.texts("--task", &options->tasks, "only of tasks of this name").named("TASK");
  line.texts("--id", &options->ids, "only of this task").named("ID");
  line.text("--webhook", &options->webhook, "POST them there, too: {\"events\": [...]}, at most 100 at once")
      .named("URL");
  line.text("--otlp", &options->otlp, "send spans of traced tasks to this OpenTelemetry collector").named("URL");
  line.when_ns("--since", &options->since_ns, Toward::kPast, "from then on, as far as it is remembered");
  return [options](const Context& context) { return show_events(*options, context); };
}

}  // namespace

std::vector<Command> events_commands() {
  return {{.path = "events",
           .group = Group::kWatch,
           .help = "What happened lately to tasks, workers and queues",
           .details = "Each participant remembers its last 512 events. Retries, failures, revokes, lost workers and "
                      "the like are always remembered; that a task was enqueued, started or has succeeded only while "
                      "somebody follows. With --json each event is one line. Names are those of Stem's signals.",
           .examples = {{"stem events --follow", "everything, as it happens"},
                        {"stem events --since 10m --kind task-failed --kind task-retry", "what went wrong"},
                        {"stem events --follow --json --queue mail", "for a program"},
                        {"stem events --follow --kind task-failed --webhook https://alerts.example/hook", ""},
                        {"stem events --follow --otlp http://collector:4318", "traces: enqueue, wait, execute"}},
           .traits = kReads,
           .build = build_events}};
}

}  // namespace stem::cli
