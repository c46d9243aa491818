#include "tools/stem/observe/prometheus.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "tools/stem/terminal.hpp"

namespace stem::cli {
namespace {

// Names come from producers: one broken byte in one of them must not cost a reader all the figures.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    if (c == '\\' || c == '"') out += '\\';
    out += c;
  }
  return out;
}

std::string_view kind_name(MetricKind kind) {
  switch (kind) {
    case MetricKind::kCounter: return "counter";
    case MetricKind::kGauge: return "gauge";
    case MetricKind::kHistogram: return "histogram";
  }
  return "untyped";
}

std::string label_text(const MetricSample& sample, std::string_view name_space) {
  std::string text = fmt::format("namespace=\"{}\"", escaped(name_space));
  for (const auto& [name, value] : sample.labels) text += fmt::format(",{}=\"{}\"", name, escaped(value));
  return text;
}

void write_histogram(std::string& out, std::string_view name, std::string_view labels, const MetricSample& sample) {
  auto to = std::back_inserter(out);
  for_each_bound(*sample.histogram, [&](std::int64_t bound_ns, std::uint64_t below) {
    fmt::format_to(to, "{}_bucket{{{},le=\"{:.9g}\"}} {}\n", name, labels, static_cast<double>(bound_ns) * 1e-9, below);
  });
  fmt::format_to(to, "{}_bucket{{{},le=\"+Inf\"}} {}\n", name, labels, sample.histogram->count);
  fmt::format_to(to, "{}_sum{{{}}} {}\n", name, labels, sample.sum_ns * 1e-9);
  fmt::format_to(to, "{}_count{{{}}} {}\n", name, labels, sample.histogram->count);
}

}  // namespace

std::string prometheus_name(const Metric& metric) {
  std::string name = metric.name;
  if (metric.is_alias) return name;
  std::replace(name.begin(), name.end(), '.', '_');
  if (metric.unit == "s") name += "_seconds";
  if (metric.unit == "By") name += "_bytes";
  if (metric.kind == MetricKind::kCounter) name += "_total";
  return name;
}

std::string prometheus_text(const std::vector<Metric>& metrics, std::string_view name_space) {
  std::string out;
  auto to = std::back_inserter(out);
  for (const Metric& metric : metrics) {
    const std::string name = prometheus_name(metric);
    fmt::format_to(to, "# HELP {} {}\n# TYPE {} {}\n", name, metric.help, name, kind_name(metric.kind));
    for (const MetricSample& sample : metric.samples) {
      const std::string labels = label_text(sample, name_space);
      switch (metric.kind) {
        case MetricKind::kCounter: fmt::format_to(to, "{}{{{}}} {}\n", name, labels, sample.count); break;
        case MetricKind::kGauge: fmt::format_to(to, "{}{{{}}} {}\n", name, labels, sample.value); break;
        case MetricKind::kHistogram: write_histogram(out, name, labels, sample); break;
      }
    }
  }
  return out;
}

}  // namespace stem::cli
