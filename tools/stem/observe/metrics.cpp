#include "tools/stem/observe/metrics.hpp"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <map>
#include <memory>

#include "base/clock.hpp"
#include "federation/gateway_status.hpp"
#include "tools/stem/observe/federation.hpp"
#include "tools/stem/observe/schedules.hpp"
#include "tools/stem/segment/usage.hpp"

namespace stem::cli {
namespace {

using shm::Counter;

// Makes metrics one after the other; samples belong to the one that was named last.
class Collector {
 public:
  void counter(std::string_view name, std::string_view help) { add(name, MetricKind::kCounter, "", help); }
  void gauge(std::string_view name, std::string_view help, std::string_view unit = "") {
    add(name, MetricKind::kGauge, unit, help);
  }
  void histogram(std::string_view name, std::string_view help) { add(name, MetricKind::kHistogram, "s", help); }
  void alias() { metrics_.back().is_alias = true; }

  using Labels = std::vector<std::pair<std::string_view, std::string>>;
  void count(std::uint64_t count, Labels labels = {}) {
    metrics_.back().samples.push_back({.labels = std::move(labels), .count = count});
  }
  template <class Number>
  void value(Number value, Labels labels = {}) {
    metrics_.back().samples.push_back({.labels = std::move(labels), .value = static_cast<double>(value)});
  }
  void buckets(const base::HistogramSummary& histogram, double sum_ns, Labels labels = {}) {
    auto copy = std::make_shared<const base::HistogramSummary>(histogram);
    metrics_.back().samples.push_back({.labels = std::move(labels), .histogram = std::move(copy), .sum_ns = sum_ns});
  }

  std::vector<Metric> take() { return std::move(metrics_); }

