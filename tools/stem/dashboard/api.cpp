#include "tools/stem/dashboard/api.hpp"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "engine/query.hpp"
#include "stem/version.hpp"
#include "tools/stem/dashboard/acts.hpp"
#include "tools/stem/dashboard/page.hpp"
#include "tools/stem/dashboard/task_list.hpp"
#include "tools/stem/events/event_report.hpp"
#include "tools/stem/observe/federation.hpp"
#include "tools/stem/observe/prometheus.hpp"
#include "tools/stem/observe/reports.hpp"
#include "tools/stem/observe/schedules.hpp"
#include "tools/stem/segment/usage.hpp"
#include "tools/stem/task/task_report.hpp"
#include "tools/stem/task/why.hpp"
#include "tools/stem/when.hpp"

namespace stem::cli {
namespace {

using nlohmann::ordered_json;

const std::vector<std::string> kAllQueues;

Scene scene_of(const Sight& sight) {
  return {.attachment = sight.attachment,
          .before = sight.before,
          .now = sight.now,
          .heartbeats = sight.heartbeats,
          .queues = kAllQueues,
          .style = {}};
}

std::int64_t whole_number(const WebRequest& request, const std::string& name, std::int64_t otherwise) {
  const auto text = request.parameter(name);
  std::int64_t number = 0;
  if (!text) return otherwise;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
  return error == std::errc{} && end == text->data() + text->size() ? number : otherwise;
}

ordered_json federation_of(const Sight& sight) {
  return federation_json({.local = look_at_gateway(sight.attachment.segment()), .cluster = std::nullopt});
}

// How much room is left, and whether somebody keeps it.
ordered_json segment_of(const Sight& sight) {
  const shm::Segment& segment = sight.attachment.segment();
  const auto& all = sight.now.workers;
  ordered_json document{
      {"tasksUsed", count_slots(segment).tasks()},
      {"tasksCapacity", segment.geometry().slot_count},
      {"participantsUsed", all.size()},
      {"participantsCapacity", segment.geometry().participant_count},
      {"bytesUsed", segment.used_bytes()},
      {"bytesAvailable", nullptr},
      {"keeper", std::any_of(all.begin(), all.end(), [](const auto& w) { return w.keeper && !w.signalled_dead; })}};
  struct statvfs host {};
  if (::statvfs(segment.path().c_str(), &host) == 0) document["bytesAvailable"] = host.f_bavail * host.f_frsize;
  return document;
}

// Everything that the first page shows, in one answer.
ordered_json overview_of(const Sight& sight) {
  const Scene scene = scene_of(sight);
  ordered_json document = queues_json(scene);
  document.update(workers_json(scene));
  document.update(tasks_json(scene));
  document.update(federation_of(sight));
  for (std::size_t i = 0; i < document["queues"].size(); ++i)
    document["queues"][i]["maxLength"] = sight.now.queues[i].max_length;
  document["segment"] = segment_of(sight);
  const BeatFigures beat = beat_figures(sight.attachment, base::realtime_ns());
  document["beat"] = {{"entries", beat.entries.size()},
                      {"due", beat.due},
                      {"overdue", beat.overdue},
                      {"holder", beat.holder.empty() ? ordered_json(nullptr) : ordered_json(beat.holder)}};
  return document;
}

// ---- what takes parameters

using Shown = Result<ordered_json>;

Shown found_tasks(const WebRequest& request, const Sight& sight) {
  TaskFilter filter;
  filter.state = request.parameter("state").value_or("");
  filter.queue = request.parameter("queue").value_or("");
  filter.task = request.parameter("task").value_or("");
  filter.text = request.parameter("q").value_or("");
  filter.limit =
      static_cast<std::size_t>(std::clamp<std::int64_t>(whole_number(request, "limit", 100), 1, kMostListed));
  filter.offset = static_cast<std::size_t>(std::max<std::int64_t>(whole_number(request, "offset", 0), 0));
  return list_tasks(filter, sight.attachment);
}

Shown one_task(const WebRequest& request, const Sight& sight) {
  engine::TaskId id;
  if (!engine::parse_task_id(request.parameter("id").value_or(""), id))
    return Error{Errc::kInvalidArgument, "this is no task id; one looks like 1f2e3d4c-00000000abc00012"};
  const auto task = engine::Query(sight.attachment.engine()).task(id);
  if (!task) return Error{Errc::kNotFound, "no such task: it is over and nothing was kept of it, or it never was"};
  return task_json(*task, sight.attachment);
}

// As `stem why` says it; each event in words, too.
Shown why_task(const WebRequest& request, const Sight& sight) {
  engine::TaskId id;
  if (!engine::parse_task_id(request.parameter("id").value_or(""), id))
    return Error{Errc::kInvalidArgument, "this is no task id"};
  const WhyTask asked = why(sight.attachment, id);
  if (!asked.info && asked.why.life.empty()) return Error{Errc::kNotFound, "nothing is remembered of this task"};
  ordered_json document = why_json(asked, sight.attachment);
  for (std::size_t i = 0; i < asked.why.life.size(); ++i)
    document["life"][i]["text"] = event_text(asked.why.life[i], sight.attachment.segment());
  return document;
}

Result<SelectedLetters> wanted_letters(const WebRequest& request, const Sight& sight) {
  nlohmann::json given = nlohmann::json::object();
  for (const char* name : {"queue", "reason", "fingerprint", "upTo"})
    if (const auto text = request.parameter(name); text && !text->empty()) given[name] = *text;
  const auto seen = seen_letters(given);
  if (!seen.ok()) return seen.error();
  return select_seen(*seen, sight.attachment);
}

Shown dead_letters(const WebRequest& request, const Sight& sight) {
  const auto selected = wanted_letters(request, sight);
  if (!selected.ok()) return selected.error();
  const auto limit =
      static_cast<std::size_t>(std::clamp<std::int64_t>(whole_number(request, "limit", 50), 1, kMostListed));
  const Moment now = Moment::now();
  ordered_json rows = ordered_json::array();
  // Oldest first in the segment; a person wants the newest.
  const auto& letters = selected->letters;
  for (auto it = letters.rbegin(); it != letters.rend() && rows.size() < limit; ++it)
    rows.push_back({{"id", to_string(it->id)},
                    {"task", task_name_of(*it, sight.attachment.segment())},
                    {"queue", queue_name_of(*it, sight.attachment.segment())},
                    {"error", failure_json(it->failure, now)}});
  return ordered_json{{"letters", rows}, {"matching", letters.size()}};
}

// What a replay or purge would touch, and the moment up to which: what dies after it is not meant.
Shown blast_radius(const WebRequest& request, const Sight& sight) {
  const std::int64_t up_to_ns = base::monotonic_ns();
  const auto selected = wanted_letters(request, sight);
  if (!selected.ok()) return selected.error();
  ordered_json document = BlastRadius(selected->letters, sight.attachment.segment()).json();
  document["upTo"] = std::to_string(up_to_ns);
  return document;
}

struct Page {
  std::string_view path;
  ordered_json (*json)(const Sight&);
};

struct Question {
  std::string_view path;
  Shown (*json)(const WebRequest&, const Sight&);
};

constexpr Question kQuestions[] = {
    {"/api/tasks/find", found_tasks},   {"/api/task", one_task},           {"/api/task/why", why_task},
    {"/api/dlq/letters", dead_letters}, {"/api/dlq/radius", blast_radius},
};

constexpr Page kPages[] = {
    {"/api/overview", overview_of},
    {"/api/queues", [](const Sight& sight) { return queues_json(scene_of(sight)); }},
    {"/api/workers", [](const Sight& sight) { return workers_json(scene_of(sight)); }},
    {"/api/tasks", [](const Sight& sight) { return tasks_json(scene_of(sight)); }},
    {"/api/dlq", [](const Sight& sight) { return dead_json(scene_of(sight)); }},
    {"/api/schedules", [](const Sight& sight) { return schedules_json(scene_of(sight)); }},
    {"/api/federation", federation_of},
};

}  // namespace

WebAnswer json_answer(const ordered_json& document, int status) {
  return {status,
          "application/json",
          document.dump(-1, ' ', false, ordered_json::error_handler_t::replace),
          {{"Cache-Control", "no-store"}, {"X-Content-Type-Options", "nosniff"}}};
}

WebAnswer Api::metrics() const {
  const auto text_answer = [](std::string text) {
    return WebAnswer{200, "text/plain; version=0.0.4; charset=utf-8", std::move(text), {{"Cache-Control", "no-store"}}};
  };
  const auto up = [this](bool seen) {
    Metric metric{
        .name = "stem.up",
        .kind = MetricKind::kGauge,
        .unit = "",
        .help = "1 when the segment could be read",
        .is_alias = false,
        .samples = {{.labels = {}, .count = 0, .value = seen ? 1.0 : 0.0, .histogram = nullptr, .sum_ns = 0}}};
    return prometheus_text({metric}, context_.namespace_name);
  };
  std::string text;
  const auto fault = observer_.with([&](const Sight& sight) {
    text = prometheus_text(metrics_of(sight.before, sight.now, sight.heartbeats, sight.attachment),
                           sight.attachment.segment().name_space());
  });
  return text_answer(up(!fault) + text);
}

// Whether asking makes sense: the segment is there and can be read. Of its workers it says nothing.
WebAnswer Api::ready() const {
  const auto fault = observer_.blind();
  if (!fault) return {200, "text/plain", "ready\n", {}};
  return {503, "text/plain", "not ready: " + *fault + "\n", {}};
}

ordered_json Api::session() const {
  return {{"namespace", context_.namespace_name},
          {"version", kVersion},
          {"writes", gate_.takes_writes()},
          {"tokenForReading", gate_.token_for() == TokenFor::kEverything}};
}

WebAnswer Api::show_with(const std::function<Result<Json>(const Sight&)>& look) const {
  Shown shown = ordered_json();
  const auto fault = observer_.with([&](const Sight& sight) {
    shown = look(sight);
    if (!shown.ok()) return;
    (*shown)["at"] = write_time(Moment::now().to_realtime_ns(sight.now.at_ns));
    (*shown)["namespace"] = context_.namespace_name;
  });
  if (fault) return refusal(503, *fault);
  if (shown.ok()) return json_answer(*shown);
  return refusal(shown.error().code == Errc::kNotFound ? 404 : 400, shown.error().message);
}

WebAnswer Api::show(const WebRequest& request) const {
  if (request.path == "/api/session") return json_answer(session());
  if (request.path == "/api/history") {
    ordered_json document;
    observer_.with_history([&](const History& history) { document = history.json(whole_number(request, "after", 0)); });
    return json_answer(document);
  }
  for (const Page& page : kPages)
    if (request.path == page.path) return show_with([&](const Sight& sight) -> Shown { return page.json(sight); });
  for (const Question& question : kQuestions)
    if (request.path == question.path)
      return show_with([&](const Sight& sight) { return question.json(request, sight); });
  return refusal(404, "no such page");
}

WebAnswer Api::answer(const WebRequest& request) const {
  if (request.method == "GET" && request.path == "/healthz") return {200, "text/plain", "ok\n", {}};
  if (request.method == "GET" && request.path == "/readyz") return ready();
  if (request.method == "GET" && request.path == "/metrics") return metrics();
  if (request.method == "GET" && !request.path.starts_with("/api/"))
    return page_answer(request).value_or(refusal(404, "no such page"));
  if (request.method == "GET") return show(request);
  return act(request, context_);
}

}  // namespace stem::cli
