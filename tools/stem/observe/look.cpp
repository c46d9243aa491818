#include "tools/stem/observe/look.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/clock.hpp"
#include "base/units.hpp"
#include "shm/names.hpp"

namespace stem::cli {
namespace {

using shm::Counter;

double per_second(std::uint64_t before, std::uint64_t now, std::int64_t elapsed_ns) {
  if (elapsed_ns <= 0 || now <= before) return 0;
  return static_cast<double>(now - before) * 1e9 / static_cast<double>(elapsed_ns);
}

// Tasks that left a queue: over, or dead letters.
std::uint64_t gone(const engine::CounterTotals& c) {
  return c[Counter::kSucceeded] + c[Counter::kCancelled] + c[Counter::kExpired] + c[Counter::kDropped] +
         c[Counter::kDeadAdded];
}

// Rows keep their places from look to look: names are numbered once and for ever.
template <class Row>
const Row* same_row(const std::vector<Row>& before, std::size_t index) {
  return index < before.size() ? &before[index] : nullptr;
}

const engine::WorkerStats* same_worker(const Look& look, const engine::WorkerStats& worker) {
  const auto it = std::find_if(look.workers.begin(), look.workers.end(), [&](const auto& other) {
    return other.participant == worker.participant && other.incarnation == worker.incarnation;
  });
  return it == look.workers.end() ? nullptr : &*it;
}

std::string_view state_of(const engine::WorkerStats& worker) {
  if (worker.signalled_dead || worker.state == shm::RowState::kDead) return "dead";
  if (worker.state == shm::RowState::kJoining) return "joining";
  if (worker.stop_mode != 0) return "stopping";
  return worker.current || worker.inflight > 0 ? "busy" : "idle";
}

std::string supervisor_name(const Look& look, std::uint64_t supervisor) {
  const std::uint64_t owner = supervisor & ((1U << shm::kOwnerBits) - 1);
  const auto it = std::find_if(look.workers.begin(), look.workers.end(), [&](const auto& other) {
    return owner != 0 && other.participant + 1 == owner && other.incarnation == supervisor >> shm::kOwnerBits;
  });
  return it == look.workers.end() ? "" : it->name;
}

// The name of what a worker runs; empty when it has changed since.
std::string running_task_name(engine::TaskId id, const shm::Segment& segment) {
  if (!id || id.slot() >= segment.geometry().slot_count) return "";
  const shm::Descriptor& d = segment.descriptor(id.slot());
  const std::uint32_t task = d.task;
  if (d.control.load().generation() != id.generation() || task >= shm::task_total(segment)) {
    return "";
  }
  return std::string(shm::task_name(segment, task));
}

}  // namespace

Look take_look(const Attachment& attachment, unsigned parts) {
  const engine::Query query(attachment.engine());
  Look look;
  look.at_ns = base::monotonic_ns();
  if ((parts & kQueuePart) != 0) look.queues = query.queues();
  if ((parts & kWorkerPart) != 0) look.workers = query.workers();
  if ((parts & kTaskPart) != 0) look.tasks = query.task_names();
  attachment.engine().self().beat();
  return look;
}

Percentiles percentiles(const base::HistogramSummary* before, const base::HistogramSummary& now) {
  base::HistogramSummary between = now;
  if (before != nullptr && now.count > before->count) {
    between.count = 0;
    for (std::size_t i = 0; i < between.counts.size(); ++i) {
      between.counts[i] -= std::min(before->counts[i], between.counts[i]);
      between.count += between.counts[i];
    }
  }
  return {.samples = between.count,
          .mean_ns = now.mean_ns,
          .p50_ns = between.percentile_ns(0.5),
          .p95_ns = between.percentile_ns(0.95),
          .p99_ns = between.percentile_ns(0.99)};
}

std::vector<QueueFigures> queue_figures(const Look& before, const Look& now) {
  std::vector<QueueFigures> all;
  const std::int64_t elapsed_ns = now.at_ns - before.at_ns;
  for (std::size_t i = 0; i < now.queues.size(); ++i) {
    const engine::QueueStats& q = now.queues[i];
    const engine::QueueStats* was = same_row(before.queues, i);
    QueueFigures figures{.name = q.name,
                         .ready = q.ready + q.waiting,
                         .delayed = q.delayed,
                         .inflight = q.leased + q.outbox,
                         .dead = q.dead,
                         .kept = q.kept,
                         .lag = percentiles(was == nullptr ? nullptr : &was->wait, q.wait),
                         .paused = q.paused,
                         .max_length = q.max_length,
                         .counters = q.counters};
    if (q.oldest_ready_ns > 0) {
      figures.oldest_age_ns = std::max<std::int64_t>(now.at_ns - q.oldest_ready_ns, 1);
    }
    if (was != nullptr) {
      figures.rate_in = per_second(was->counters[Counter::kEnqueued], q.counters[Counter::kEnqueued], elapsed_ns);
      figures.rate_out = per_second(gone(was->counters), gone(q.counters), elapsed_ns);
    }
    all.push_back(std::move(figures));
  }
  return all;
}

std::vector<WorkerFigures> worker_figures(const Look& before, const Look& now, const shm::Segment& segment) {
  std::vector<WorkerFigures> all;
  for (const engine::WorkerStats& w : now.workers) {
    if (w.role != shm::Role::kWorker) continue;
    WorkerFigures figures{.participant = w.participant,
                          .name = w.name,
                          .node = supervisor_name(now, w.supervisor),
                          .pid = w.pid,
                          .cpu = w.cpu,
                          .state = state_of(w),
                          .keeper = w.keeper,
                          .inflight = w.inflight,
                          .done = w.succeeded,
                          .failed = w.failed,
                          .rss_bytes = w.rss_bytes,
                          .current = w.current,
                          .current_task = running_task_name(w.current, segment)};
    if (w.current) figures.running_ns = std::max<std::int64_t>(now.at_ns - w.current_since_ns, 0);
    if (const engine::WorkerStats* was = same_worker(before, w)) {
      figures.rate = per_second(was->succeeded, w.succeeded, now.at_ns - before.at_ns);
    }
    all.push_back(std::move(figures));
  }
  return all;
}

std::vector<TaskFigures> task_figures(const Look& before, const Look& now) {
  std::vector<TaskFigures> all;
  for (std::size_t i = 0; i < now.tasks.size(); ++i) {
    const engine::TaskNameStats& t = now.tasks[i];
    const engine::TaskNameStats* was = same_row(before.tasks, i);
    const auto count = static_cast<double>(std::max<std::uint64_t>(t.duration.count, 1));
    TaskFigures figures{.name = t.name,
                        .count = t.duration.count,
                        .duration = percentiles(was == nullptr ? nullptr : &was->duration, t.duration),
                        .failed = static_cast<double>(t.failed) / count,
                        .retried = static_cast<double>(t.retried) / count};
    if (was != nullptr) {
      figures.rate = per_second(was->duration.count, t.duration.count, now.at_ns - before.at_ns);
    }
    all.push_back(std::move(figures));
  }
  return all;
}

void Heartbeats::see(const Look& look) {
  std::map<std::uint32_t, Pulse> seen;
  for (const engine::WorkerStats& w : look.workers) {
    const auto it = pulses_.find(w.participant);
    Pulse pulse{w.incarnation, w.heartbeat, look.at_ns, false};
    if (it != pulses_.end() && it->second.incarnation == w.incarnation) {
      pulse.moved = it->second.moved;
      if (it->second.beats == w.heartbeat) {
        pulse.since_ns = it->second.since_ns;
      } else {
        pulse.moved = true;
      }
    }
    seen.emplace(w.participant, pulse);
  }
  pulses_ = std::move(seen);
}

Heartbeats::Age Heartbeats::age(std::uint32_t participant, std::int64_t now_ns) const {
  const auto it = pulses_.find(participant);
  if (it == pulses_.end()) return {};
  return {now_ns - it->second.since_ns, it->second.moved};
}

std::string limit_text(engine::Rate rate) {
  return base::write_rate({rate.count, std::int64_t{rate.period_s} * engine::kSecondNs});
}

std::string rate_text(double per_second) {
  if (per_second <= 0) return "0";
  if (per_second < 10) return fmt::format("{:.1f}", per_second);
  return base::human_count(static_cast<std::uint64_t>(per_second + 0.5));
}

}  // namespace stem::cli
