#include "tools/stem/dashboard/api.hpp"

#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "stem/version.hpp"
#include "tools/stem/observe/federation.hpp"
#include "tools/stem/observe/prometheus.hpp"
#include "tools/stem/observe/reports.hpp"
#include "tools/stem/observe/schedules.hpp"
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

// Everything that the first page shows, in one answer.
ordered_json overview_of(const Sight& sight) {
  const Scene scene = scene_of(sight);
  ordered_json document = queues_json(scene);
  document.update(workers_json(scene));
  document.update(tasks_json(scene));
  document.update(federation_of(sight));
  return document;
}

struct Page {
  std::string_view path;
  ordered_json (*json)(const Sight&);
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
  const auto fault = observer_.with([](const Sight&) {});
  if (!fault) return {200, "text/plain", "ready\n", {}};
  return {503, "text/plain", "not ready: " + *fault + "\n", {}};
}

ordered_json Api::session() const {
  return {{"namespace", context_.namespace_name},
          {"version", kVersion},
          {"writes", gate_.takes_writes()},
          {"tokenForReading", gate_.token_for() == TokenFor::kEverything}};
}

WebAnswer Api::show(const WebRequest& request) const {
  if (request.path == "/api/session") return json_answer(session());
  if (request.path == "/api/history") {
    ordered_json document;
    observer_.with_history([&](const History& history) { document = history.json(whole_number(request, "after", 0)); });
    return json_answer(document);
  }
  for (const Page& page : kPages) {
    if (request.path != page.path) continue;
    ordered_json document;
    const auto fault = observer_.with([&](const Sight& sight) {
      document = page.json(sight);
      document["at"] = write_time(Moment::now().to_realtime_ns(sight.now.at_ns));
      document["namespace"] = context_.namespace_name;
    });
    return fault ? refusal(503, *fault) : json_answer(document);
  }
  return refusal(404, "no such page");
}

WebAnswer Api::answer(const WebRequest& request) const {
  if (request.method == "GET" && request.path == "/healthz") return {200, "text/plain", "ok\n", {}};
  if (request.method == "GET" && request.path == "/readyz") return ready();
  if (request.method == "GET" && request.path == "/metrics") return metrics();
  if (request.method == "GET") return show(request);
  return refusal(404, "no such act");
}

}  // namespace stem::cli
