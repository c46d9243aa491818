// Metrics by OTLP/HTTP with JSON bodies, for a collector that does not scrape: OpenTelemetry protocol 1.x, metrics only.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/result.hpp"
#include "tools/stem/dashboard/observer.hpp"
#include "tools/stem/http_target.hpp"
#include "tools/stem/observe/metrics.hpp"

namespace stem::cli {

// When the figures are of, in nanoseconds of CLOCK_REALTIME: they count from the segment's creation.
struct MetricTimes {
  std::int64_t start_ns = 0;
  std::int64_t now_ns = 0;
};

// The body of one export. Names with dots and without units, as OpenTelemetry writes them.
nlohmann::ordered_json otlp_json(const std::vector<Metric>& metrics, const MetricTimes& times,
                                 const std::string& name_space);

// "http://collector:4318" or "https://host/some/path", to which "/v1/metrics", say, is added.
Result<HttpTarget> parse_otlp_url(const std::string& url, std::string_view signal);

// Sends at intervals from a thread of its own, so that a slow collector holds nothing up. What could not be sent is not
// kept: the next export has all of it, since the figures are sums from the beginning.
class OtlpExporter {
 public:
  OtlpExporter(HttpTarget target, std::int64_t interval_ns, const Observer& observer);
  ~OtlpExporter();  // sends once more, if the collector was there last time
  OtlpExporter(const OtlpExporter&) = delete;
  OtlpExporter& operator=(const OtlpExporter&) = delete;

 private:
  void run();
  // Why it was not sent; empty when it was, or there is nothing to send.
  std::string send() const;

  const HttpTarget target_;
  const std::int64_t interval_ns_;
  const Observer& observer_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace stem::cli
