// The figures of a segment as metrics, under the names of the reference: what every way of handing them on (Prometheus'
// text, OTLP) is made of.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/stem/observe/look.hpp"

namespace stem::cli {

enum class MetricKind { kCounter, kGauge, kHistogram };

struct MetricSample {
  std::vector<std::pair<std::string_view, std::string>> labels;
  std::uint64_t count = 0;                                  // of a counter
  double value = 0;                                         // of a gauge
  std::shared_ptr<const base::HistogramSummary> histogram;  // in nanoseconds; null in all others
  double sum_ns = 0;
};

struct Metric {
  std::string name;  // "stem.tasks.enqueued"
  MetricKind kind = MetricKind::kGauge;
  std::string_view unit;  // as in UCUM: "s", "By"; empty = a number of things
  std::string_view help;
  bool is_alias = false;  // named for autoscalers as it stands
  std::vector<MetricSample> samples;
};

// Of a look at all parts. `heartbeats` has seen every look.
std::vector<Metric> metrics_of(const Look& before, const Look& now, const Heartbeats& heartbeats,
                               const Attachment& attachment);

// The bounds of a histogram's buckets, the same in every form and for ever: one for every second octave of ours from
// 1 µs to 18 min.
inline constexpr int kFirstBoundLog2 = 10;
inline constexpr int kLastBoundLog2 = 40;

// Calls `each(bound_ns, samples below it)` for every bound, in order.
template <class Each>
void for_each_bound(const base::HistogramSummary& histogram, Each each) {
  std::uint64_t below = 0;
  std::uint32_t bucket = 0;
  for (int power = kFirstBoundLog2; power <= kLastBoundLog2; power += 2) {
    const std::int64_t bound_ns = std::int64_t{1} << power;
    for (; bucket < base::kHistogramBuckets && base::histogram_lower_bound_ns(bucket) < bound_ns; ++bucket)
      below += histogram.counts[bucket];
    each(bound_ns, below);
  }
}

}  // namespace stem::cli
