#include "tools/stem/observe/prometheus.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <string_view>

#include "base/clock.hpp"
#include "tools/stem/observe/schedules.hpp"
#include "tools/stem/segment/usage.hpp"

namespace stem::cli {
namespace {

using shm::Counter;

constexpr std::string_view kOf[] = {"queue", "worker", "task", "status"};
enum Label { kQueue, kWorker, kTask, kStatus };

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

// Writes families one after the other; the header of each stands once.
class Writer {
 public:
  explicit Writer(std::string_view name_space) : name_space_(escaped(name_space)) {}

  void family(std::string name, std::string_view type, std::string_view help) {
    name_ = std::move(name);
    out_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name_, help, name_, type);
  }

  template <class Value>
  void sample(Value value, std::string_view suffix = "", std::string_view more_labels = "") {
    out_ += fmt::format("{}{}{{namespace=\"{}\"{}}} {}\n", name_, suffix, name_space_, more_labels, value);
  }

  template <class Value>
  void sample_of(Label label, std::string_view which, Value value) {
    sample(value, "", label_text(label, which));
  }

  // One bucket for every octave of ours from 1 µs to 17 min, so that the bounds never change.
  void histogram(Label label, std::string_view which, const base::HistogramSummary& h, double sum_ns) {
    histogram(label_text(label, which), h, sum_ns);
  }
  void histogram(const std::string& labels, const base::HistogramSummary& h, double sum_ns) {
    constexpr int kFirst = 10;
    constexpr int kLast = 40;
    std::uint64_t below = 0;
    std::uint32_t bucket = 0;
    for (int power = kFirst; power <= kLast; power += 2) {
      const std::int64_t bound_ns = std::int64_t{1} << power;
      for (; bucket < base::kHistogramBuckets && base::histogram_lower_bound_ns(bucket) < bound_ns; ++bucket) {
        below += h.counts[bucket];
      }
      sample(below, "_bucket", fmt::format("{},le=\"{:.9g}\"", labels, static_cast<double>(bound_ns) * 1e-9));
    }
    sample(h.count, "_bucket", labels + ",le=\"+Inf\"");
    sample(sum_ns * 1e-9, "_sum", labels);
    sample(h.count, "_count", labels);
  }

  std::string take() { return std::move(out_); }

 private:
  static std::string label_text(Label label, std::string_view which) {
    return fmt::format(",{}=\"{}\"", kOf[label], escaped(which));
  }

