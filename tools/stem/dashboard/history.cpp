#include "tools/stem/dashboard/history.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"

namespace stem::cli {
namespace {

using nlohmann::ordered_json;

// What came into a histogram between two looks, and nothing else: a chart of now must not show what once was.
base::HistogramSummary between(const base::HistogramSummary* before, const base::HistogramSummary& now) {
  base::HistogramSummary fresh;
  for (std::size_t i = 0; i < now.counts.size(); ++i) {
    const std::uint64_t was = before == nullptr ? now.counts[i] : before->counts[i];
    fresh.counts[i] = now.counts[i] - std::min(was, now.counts[i]);
    fresh.count += fresh.counts[i];
  }
  return fresh;
}

template <class Lines>
void keep_busiest(Lines& lines, std::size_t most) {
  if (lines.size() <= most) return;
  std::nth_element(lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(most), lines.end(),
                   [](const auto& a, const auto& b) {
                     return a.rate_out + a.rate_in + static_cast<double>(a.ready) >
                            b.rate_out + b.rate_in + static_cast<double>(b.ready);
                   });
  lines.resize(most);
}

template <class Line>
void set_percentiles(Line& line, const base::HistogramSummary& fresh) {
  line.samples = fresh.count;
  line.p50_ns = fresh.percentile_ns(0.5);
  line.p99_ns = fresh.percentile_ns(0.99);
}

}  // namespace

void History::note(const Look& before, const Look& now) {
  Point point{.at_ms = base::realtime_ns() / 1'000'000, .all = {}, .busy = 0, .workers = 0, .queues = {}, .tasks = {}};
  base::HistogramSummary waits;
  const std::vector<QueueFigures> queues = queue_figures(before, now);
  for (std::size_t i = 0; i < queues.size(); ++i) {
    const QueueFigures& q = queues[i];
    const base::HistogramSummary fresh =
        between(i < before.queues.size() ? &before.queues[i].wait : nullptr, now.queues[i].wait);
    waits.add(fresh.counts);
    Line line{.name = q.name, .rate_in = q.rate_in, .rate_out = q.rate_out, .ready = q.ready, .inflight = q.inflight};
    set_percentiles(line, fresh);
    point.all.rate_in += q.rate_in;
    point.all.rate_out += q.rate_out;
    point.all.ready += q.ready;
    point.all.inflight += q.inflight;
    point.queues.push_back(std::move(line));
  }
  set_percentiles(point.all, waits);
  const std::vector<TaskFigures> tasks = task_figures(before, now);
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    Line line{.name = tasks[i].name, .rate_out = tasks[i].rate};
    set_percentiles(line,
                    between(i < before.tasks.size() ? &before.tasks[i].duration : nullptr, now.tasks[i].duration));
    point.tasks.push_back(std::move(line));
  }
  for (const engine::WorkerStats& w : now.workers) {
    if (w.role != shm::Role::kWorker || w.signalled_dead) continue;
    ++point.workers;
    point.busy += w.current || w.inflight > 0 ? 1 : 0;
  }
  keep_busiest(point.queues, kMostNames);
  keep_busiest(point.tasks, kMostNames);
  points_.push_back(std::move(point));
  if (points_.size() > kMostPoints) points_.pop_front();
}

ordered_json History::line_json(const Line& line) {
  ordered_json object{{"name", line.name},   {"rateIn", line.rate_in},    {"rateOut", line.rate_out},
                      {"ready", line.ready}, {"inflight", line.inflight}, {"samples", line.samples},
                      {"p50Ns", nullptr},    {"p99Ns", nullptr}};
  if (line.samples > 0) {
    object["p50Ns"] = line.p50_ns;
    object["p99Ns"] = line.p99_ns;
  }
  return object;
}

ordered_json History::json(std::int64_t after_ms) const {
  ordered_json points = ordered_json::array();
  for (const Point& point : points_) {
    if (point.at_ms <= after_ms) continue;
    ordered_json object{
        {"at", point.at_ms},        {"all", line_json(point.all)},     {"busy", point.busy},
        {"workers", point.workers}, {"queues", ordered_json::array()}, {"tasks", ordered_json::array()}};
    // Names at rest say nothing that their absence does not.
    for (const Line& line : point.queues)
      if (line.samples > 0 || line.ready > 0 || line.inflight > 0 || line.rate_in > 0)
        object["queues"].push_back(line_json(line));
    for (const Line& line : point.tasks)
      if (line.samples > 0) object["tasks"].push_back(line_json(line));
    points.push_back(std::move(object));
  }
  return {{"points", points}};
}

}  // namespace stem::cli