 private:
  void add(std::string_view name, MetricKind kind, std::string_view unit, std::string_view help) {
    metrics_.push_back(
        {.name = std::string(name), .kind = kind, .unit = unit, .help = help, .is_alias = false, .samples = {}});
  }
  std::vector<Metric> metrics_;
};

struct CounterFamily {
  std::string_view name;
  Counter counter;
  std::string_view help;
};

constexpr CounterFamily kCounters[] = {
    {"stem.tasks.enqueued", Counter::kEnqueued, "Tasks accepted"},
    {"stem.tasks.started", Counter::kStarted, "Attempts started"},
    {"stem.tasks.succeeded", Counter::kSucceeded, "Tasks that succeeded"},
    {"stem.tasks.failed", Counter::kFailed, "Attempts that failed"},
    {"stem.tasks.retried", Counter::kRetried, "Attempts that will be tried again"},
    {"stem.tasks.revoked", Counter::kCancelled, "Tasks cancelled by a person"},
    {"stem.tasks.deduplicated", Counter::kDeduplicated, "Unique tasks that were there already"},
    {"stem.tasks.expired", Counter::kExpired, "Tasks not started before their time ended"},
    {"stem.tasks.dropped", Counter::kDropped, "Tasks dropped by a full queue's policy"},
    {"stem.tasks.snoozed", Counter::kSnoozed, "Tasks that put themselves off"},
    {"stem.tasks.exported", Counter::kExported, "Tasks handed over to other hosts"},
    {"stem.tasks.imported", Counter::kImported, "Tasks taken over from other hosts"},
    {"stem.tasks.signature_invalid", Counter::kSignatureInvalid, "Tasks refused for their signature"},
    {"stem.lease.renewed", Counter::kLeaseRenewed, "Leases renewed while their task ran, by heartbeat or handler"},
    {"stem.lease.lost", Counter::kFenced, "Late acknowledgements refused"},
    {"stem.rate_limiter.denied", Counter::kRateDenied, "Starts held back by a rate limit"},
    {"stem.rate_limiter.degraded", Counter::kRateDegraded,
     "Starts by this host's own limits, while the cluster's could not be asked for"},
    {"stem.unique.degraded", Counter::kUniqueDegraded,
     "Starts with a unique key of this host alone, while the cluster's could not be asked for"},
    {"stem.dlq.replay", Counter::kDeadReplayed, "Dead letters queued again"},
    {"stem.dlq.purged", Counter::kDeadPurged, "Dead letters removed for good"},
};

// One sample for each queue and part: parts that never were stay 0, so that a rate sees the first.
template <class Part>
void count_parts(Collector& out, const Look& now, Counter first, std::uint32_t parts, std::string_view label,
                 Part part) {
  for (const auto& q : now.queues)
    for (std::uint32_t i = 0; i < parts; ++i)
      out.count(q.counters[shm::counter_after(first, i)], {{"queue", q.name}, {label, std::string(part(i))}});
}

void collect_counters(Collector& out, const Look& now) {
  std::uint64_t succeeded = 0;
  std::uint64_t dead = 0;
  std::uint64_t cancelled = 0;
  for (const CounterFamily& family : kCounters) {
    out.counter(family.name, family.help);
    for (const auto& q : now.queues) out.count(q.counters[family.counter], {{"queue", q.name}});
  }
  out.counter("stem.tasks.redelivered", "Leases that ended without their holder's word, given to others, by cause");
  count_parts(out, now, Counter::kRedeliveredFirst, engine::kLeaseEnds, "cause",
              [](std::uint32_t i) { return to_string(static_cast<engine::LeaseEnd>(i)); });
  out.counter("stem.dlq.added", "Tasks that became dead letters, by reason");
  count_parts(out, now, Counter::kDeadAddedFirst, engine::kDeadReasons, "reason",
              [](std::uint32_t i) { return to_string(static_cast<engine::DeadReason>(i + 1)); });
  for (const auto& q : now.queues) {
    succeeded += q.counters[Counter::kSucceeded];
    dead += q.counters[Counter::kDeadAdded];
    cancelled += q.counters[Counter::kCancelled] + q.counters[Counter::kExpired];
  }
  out.counter("tasks_processed_total", "Tasks that ended, by how");
  out.alias();
  out.count(succeeded, {{"status", "succeeded"}});
  out.count(dead, {{"status", "failed"}});
  out.count(cancelled, {{"status", "cancelled"}});
}

template <class Value>
void collect_of_queues(Collector& out, const std::vector<QueueFigures>& queues, Value value) {
  for (const QueueFigures& q : queues) out.value(value(q), {{"queue", q.name}});
}

void collect_queues(Collector& out, const std::vector<QueueFigures>& queues) {
  const auto ready = [](const QueueFigures& q) { return q.ready; };
  const auto inflight = [](const QueueFigures& q) { return q.inflight; };
  out.gauge("stem.queue.depth", "Tasks that wait for a worker");
  collect_of_queues(out, queues, ready);
  out.gauge("stem.queue.delayed", "Tasks that wait for their time");
  collect_of_queues(out, queues, [](const QueueFigures& q) { return q.delayed; });
  out.gauge("stem.queue.inflight", "Tasks in the hands of workers");
  collect_of_queues(out, queues, inflight);
  out.gauge("stem.queue.oldest_age", "Age of the oldest waiting task", "s");
  collect_of_queues(out, queues, [](const QueueFigures& q) { return static_cast<double>(q.oldest_age_ns) * 1e-9; });
  out.gauge("stem.queue.paused", "1 when paused");
  collect_of_queues(out, queues, [](const QueueFigures& q) { return q.paused ? 1 : 0; });
  out.gauge("stem.queue.max_length", "Tasks that the queue takes before its overflow policy acts; 0 = no limit");
  collect_of_queues(out, queues, [](const QueueFigures& q) { return q.max_length; });
  out.gauge("stem.dlq.depth", "Dead letters");
  collect_of_queues(out, queues, [](const QueueFigures& q) { return q.dead; });
  // What autoscalers ask for. Who scales by what waits alone takes workers away from what runs.
  out.gauge("queue_depth_ready", "Tasks that wait for a worker, as autoscalers name it");
  out.alias();
  collect_of_queues(out, queues, ready);
  out.gauge("queue_depth_running", "Tasks in the hands of workers, as autoscalers name it");
  out.alias();
  collect_of_queues(out, queues, inflight);
  out.gauge("queue_depth_work", "Waiting and running tasks together: what to scale by");
  out.alias();
  collect_of_queues(out, queues, [](const QueueFigures& q) { return q.ready + q.inflight; });
}

// A worker, and its name among the others: a name that two of them have would be one time series with two values.
using NamedWorkers = std::vector<std::pair<const WorkerFigures*, std::string>>;

NamedWorkers living(const std::vector<WorkerFigures>& workers) {
  std::map<std::string_view, int> times;
  for (const WorkerFigures& w : workers) ++times[w.name];
  NamedWorkers named;
  for (const WorkerFigures& w : workers) {
    if (w.state == "dead") continue;
    named.emplace_back(&w, times[w.name] == 1 ? w.name : fmt::format("{}#{}", w.name, w.participant));
  }
  return named;
}

void collect_workers(Collector& out, const NamedWorkers& workers, const Heartbeats& heartbeats, std::int64_t now_ns) {
  const auto each = [&](auto value) {
    for (const auto& [w, name] : workers) out.value(value(*w), {{"worker", name}});
  };
  const auto busy =
      std::count_if(workers.begin(), workers.end(), [](const auto& w) { return w.first->state == "busy"; });
  out.gauge("stem.worker.inflight", "Tasks in the worker's hands");
  each([](const WorkerFigures& w) { return w.inflight; });
  out.gauge("stem.worker.safe_to_stop", "1 when the worker holds no task");
  each([](const WorkerFigures& w) { return w.inflight == 0 && !w.current ? 1 : 0; });
  out.gauge("stem.worker.task_age", "How long the worker has run its present task; 0 = it runs none", "s");
  each([](const WorkerFigures& w) { return w.current ? static_cast<double>(w.running_ns) * 1e-9 : 0.0; });
  out.gauge("stem.worker.heartbeat_age", "At most so long ago the worker's heartbeat moved, as far as was watched",
            "s");
  each([&](const WorkerFigures& w) {
    return static_cast<double>(heartbeats.age(w.participant, now_ns).at_most_ns) * 1e-9;
  });
  out.gauge("stem.worker.rss", "Memory of the worker", "By");
  each([](const WorkerFigures& w) { return w.rss_bytes; });
  out.gauge("stem.worker.concurrency", "Worker processes");
  out.value(workers.size());
  out.gauge("stem.worker.utilization", "Share of the workers that are busy now");
  out.value(workers.empty() ? 0.0 : static_cast<double>(busy) / static_cast<double>(workers.size()));
}

// Of all supervisors there ever were, running or not.
void collect_restarts(Collector& out, const shm::Segment& segment) {
  constexpr std::string_view kCauses[] = {"signal",     "exit",     "hard-time-limit", "max-tasks",
                                          "max-memory", "detached", "no-room"};
  out.counter("stem.worker.restarts", "Worker processes that ended without being told to, by cause");
  for (std::uint32_t cause = 0; cause < std::size(kCauses); ++cause) {
    std::uint64_t restarts = 0;
    for (std::uint32_t i = 0; i < segment.rows_used(); ++i)
      restarts += segment.row(i).restarts[cause].load(std::memory_order_relaxed);
    out.count(restarts, {{"cause", std::string(kCauses[cause])}});
  }
}

// The exact sum is not kept: the middles of the buckets stand for it.
double sum_of_middles(const base::HistogramSummary& histogram) {
  double sum_ns = 0;
  for (std::uint32_t i = 0; i + 1 < base::kHistogramBuckets; ++i) {
    const auto low = static_cast<double>(base::histogram_lower_bound_ns(i));
    const auto high = static_cast<double>(base::histogram_lower_bound_ns(i + 1));
    sum_ns += static_cast<double>(histogram.counts[i]) * (low + high) / 2;
  }
  return sum_ns;
}

void collect_histograms(Collector& out, const Look& now) {
  out.histogram("stem.task.duration", "Time that attempts ran");
  for (const auto& t : now.tasks)
    out.buckets(t.duration, t.duration.mean_ns * static_cast<double>(t.duration.count), {{"task", t.name}});
  out.histogram("stem.task.queue_wait", "Time from enqueueing to the first start; the sum is of bucket middles");
  for (const auto& q : now.queues) out.buckets(q.wait, sum_of_middles(q.wait), {{"queue", q.name}});
}

void collect_beat(Collector& out, const BeatFigures& beat) {
  using shm::BeatCounter;
  const struct {
    std::string_view name;
    BeatCounter counter;
    std::string_view help;
  } counters[] = {
      {"stem.scheduler.dispatch.attempts", BeatCounter::kAttempts, "Ticks that were tried"},
      {"stem.scheduler.dispatch.success", BeatCounter::kSuccess, "Ticks that became a task"},
      {"stem.scheduler.dispatch.failed", BeatCounter::kFailed, "Tries that no task came of"},
      {"stem.scheduler.dispatch.deduplicated", BeatCounter::kDeduplicated, "Ticks whose unique task was there"},
      {"stem.scheduler.misfire.skipped", BeatCounter::kSkipped, "Ticks that the misfire policy passed over"},
      {"stem.scheduler.dispatch.lost", BeatCounter::kLost, "Late tries of ticks that were fired already"},
      {"stem.scheduler.lock.acquired", BeatCounter::kLockAcquired, "Changes of the holder"},
      {"stem.scheduler.lock.contention", BeatCounter::kLockContended, "Looks at a lock that another held"},
      {"stem.scheduler.lock.contended", BeatCounter::kLockContended, "The same, by its other name"},
      {"stem.scheduler.lock.renew_failed", BeatCounter::kLockRenewFailed, "Holders that found they were late"},
  };
  for (const auto& one : counters) {
    out.counter(one.name, one.help);
    out.count(beat[one.counter]);
  }
  out.gauge("stem.scheduler.entries", "Schedules");
  out.value(beat.entries.size());
  out.gauge("stem.scheduler.holder", "1 when somebody fires schedules");
  out.value(beat.holder.empty() ? 0 : 1);
  out.gauge("stem.scheduler.due.entries", "Schedules whose time has come");
  out.value(beat.due);
  out.gauge("stem.scheduler.overdue.entries", "Schedules more than a second late");
  out.value(beat.overdue);
  out.histogram("stem.scheduler.drift", "How late ticks were fired, jitter not counted");
  out.buckets(beat.drift, beat.drift_sum_ns);
  out.histogram("stem.scheduler.dispatch.duration", "How long firing took");
  out.buckets(beat.dispatch, beat.dispatch_sum_ns);
}

void collect_segment(Collector& out, const Look& now, const shm::Segment& segment) {
  const auto used = [](const auto& word) { return word.load(std::memory_order_acquire); };
  out.gauge("stem.segment.tasks_used", "Slots that hold a task or what is left of one");
  out.value(count_slots(segment).tasks());
  out.gauge("stem.segment.tasks_capacity", "Slots");
  out.value(segment.geometry().slot_count);
  out.gauge("stem.segment.participants_used", "Rows of the roster that attached threads have");
  out.value(now.workers.size());
  out.gauge("stem.segment.participants_capacity", "Rows of the roster");
  out.value(segment.geometry().participant_count);
  out.gauge("stem.segment.payload_bytes_reserved", "Part of the arena for larger payloads that was ever used");
  out.value(double{shm::kSuperblockBytes} *
            std::min<double>(static_cast<double>(used(segment.header().superblocks_used)),
                             segment.layout().superblock_count));
  out.gauge("stem.segment.payload_bytes_capacity", "The arena for larger payloads");
  out.value(double{shm::kSuperblockBytes} * segment.layout().superblock_count);
  out.gauge("stem.segment.bytes_used", "Memory behind the segment");
  out.value(segment.used_bytes());
  struct statvfs host {};
  if (::statvfs(segment.path().c_str(), &host) == 0) {
    out.gauge("stem.segment.bytes_available", "Memory that the file system of the segment can still give");
    out.value(static_cast<double>(host.f_bavail) * static_cast<double>(host.f_frsize));
  }
  const bool kept = std::any_of(now.workers.begin(), now.workers.end(),
                                [](const auto& one) { return one.keeper && !one.signalled_dead; });
  out.gauge("stem.keeper.present", "1 when a process promotes delayed tasks and recovers what the dead held");
  out.value(kept ? 1 : 0);
}

// What this host's gateway last said of itself; nothing where there is none.
void collect_federation(Collector& out, const shm::Segment& segment) {
  std::uint64_t words[base::kHistogramBuckets + 1];  // as shm::GatewayFigures
  base::HistogramSummary round_trip;
  const bool read = segment.read(segment.layout().gateway, words, sizeof words);
  if (read) round_trip.add({words, base::kHistogramBuckets});
  const LocalGateway gateway = look_at_gateway(segment);
  if (read && (round_trip.count != 0 || gateway.state != LocalGateway::State::kNone)) {
    out.histogram("stem.federation.round_trip", "Time from a command to Redis to its reply, sampled");
    out.buckets(round_trip, static_cast<double>(words[base::kHistogramBuckets]));
  }
  if (gateway.state == LocalGateway::State::kNone) return;
  const auto each = [&](std::string_view name, std::string_view help, auto count) {
    out.counter(name, help);
    for (const federation::QueueReport& q : gateway.status.queues) out.count(count(q), {{"queue", q.name}});
  };
  out.gauge("stem.federation.gateway_running", "1 while this host's gateway runs");
  out.value(gateway.state == LocalGateway::State::kRunning ? 1 : 0);
  out.gauge("stem.federation.connected", "1 while it is connected to Redis");
  out.value(gateway.status.connected ? 1 : 0);
  out.gauge("stem.federation.lag", "Tasks on their way to Redis, not confirmed yet");
  for (const federation::QueueReport& q : gateway.status.queues) out.value(q.on_their_way, {{"queue", q.name}});
  each("stem.federation.exported", "Tasks that Redis has from this host",
       [](const auto& q) { return q.out.confirmed; });
  each("stem.federation.imported", "Tasks that came from other hosts", [](const auto& q) { return q.in.imported; });
  each("stem.federation.acked", "Of these, those whose end Redis knows", [](const auto& q) { return q.in.settled; });
  each("stem.federation.reclaimed", "Tasks taken over from silent hosts", [](const auto& q) { return q.in.reclaimed; });
  each("stem.federation.duplicates", "Tasks that came twice and were dropped",
       [](const auto& q) { return q.in.duplicates; });
  out.counter("stem.federation.connections_lost", "Connections to Redis that were lost");
  out.count(gateway.status.losses);
}

}  // namespace

std::vector<Metric> metrics_of(const Look& before, const Look& now, const Heartbeats& heartbeats,
                               const Attachment& attachment) {
  const shm::Segment& segment = attachment.segment();
  Collector out;
  collect_counters(out, now);
  collect_queues(out, queue_figures(before, now));
  const std::vector<WorkerFigures> workers = worker_figures(before, now, segment);
  collect_workers(out, living(workers), heartbeats, now.at_ns);
  collect_restarts(out, segment);
  collect_histograms(out, now);
  collect_beat(out, beat_figures(attachment, base::realtime_ns()));
  collect_segment(out, now, segment);
  collect_federation(out, segment);
  return out.take();
}

}  // namespace stem::cli