  std::string name_space_;
  std::string name_;
  std::string out_;
};

struct CounterFamily {
  std::string_view name;
  Counter counter;
  std::string_view help;
};

constexpr CounterFamily kCounters[] = {
    {"stem_tasks_enqueued_total", Counter::kEnqueued, "Tasks accepted"},
    {"stem_tasks_started_total", Counter::kStarted, "Attempts started"},
    {"stem_tasks_succeeded_total", Counter::kSucceeded, "Tasks that succeeded"},
    {"stem_tasks_failed_total", Counter::kFailed, "Attempts that failed"},
    {"stem_tasks_retried_total", Counter::kRetried, "Attempts that will be tried again"},
    {"stem_tasks_revoked_total", Counter::kCancelled, "Tasks cancelled by a person"},
    {"stem_tasks_deduplicated_total", Counter::kDeduplicated, "Unique tasks that were there already"},
    {"stem_tasks_expired_total", Counter::kExpired, "Tasks not started before their time ended"},
    {"stem_tasks_redelivered_total", Counter::kRedelivered, "Leases of the dead and the late given to others"},
    {"stem_tasks_dropped_total", Counter::kDropped, "Tasks dropped by a full queue's policy"},
    {"stem_tasks_snoozed_total", Counter::kSnoozed, "Tasks that put themselves off"},
    {"stem_tasks_exported_total", Counter::kExported, "Tasks handed over to other hosts"},
    {"stem_tasks_imported_total", Counter::kImported, "Tasks taken over from other hosts"},
    {"stem_lease_lost_total", Counter::kFenced, "Late acknowledgements refused"},
    {"stem_rate_limiter_denied_total", Counter::kRateDenied, "Starts held back by a rate limit"},
    {"stem_rate_limiter_degraded_total", Counter::kRateDegraded,
     "Starts by this host's own limits, while the cluster's could not be asked for"},
    {"stem_dlq_added_total", Counter::kDeadAdded, "Tasks that became dead letters"},
    {"stem_dlq_replay_total", Counter::kDeadReplayed, "Dead letters queued again"},
    {"stem_dlq_purged_total", Counter::kDeadPurged, "Dead letters removed for good"},
};

void write_counters(Writer& out, const Look& now) {
  for (const CounterFamily& family : kCounters) {
    out.family(std::string(family.name), "counter", family.help);
    for (const auto& q : now.queues) out.sample_of(kQueue, q.name, q.counters[family.counter]);
  }
  out.family("tasks_processed_total", "counter", "Tasks that ended, by how");
  std::uint64_t succeeded = 0;
  std::uint64_t dead = 0;
  std::uint64_t cancelled = 0;
  for (const auto& q : now.queues) {
    succeeded += q.counters[Counter::kSucceeded];
    dead += q.counters[Counter::kDeadAdded];
    cancelled += q.counters[Counter::kCancelled] + q.counters[Counter::kExpired];
  }
  out.sample_of(kStatus, "succeeded", succeeded);
  out.sample_of(kStatus, "failed", dead);
  out.sample_of(kStatus, "cancelled", cancelled);
}

using QueueValue = std::function<double(const QueueFigures&)>;

void write_queue_gauge(Writer& out, const std::vector<QueueFigures>& queues, std::string name, std::string_view help,
                       const QueueValue& value) {
  out.family(std::move(name), "gauge", help);
  for (const QueueFigures& q : queues) out.sample_of(kQueue, q.name, value(q));
}

void write_queues(Writer& out, const std::vector<QueueFigures>& queues) {
  const auto count = [](std::uint64_t QueueFigures::*field) {
    return [field](const QueueFigures& q) { return static_cast<double>(q.*field); };
  };
  write_queue_gauge(out, queues, "stem_queue_depth", "Tasks that wait for a worker", count(&QueueFigures::ready));
  write_queue_gauge(out, queues, "queue_depth_ready", "The same, as autoscalers name it", count(&QueueFigures::ready));
  write_queue_gauge(out, queues, "stem_queue_delayed", "Tasks that wait for their time", count(&QueueFigures::delayed));
  write_queue_gauge(out, queues, "stem_queue_inflight", "Tasks in the hands of workers",
                    count(&QueueFigures::inflight));
  write_queue_gauge(out, queues, "stem_queue_oldest_age_seconds", "Age of the oldest waiting task",
                    [](const QueueFigures& q) { return static_cast<double>(q.oldest_age_ns) * 1e-9; });
  write_queue_gauge(out, queues, "stem_queue_paused", "1 when paused",
                    [](const QueueFigures& q) { return q.paused ? 1.0 : 0.0; });
  write_queue_gauge(out, queues, "stem_dlq_depth", "Dead letters", count(&QueueFigures::dead));
}

void write_workers(Writer& out, const std::vector<WorkerFigures>& workers) {
  std::uint64_t alive = 0;
  std::uint64_t busy = 0;
  out.family("stem_worker_inflight", "gauge", "Tasks in the worker's hands");
  for (const WorkerFigures& w : workers) {
    if (w.state == "dead") continue;
    ++alive;
    busy += w.state == "busy" ? 1 : 0;
    out.sample_of(kWorker, w.name, w.inflight);
  }
  out.family("stem_worker_concurrency", "gauge", "Worker processes");
  out.sample(alive);
  out.family("stem_worker_utilization", "gauge", "Share of the workers that are busy now");
  out.sample(alive == 0 ? 0.0 : static_cast<double>(busy) / static_cast<double>(alive));
}

void write_histograms(Writer& out, const Look& now) {
  out.family("stem_task_duration_seconds", "histogram", "Time that attempts ran");
  for (const auto& t : now.tasks) {
    out.histogram(kTask, t.name, t.duration, t.duration.mean_ns * static_cast<double>(t.duration.count));
  }
  out.family("stem_task_queue_wait_seconds", "histogram",
             "Time from enqueueing to the first start; the sum is of bucket middles");
  for (const auto& q : now.queues) {
    double sum_ns = 0;
    for (std::uint32_t i = 0; i + 1 < base::kHistogramBuckets; ++i) {
      const auto low = static_cast<double>(base::histogram_lower_bound_ns(i));
      const auto high = static_cast<double>(base::histogram_lower_bound_ns(i + 1));
      sum_ns += static_cast<double>(q.wait.counts[i]) * (low + high) / 2;
    }
    out.histogram(kQueue, q.name, q.wait, sum_ns);
  }
}

void write_beat(Writer& out, const BeatFigures& beat) {
  using shm::BeatCounter;
  const struct {
    std::string_view name;
    BeatCounter counter;
    std::string_view help;
  } counters[] = {
      {"stem_scheduler_dispatch_attempts_total", BeatCounter::kAttempts, "Ticks that were tried"},
      {"stem_scheduler_dispatch_success_total", BeatCounter::kSuccess, "Ticks that became a task"},
      {"stem_scheduler_dispatch_failed_total", BeatCounter::kFailed, "Tries that no task came of"},
      {"stem_scheduler_dispatch_deduplicated_total", BeatCounter::kDeduplicated, "Ticks whose unique task was there"},
      {"stem_scheduler_misfire_skipped_total", BeatCounter::kSkipped, "Ticks that the misfire policy passed over"},
      {"stem_scheduler_dispatch_lost_total", BeatCounter::kLost, "Late tries of ticks that were fired already"},
      {"stem_scheduler_lock_acquired_total", BeatCounter::kLockAcquired, "Changes of the holder"},
      {"stem_scheduler_lock_contention_total", BeatCounter::kLockContended, "Looks at a lock that another held"},
      {"stem_scheduler_lock_contended_total", BeatCounter::kLockContended, "The same, by its other name"},
      {"stem_scheduler_lock_renew_failed_total", BeatCounter::kLockRenewFailed, "Holders that found they were late"},
  };
  for (const auto& one : counters) {
    out.family(std::string(one.name), "counter", one.help);
    out.sample(beat[one.counter]);
  }
  out.family("stem_scheduler_due_entries", "gauge", "Schedules whose time has come");
  out.sample(beat.due);
  out.family("stem_scheduler_overdue_entries", "gauge", "Schedules more than a second late");
  out.sample(beat.overdue);
  out.family("stem_scheduler_drift_seconds", "histogram", "How late ticks were fired, jitter not counted");
  out.histogram("", beat.drift, beat.drift_sum_ns);
  out.family("stem_scheduler_dispatch_duration_seconds", "histogram", "How long firing took");
  out.histogram("", beat.dispatch, beat.dispatch_sum_ns);
}

}  // namespace

std::string prometheus_text(const Look& before, const Look& now, const Attachment& attachment) {
  const shm::Segment& segment = attachment.segment();
  Writer out(segment.name_space());
  write_counters(out, now);
  write_queues(out, queue_figures(before, now));
  write_workers(out, worker_figures(before, now, segment));
  write_histograms(out, now);
  write_beat(out, beat_figures(attachment, base::realtime_ns()));
  out.family("stem_segment_tasks_used", "gauge", "Slots that hold a task or what is left of one");
  out.sample(count_slots(segment).tasks());
  out.family("stem_segment_tasks_capacity", "gauge", "Slots");
  out.sample(segment.geometry().slot_count);
  out.family("stem_segment_bytes_used", "gauge", "Memory behind the segment");
  out.sample(segment.used_bytes());
  return out.take();
}

}  // namespace stem::cli
