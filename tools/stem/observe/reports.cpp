#include "tools/stem/observe/reports.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/units.hpp"
#include "tools/stem/table.hpp"

namespace stem::cli {
namespace {

using nlohmann::ordered_json;
using shm::Counter;

ordered_json percentiles_json(const Percentiles& p) {
  if (p.samples == 0) return {{"samples", 0}, {"p50Ns", nullptr}, {"p95Ns", nullptr}, {"p99Ns", nullptr}};
  return {{"samples", p.samples}, {"p50Ns", p.p50_ns}, {"p95Ns", p.p95_ns}, {"p99Ns", p.p99_ns}};
}

template <class Part>
ordered_json parts_json(const engine::CounterTotals& c, Counter first, std::uint32_t parts, Part part) {
  ordered_json json = ordered_json::object();
  for (std::uint32_t i = 0; i < parts; ++i)
    if (const std::uint64_t count = c[shm::counter_after(first, i)]; count != 0) json[part(i)] = count;
  return json;
}

ordered_json counters_json(const engine::CounterTotals& c) {
  const auto cause = [](std::uint32_t i) { return to_string(static_cast<engine::LeaseEnd>(i)); };
  const auto reason = [](std::uint32_t i) { return to_string(static_cast<engine::DeadReason>(i + 1)); };
  return {{"enqueued", c[Counter::kEnqueued]},
          {"started", c[Counter::kStarted]},
          {"succeeded", c[Counter::kSucceeded]},
          {"failed", c[Counter::kFailed]},
          {"retried", c[Counter::kRetried]},
          {"deadAdded", c[Counter::kDeadAdded]},
          {"deadReplayed", c[Counter::kDeadReplayed]},
          {"deadPurged", c[Counter::kDeadPurged]},
          {"cancelled", c[Counter::kCancelled]},
          {"expired", c[Counter::kExpired]},
          {"dropped", c[Counter::kDropped]},
          {"redelivered", c[Counter::kRedelivered]},
          {"leasesLost", c[Counter::kFenced]},
          {"deduplicated", c[Counter::kDeduplicated]},
          {"rateDenied", c[Counter::kRateDenied]},
          {"rateDegraded", c[Counter::kRateDegraded]},
          {"uniqueDegraded", c[Counter::kUniqueDegraded]},
          {"snoozed", c[Counter::kSnoozed]},
          {"exported", c[Counter::kExported]},
          {"imported", c[Counter::kImported]},
          {"leasesRenewed", c[Counter::kLeaseRenewed]},
          {"signatureInvalid", c[Counter::kSignatureInvalid]},
          {"redeliveredBy", parts_json(c, Counter::kRedeliveredFirst, engine::kLeaseEnds, cause)},
          {"deadAddedBy", parts_json(c, Counter::kDeadAddedFirst, engine::kDeadReasons, reason)}};
}

std::string number(std::uint64_t value) { return fmt::format("{}", value); }

std::string age_text(const Heartbeats::Age& age) {
  return fmt::format("{} {}", age.seen ? "<" : ">", base::human_duration(age.at_most_ns));
}

Tone tone_of(std::string_view worker_state) {
  if (worker_state == "dead") return Tone::kBad;
  if (worker_state == "busy") return Tone::kGood;
  return worker_state == "idle" ? Tone::kPlain : Tone::kWarn;
}

std::string percent(double share) { return share == 0 ? "0" : fmt::format("{:.1f}", share * 100); }

}  // namespace

bool Scene::shows_queue(const std::string& name) const {
  return queues.empty() || std::find(queues.begin(), queues.end(), name) != queues.end();
}

std::string measured(std::int64_t ns, std::uint64_t samples) { return samples == 0 ? "" : base::human_duration(ns); }

// ---- queues

std::string queues_text(const Scene& scene) {
  Table table({{"QUEUE", Align::kLeft, true},
               {"READY", Align::kRight},
               {"DELAYED", Align::kRight},
               {"INFLIGHT", Align::kRight},
               {"DLQ", Align::kRight},
               {"RATE-IN", Align::kRight},
               {"RATE-OUT", Align::kRight},
               {"LAG-P50", Align::kRight},
               {"LAG-P99", Align::kRight},
               {"OLDEST", Align::kRight},
               {"PAUSED"}});
  for (const QueueFigures& q : queue_figures(scene.before, scene.now)) {
    if (!scene.shows_queue(q.name)) continue;
    table.add_row({q.name,
                   number(q.ready),
                   number(q.delayed),
                   number(q.inflight),
                   {number(q.dead), q.dead > 0 ? Tone::kWarn : Tone::kPlain},
                   rate_text(q.rate_in),
                   rate_text(q.rate_out),
                   measured(q.lag.p50_ns, q.lag.samples),
                   measured(q.lag.p99_ns, q.lag.samples),
                   q.oldest_age_ns == 0 ? "" : base::human_duration(q.oldest_age_ns),
                   q.paused ? Cell("yes", Tone::kWarn) : Cell("no")});
  }
  return table.empty() ? "no queues yet\n" : table.render(scene.style, scene.width);
}

ordered_json queues_json(const Scene& scene) {
  ordered_json rows = ordered_json::array();
  for (const QueueFigures& q : queue_figures(scene.before, scene.now)) {
    if (!scene.shows_queue(q.name)) continue;
    ordered_json row{{"queue", q.name},
                     {"ready", q.ready},
                     {"delayed", q.delayed},
                     {"inflight", q.inflight},
                     {"work", q.ready + q.inflight},
                     {"dlq", q.dead},
                     {"kept", q.kept},
                     {"rateInPerSecond", q.rate_in},
                     {"rateOutPerSecond", q.rate_out},
                     {"lag", percentiles_json(q.lag)},
                     {"oldestAgeNs", nullptr},
                     {"paused", q.paused},
                     {"counters", counters_json(q.counters)}};
    if (q.oldest_age_ns > 0) row["oldestAgeNs"] = q.oldest_age_ns;
    rows.push_back(std::move(row));
  }
  return {{"queues", rows}};
}

// ---- workers

std::string workers_text(const Scene& scene) {
  Table table({{"WORKER", Align::kLeft, true},
               {"NODE", Align::kLeft, true},
               {"PID", Align::kRight},
               {"CORE", Align::kRight},
               {"STATE"},
               {"INFLIGHT", Align::kRight},
               {"DONE", Align::kRight},
               {"FAILED", Align::kRight},
               {"RSS", Align::kRight},
               {"LAST-HEARTBEAT", Align::kRight}});
  for (const WorkerFigures& w : worker_figures(scene.before, scene.now, scene.attachment.segment())) {
    table.add_row({w.name,
                   w.node,
                   number(w.pid),
                   w.cpu < 0 ? "" : fmt::format("{}", w.cpu),
                   {std::string(w.state), tone_of(w.state)},
                   number(w.inflight),
                   number(w.done),
                   {number(w.failed), w.failed > 0 ? Tone::kWarn : Tone::kPlain},
                   w.rss_bytes == 0 ? "" : base::human_size(w.rss_bytes),
                   age_text(scene.heartbeats.age(w.participant, scene.now.at_ns))});
  }
  return table.empty() ? "no workers\n" : table.render(scene.style, scene.width);
}

ordered_json workers_json(const Scene& scene) {
  ordered_json rows = ordered_json::array();
  for (const WorkerFigures& w : worker_figures(scene.before, scene.now, scene.attachment.segment())) {
    const Heartbeats::Age age = scene.heartbeats.age(w.participant, scene.now.at_ns);
    ordered_json row{{"worker", w.name},
                     {"node", w.node},
                     {"pid", w.pid},
                     {"core", nullptr},
                     {"state", w.state},
                     {"keeper", w.keeper},
                     {"inflight", w.inflight},
                     {"done", w.done},
                     {"failed", w.failed},
                     {"ratePerSecond", w.rate},
                     {"rssBytes", w.rss_bytes},
                     {"heartbeat", {{"seen", age.seen}, {"ageNs", age.at_most_ns}}},
                     {"current", nullptr}};
    if (w.cpu >= 0) row["core"] = w.cpu;
    if (w.current) {
      row["current"] = {{"id", to_string(w.current)}, {"task", w.current_task}, {"runningNs", w.running_ns}};
    }
    rows.push_back(std::move(row));
  }
  return {{"workers", rows}};
}

// ---- tasks

std::string tasks_text(const Scene& scene) {
  Table table({{"TASK", Align::kLeft, true},
               {"COUNT", Align::kRight},
               {"RATE", Align::kRight},
               {"MEAN", Align::kRight},
               {"P50", Align::kRight},
               {"P95", Align::kRight},
               {"P99", Align::kRight},
               {"FAIL%", Align::kRight},
               {"RETRY%", Align::kRight}});
  for (const TaskFigures& t : task_figures(scene.before, scene.now)) {
    const std::uint64_t n = t.duration.samples;
    table.add_row({t.name,
                   number(t.count),
                   rate_text(t.rate),
                   measured(static_cast<std::int64_t>(t.duration.mean_ns), n),
                   measured(t.duration.p50_ns, n),
                   measured(t.duration.p95_ns, n),
                   measured(t.duration.p99_ns, n),
                   {percent(t.failed), t.failed > 0 ? Tone::kWarn : Tone::kPlain},
                   percent(t.retried)});
  }
  return table.empty() ? "no tasks yet\n" : table.render(scene.style, scene.width);
}

ordered_json tasks_json(const Scene& scene) {
  ordered_json rows = ordered_json::array();
  for (const TaskFigures& t : task_figures(scene.before, scene.now)) {
    ordered_json row{{"task", t.name},
                     {"count", t.count},
                     {"ratePerSecond", t.rate},
                     {"meanNs", nullptr},
                     {"duration", percentiles_json(t.duration)},
                     {"failShare", t.failed},
                     {"retryShare", t.retried}};
    if (t.count > 0) row["meanNs"] = static_cast<std::int64_t>(t.duration.mean_ns);
    rows.push_back(std::move(row));
  }
  return {{"tasks", rows}};
}

}  // namespace stem::cli
