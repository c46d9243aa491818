// Spans of tasks that carry a trace context, made from their events: as OTLP/HTTP takes them in JSON
// (https://opentelemetry.io/docs/specs/otlp/).
//
//   enqueue (producer, a moment)   wait (internal)   execute (consumer; an error when the attempt failed)
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "shm/event_log.hpp"
#include "tools/stem/attachment.hpp"

namespace stem::cli {

class TraceSpans {
 public:
  explicit TraceSpans(const shm::Segment& segment) : segment_(segment) {}

  // In the order in which EventReader gives them.
  void add(const shm::ReadEvent& event, const Moment& now);
  // An ExportTraceServiceRequest with up to 500 spans that were not given yet; null when there are none.
  nlohmann::ordered_json take(std::string_view service);

 private:
  struct Started {
    std::string traceparent;
    std::int64_t at_ns = 0;
  };
  void add_span(const shm::ReadEvent& event, const std::string& traceparent, std::uint64_t id, std::uint64_t parent,
                const char* what, int kind, std::int64_t from_ns, std::int64_t to_ns, const Moment& now);
  void end(const shm::ReadEvent& event, const Moment& now);

  const shm::Segment& segment_;
  std::map<std::uint64_t, Started> running_;  // by handle
  nlohmann::ordered_json spans_ = nlohmann::ordered_json::array();
};

}  // namespace stem::cli
