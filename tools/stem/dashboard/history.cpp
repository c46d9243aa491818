#include "tools/stem/dashboard/history.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"

namespace stem::cli {
namespace {

using nlohmann::ordered_json;

// What came into a histogram between two looks, and nothing else: a chart of now must not show what once was. A row that
// was not there before is new.
base::HistogramSummary between(const base::HistogramSummary* before, const base::HistogramSummary& now) {
  base::HistogramSummary fresh;
  for (std::size_t i = 0; i < now.counts.size(); ++i) {
    const std::uint64_t was = before == nullptr ? 0 : before->counts[i];
    fresh.counts[i] = now.counts[i] - std::min(was, now.counts[i]);
    fresh.count += fresh.counts[i];
  }
  return fresh;
}

}  // namespace

History::Times History::times_of(const base::HistogramSummary& fresh) {
  return {fresh.count, fresh.percentile_ns(0.5), fresh.percentile_ns(0.99)};
}

void History::note(const Look& before, const Look& now) {
  Point point;
  point.at_ms = base::realtime_ns() / 1'000'000;
  for (const QueueFigures& q : queue_figures(before, now)) {
    point.rate_in += q.rate_in;
    point.rate_out += q.rate_out;
    point.ready += q.ready;
    point.inflight += q.inflight;
  }
  base::HistogramSummary waits;
  for (std::size_t i = 0; i < now.queues.size(); ++i)
    waits.add(between(i < before.queues.size() ? &before.queues[i].wait : nullptr, now.queues[i].wait).counts);
  point.wait = times_of(waits);
  for (std::size_t i = 0; i < now.tasks.size(); ++i) {
    const Times times =
        times_of(between(i < before.tasks.size() ? &before.tasks[i].duration : nullptr, now.tasks[i].duration));
    if (times.samples == 0 || times.p99_ns < point.slowest.p99_ns) continue;
    point.slowest = times;
    point.slowest_name = now.tasks[i].name;
  }
  for (const engine::WorkerStats& w : now.workers) {
    if (w.role != shm::Role::kWorker || w.signalled_dead) continue;
    ++point.workers;
    point.busy += w.current || w.inflight > 0 ? 1 : 0;
  }
  points_.push_back(std::move(point));
  if (points_.size() > kMostPoints) points_.pop_front();
}

ordered_json History::times_json(const Times& times) {
  if (times.samples == 0) return {{"samples", 0}, {"p50Ns", nullptr}, {"p99Ns", nullptr}};
  return {{"samples", times.samples}, {"p50Ns", times.p50_ns}, {"p99Ns", times.p99_ns}};
}

ordered_json History::json(std::int64_t after_ms) const {
  ordered_json points = ordered_json::array();
  for (const Point& point : points_) {
    if (point.at_ms <= after_ms) continue;
    ordered_json slowest = times_json(point.slowest);
    slowest["task"] = point.slowest_name;
    points.push_back({{"at", point.at_ms},
                      {"rateIn", point.rate_in},
                      {"rateOut", point.rate_out},
                      {"ready", point.ready},
                      {"inflight", point.inflight},
                      {"busy", point.busy},
                      {"workers", point.workers},
                      {"wait", times_json(point.wait)},
                      {"slowest", slowest}});
  }
  return {{"points", points}};
}

}  // namespace stem::cli
