// Looks at a segment, and the figures that two of them give: how many tasks come and go in a second, and
// how long they wait now rather than ever.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/query.hpp"
#include "tools/stem/attachment.hpp"

namespace stem::cli {

enum Part : unsigned { kQueuePart = 1U << 0, kWorkerPart = 1U << 1, kTaskPart = 1U << 2 };

struct Look {
  std::int64_t at_ns = 0;  // CLOCK_MONOTONIC
  std::vector<engine::QueueStats> queues;
  std::vector<engine::WorkerStats> workers;  // every participant, not workers alone
  std::vector<engine::TaskNameStats> tasks;
};

Look take_look(const Attachment& attachment, unsigned parts);

// Of one histogram over the time between two looks, or over all time when nothing came in between.
struct Percentiles {
  std::uint64_t samples = 0;
  double mean_ns = 0;  // of all time
  std::int64_t p50_ns = 0, p95_ns = 0, p99_ns = 0;
};
Percentiles percentiles(const base::HistogramSummary* before, const base::HistogramSummary& now);

struct QueueFigures {
  std::string name;
  std::uint64_t ready = 0, delayed = 0, inflight = 0, dead = 0, kept = 0;
  double rate_in = 0, rate_out = 0;  // a second
  Percentiles lag;
  std::int64_t oldest_age_ns = 0;  // of the oldest ready task; 0 = none
  bool paused = false;
  std::uint32_t max_length = 0;
  engine::CounterTotals counters;
};
std::vector<QueueFigures> queue_figures(const Look& before, const Look& now);

struct WorkerFigures {
  std::uint32_t participant = 0;
  std::string name;
  std::string node;  // its supervisor's name; empty when it has none
  std::uint32_t pid = 0;
  std::int32_t cpu = -1;
  std::string_view state;  // busy, idle, stopping, joining, dead
  bool keeper = false;
  std::uint32_t inflight = 0;
  std::uint64_t done = 0, failed = 0;
  double rate = 0;  // done a second
  std::uint64_t rss_bytes = 0;
  engine::TaskId current;
  std::string current_task;
  std::int64_t running_ns = 0;
};
std::vector<WorkerFigures> worker_figures(const Look& before, const Look& now, const shm::Segment& segment);

struct TaskFigures {
  std::string name;
  std::uint64_t count = 0;  // attempts that ended
  double rate = 0;
  Percentiles duration;
  double failed = 0, retried = 0;  // shares of count
};
std::vector<TaskFigures> task_figures(const Look& before, const Look& now);

// How long ago each participant's heartbeat last moved, as far as this process has watched.
class Heartbeats {
 public:
  void see(const Look& look);

  struct Age {
    std::int64_t at_most_ns = 0;  // it was seen to move within this time
    bool seen = false;            // false: it stood still since the first look, `at_most_ns` ago
  };
  [[nodiscard]] Age age(std::uint32_t participant, std::int64_t now_ns) const;

 private:
  struct Pulse {
    std::uint64_t incarnation = 0, beats = 0;
    std::int64_t since_ns = 0;
    bool moved = false;
  };
  std::map<std::uint32_t, Pulse> pulses_;
};

// "0", "2.5", "120", "1.2k": for people.
std::string rate_text(double per_second);

// A limit as it was written: "100/s".
std::string limit_text(engine::Rate rate);

}  // namespace stem::cli
