#include "tools/stem/dashboard/otlp.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "stem/version.hpp"

namespace stem::cli {
namespace {

using nlohmann::ordered_json;

constexpr int kCumulative = 2;  // AGGREGATION_TEMPORALITY_CUMULATIVE
constexpr int kOtlpPort = 4318;

// 64-bit numbers are texts in protobuf's JSON.
std::string number(std::uint64_t value) { return std::to_string(value); }
std::string nanoseconds(std::int64_t value) { return std::to_string(value); }

ordered_json attribute(std::string_view key, std::string_view value) {
  return {{"key", key}, {"value", {{"stringValue", value}}}};
}

ordered_json attributes_of(const MetricSample& sample) {
  ordered_json list = ordered_json::array();
  for (const auto& [name, value] : sample.labels) list.push_back(attribute(name, value));
  return list;
}

ordered_json point_of(const MetricSample& sample, const MetricTimes& times) {
  return {{"attributes", attributes_of(sample)},
          {"startTimeUnixNano", nanoseconds(times.start_ns)},
          {"timeUnixNano", nanoseconds(times.now_ns)}};
}

// Prometheus' buckets hold all that is below their bound; these hold what is between two bounds.
void add_buckets(const MetricSample& sample, ordered_json& point) {
  ordered_json bounds = ordered_json::array();
  ordered_json counts = ordered_json::array();
  std::uint64_t before = 0;
  for_each_bound(*sample.histogram, [&](std::int64_t bound_ns, std::uint64_t below) {
    bounds.push_back(static_cast<double>(bound_ns) * 1e-9);
    counts.push_back(number(below - before));
    before = below;
  });
  counts.push_back(number(sample.histogram->count - before));
  point["count"] = number(sample.histogram->count);
  point["sum"] = sample.sum_ns * 1e-9;
  point["bucketCounts"] = std::move(counts);
  point["explicitBounds"] = std::move(bounds);
}

ordered_json metric_json(const Metric& metric, const MetricTimes& times) {
  ordered_json points = ordered_json::array();
  for (const MetricSample& sample : metric.samples) {
    ordered_json point = point_of(sample, times);
    switch (metric.kind) {
      case MetricKind::kCounter: point["asInt"] = number(sample.count); break;
      case MetricKind::kGauge:
        point.erase("startTimeUnixNano");
        point["asDouble"] = sample.value;
        break;
      case MetricKind::kHistogram: add_buckets(sample, point); break;
    }
    points.push_back(std::move(point));
  }
  ordered_json document{
      {"name", metric.name}, {"description", metric.help}, {"unit", metric.unit.empty() ? "1" : metric.unit}};
  switch (metric.kind) {
    case MetricKind::kCounter:
      document["sum"] = {{"dataPoints", points}, {"aggregationTemporality", kCumulative}, {"isMonotonic", true}};
      break;
    case MetricKind::kGauge: document["gauge"] = {{"dataPoints", points}}; break;
    case MetricKind::kHistogram:
      document["histogram"] = {{"dataPoints", points}, {"aggregationTemporality", kCumulative}};
      break;
  }
  return document;
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

}  // namespace

ordered_json otlp_json(const std::vector<Metric>& metrics, const MetricTimes& times, const std::string& name_space) {
  ordered_json list = ordered_json::array();
  // A metric without a single point says nothing.
  for (const Metric& metric : metrics)
    if (!metric.samples.empty()) list.push_back(metric_json(metric, times));
  const ordered_json scope{{"scope", {{"name", "stem"}, {"version", kVersion}}}, {"metrics", list}};
  const ordered_json resource{{"attributes",
                               {attribute("service.name", "stem"), attribute("service.namespace", name_space),
                                attribute("service.version", kVersion), attribute("host.name", host_name())}}};
  return {{"resourceMetrics",
           ordered_json::array({{{"resource", resource}, {"scopeMetrics", ordered_json::array({scope})}}})}};
}

Result<HttpTarget> parse_otlp_url(const std::string& url, std::string_view signal) {
  auto target = parse_http_url("--otlp", url, kOtlpPort);
  if (!target.ok()) return target;
  std::string& path = target->path;
  if (path.find('?') != std::string::npos) return Error{Errc::kInvalidArgument, "--otlp: a URL without a query"};
  while (path.ends_with('/')) path.pop_back();
  if (!path.ends_with(signal)) path += signal;
  return target;
}

OtlpExporter::OtlpExporter(HttpTarget target, std::int64_t interval_ns, const Observer& observer)
    : target_(std::move(target)), interval_ns_(interval_ns), observer_(observer), thread_([this] { run(); }) {}

OtlpExporter::~OtlpExporter() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void OtlpExporter::run() {
  hold_off_sigpipe();
  FaultLog faults("metrics", target_.host);
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, std::chrono::nanoseconds(interval_ns_), [this] { return stop_; });
      if (stop_ && faults.faulty()) return;
    }
    faults.note(send());
    const std::lock_guard lock(mutex_);
    if (stop_) return;
  }
}

std::string OtlpExporter::send() const {
  std::string body;
  const auto nothing = observer_.with([&](const Sight& sight) {
    const shm::Segment& segment = sight.attachment.segment();
    const MetricTimes times{segment.header().created_realtime_ns, Moment::now().to_realtime_ns(sight.now.at_ns)};
    body =
        otlp_json(metrics_of(sight.before, sight.now, sight.heartbeats, sight.attachment), times, segment.name_space())
            .dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  });
  if (nothing) return "";
  return post_json(target_, body).fault;
}

}  // namespace stem::cli
