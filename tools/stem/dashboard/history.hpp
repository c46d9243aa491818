// What the dashboard's charts show: the last quarter of an hour, a point a look.
#pragma once

#include <cstdint>
#include <deque>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "tools/stem/observe/look.hpp"

namespace stem::cli {

class History {
 public:
  static constexpr std::size_t kMostPoints = 900;
  static constexpr std::size_t kMostNames =
      40;  // queues and task names with a line of their own: those with most to do

  // The rates and percentiles of the time between two looks.
  void note(const Look& before, const Look& now);

  // {"points": [...]}: those after `after_ms` (CLOCK_REALTIME), oldest first.
  [[nodiscard]] nlohmann::ordered_json json(std::int64_t after_ms) const;

 private:
  struct Times {
    std::uint64_t samples = 0;  // in this time; without any there are no percentiles
    std::int64_t p50_ns = 0, p99_ns = 0;
  };
  struct Point {
    std::int64_t at_ms = 0;
    double rate_in = 0, rate_out = 0;  // of all queues together, as the next
    std::uint64_t ready = 0, inflight = 0, busy = 0, workers = 0;
    Times wait;
    Times slowest;  // the task name whose attempts ran longest
    std::string slowest_name;
  };
  static Times times_of(const base::HistogramSummary& fresh);
  static nlohmann::ordered_json times_json(const Times& times);

  std::deque<Point> points_;
};

}  // namespace stem::cli
