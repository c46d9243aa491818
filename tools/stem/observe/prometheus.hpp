// Metrics in Prometheus' text form: '.' is '_', the unit comes last, counters end in _total.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/stem/observe/metrics.hpp"

namespace stem::cli {

// Every sample carries the namespace.
std::string prometheus_text(const std::vector<Metric>& metrics, std::string_view name_space);

// "stem_tasks_enqueued_total"
std::string prometheus_name(const Metric& metric);

}  // namespace stem::cli
