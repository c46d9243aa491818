#include "tools/stem/events/traces.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "engine/trace.hpp"
#include "shm/names.hpp"

namespace stem::cli {
namespace {

using engine::Span;
using nlohmann::ordered_json;
using shm::EventKind;

constexpr std::size_t kMostRunning = 100'000;  // whoever ends unseen (lost events) must not stay for ever
constexpr std::size_t kMostSpans = 500;        // in one request: collectors refuse large ones
constexpr int kInternal = 1, kProducer = 4, kConsumer = 5;
constexpr int kStatusError = 2;

std::uint64_t parent_of(const std::string& traceparent) {
  std::uint64_t id = 0;
  std::from_chars(traceparent.data() + 36, traceparent.data() + 52, id, 16);
  return id;
}

ordered_json text_attribute(const char* key, std::string value) {
  return {{"key", key}, {"value", {{"stringValue", std::move(value)}}}};
}

std::string nanoseconds(std::int64_t ns) { return fmt::format("{}", ns); }  // 64-bit numbers are texts in JSON

}  // namespace

void TraceSpans::add(const shm::ReadEvent& event, const Moment& now) {
  const engine::TaskId id{segment_.epoch(), event.event.handle};
  switch (event.event.kind) {
    // Whoever may write the segment may have written anything.
    case EventKind::kEnqueued:
      if (!engine::is_traceparent(event.text)) return;
      return add_span(event, event.text, span_id(id, Span::kEnqueue, 0), parent_of(event.text), "enqueue", kProducer,
                      event.event.at_ns, event.event.at_ns, now);
    case EventKind::kStarted:
      if (!engine::is_traceparent(event.text)) return;
      if (running_.size() >= kMostRunning) running_.clear();
      running_[event.event.handle] = {event.text, event.event.at_ns};
      // A retry waits for its time, which is no time that anybody lost.
      if (event.event.attempt == 0)
        add_span(event, event.text, span_id(id, Span::kWait, 0), parent_of(event.text), "wait", kInternal,
                 event.event.at_ns - event.event.value, event.event.at_ns, now);
      return;
    case EventKind::kSucceeded:
    case EventKind::kRetry:
    case EventKind::kFailed:
    case EventKind::kRevoked:
    case EventKind::kSnoozed:
    case EventKind::kRedelivered: return end(event, now);
    default: return;
  }
}

void TraceSpans::end(const shm::ReadEvent& event, const Moment& now) {
  const auto it = running_.find(event.event.handle);
  if (it == running_.end()) return;
  const Started started = std::move(it->second);
  running_.erase(it);
  const engine::TaskId id{segment_.epoch(), event.event.handle};
  add_span(event, started.traceparent, span_id(id, Span::kExecute, event.event.attempt), parent_of(started.traceparent),
           "execute", kConsumer, started.at_ns, event.event.at_ns, now);
  ordered_json& span = spans_.back();
  const EventKind kind = event.event.kind;
  if (kind == EventKind::kSucceeded || kind == EventKind::kSnoozed) return;
  const std::string message =
      kind == EventKind::kRedelivered ? fmt::format("its worker {} was lost", event.text) : event.text;
  span["status"] = {{"code", kStatusError}, {"message", message}};
}

void TraceSpans::add_span(const shm::ReadEvent& event, const std::string& traceparent, std::uint64_t id,
                          std::uint64_t parent, const char* what, int kind, std::int64_t from_ns, std::int64_t to_ns,
                          const Moment& now) {
  const shm::Event& e = event.event;
  const std::string task(e.task < shm::task_total(segment_) ? shm::task_name(segment_, e.task) : "unknown");
  ordered_json attributes = ordered_json::array();
  attributes.push_back(text_attribute("messaging.system", "stem"));
  if (e.queue < shm::queue_total(segment_))
    attributes.push_back(text_attribute("messaging.destination.name", std::string(shm::queue_name(segment_, e.queue))));
  attributes.push_back(text_attribute("messaging.message.id", to_string(engine::TaskId{segment_.epoch(), e.handle})));
  attributes.push_back(text_attribute("stem.task", task));
  attributes.push_back(text_attribute("stem.by", event.by));
  attributes.push_back({{"key", "stem.attempt"}, {"value", {{"intValue", fmt::format("{}", e.attempt)}}}});
  spans_.push_back({{"traceId", traceparent.substr(3, 32)},
                    {"spanId", fmt::format("{:016x}", id)},
                    {"parentSpanId", fmt::format("{:016x}", parent)},
                    {"name", fmt::format("{} {}", what, task)},
                    {"kind", kind},
                    {"startTimeUnixNano", nanoseconds(now.to_realtime_ns(from_ns))},
                    {"endTimeUnixNano", nanoseconds(now.to_realtime_ns(std::max(from_ns, to_ns)))},
                    {"attributes", std::move(attributes)}});
}

ordered_json TraceSpans::take(std::string_view service) {
  if (spans_.empty()) return nullptr;
  ordered_json now = ordered_json::array();
  const std::size_t count = std::min(spans_.size(), kMostSpans);
  for (std::size_t i = 0; i < count; ++i) now.push_back(std::move(spans_[spans_.size() - count + i]));
  spans_.erase(spans_.end() - static_cast<std::ptrdiff_t>(count), spans_.end());
  ordered_json request{{"resourceSpans",
                        {{{"resource", {{"attributes", {text_attribute("service.name", std::string(service))}}}},
                          {"scopeSpans", {{{"scope", {{"name", "stem"}}}, {"spans", std::move(now)}}}}}}}};
  return request;
}

}  // namespace stem::cli
