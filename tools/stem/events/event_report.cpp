#include "tools/stem/events/event_report.hpp"

#include <fmt/format.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/units.hpp"
#include "engine/task.hpp"
#include "shm/names.hpp"
#include "tools/stem/task/task_report.hpp"
#include "tools/stem/when.hpp"

namespace stem::cli {
namespace {

using nlohmann::ordered_json;
using shm::EventKind;

// What EventStatus::value is, in JSON; null = nothing.
const char* name_of_value(EventKind kind) {
  switch (kind) {
    case EventKind::kEnqueued:
    case EventKind::kPublishing:
    case EventKind::kLimited:
    case EventKind::kSnoozed:
    case EventKind::kRetry:
    case EventKind::kReplayed: return "delayNs";
    case EventKind::kReceived:
    case EventKind::kStarted: return "waitNs";
    case EventKind::kPostrun:
    case EventKind::kSucceeded: return "durationNs";
    case EventKind::kHeartbeat: return "inflight";
    case EventKind::kControlReceived:
    case EventKind::kControlDone: return "argument";
    case EventKind::kWorkerInit:
    case EventKind::kRedelivered: return "items";
    case EventKind::kWorkerReady: return "processes";
    case EventKind::kProcessReady:
    case EventKind::kProcessEnded: return "pid";
    default: return nullptr;
  }
}

const char* name_of_text(EventKind kind) {
  switch (kind) {
    case EventKind::kEnqueued:
    case EventKind::kPublishing:
    case EventKind::kStarted: return "traceparent";
    case EventKind::kPostrun: return "state";
    case EventKind::kScheduleDue: return "schedule";
    case EventKind::kControlReceived: return "command";
    case EventKind::kWorkerInit:
    case EventKind::kProcessReady:
    case EventKind::kProcessEnded:
    case EventKind::kProcessLost:
    case EventKind::kWorkerReady: return "worker";
    case EventKind::kWorkerStopping:
    case EventKind::kWorkerShutdown: return "mode";
    default: return "message";
  }
}

std::string queue_of(const shm::Event& event, const shm::Segment& segment) {
  return event.queue < shm::queue_total(segment) ? std::string(shm::queue_name(segment, event.queue)) : std::string();
}

std::string loss_text(std::uint8_t reason) {
  if (reason == shm::kSilent) return "gave no sign of life";
  if (reason == shm::kLeaseOver) return "kept it longer than its lease";
  if (reason == shm::kLeftBehind) return "left";
  if (reason == shm::kStopped) return "was stopped at once";
  const char* name = reason >= shm::kFirstLoss ? nullptr : ::sigabbrev_np(reason);
  return name == nullptr ? "died" : fmt::format("died of SIG{}", name);
}

std::string after(std::int64_t ns) { return base::human_duration(std::max<std::int64_t>(ns, 0)); }

}  // namespace

ordered_json event_json(const shm::ReadEvent& read, const shm::Segment& segment, const Moment& now) {
  const shm::Event& event = read.event;
  ordered_json object{{"event", shm::event_name(event.kind)}, {"at", write_time(now.to_realtime_ns(event.at_ns))}};
  if (event.handle != 0) object["id"] = to_string(engine::TaskId{segment.epoch(), event.handle});
  if (event.task < shm::task_total(segment)) object["task"] = shm::task_name(segment, event.task);
  if (const std::string queue = queue_of(event, segment); !queue.empty()) object["queue"] = queue;
  if (event.handle != 0) object["attempt"] = event.attempt;
  object["by"] = read.by;
  if (event.kind == EventKind::kRedelivered) {
    object["lostWorker"] = read.text;
    object["cause"] = loss_text(event.reason);
    object["started"] = event.detail == 1;
  }
  if (const char* name = name_of_value(event.kind)) object[name] = event.value;
  if (event.kind == EventKind::kRetry)
    object["nextRetryAt"] = write_time(now.to_realtime_ns(event.at_ns + event.value));
  if (event.kind == EventKind::kFailed) object["reason"] = reason_text(event.reason);
  if (event.kind == EventKind::kScheduled || event.kind == EventKind::kScheduleDue ||
      event.kind == EventKind::kScheduleFailed)
    object["plannedAt"] = write_time(event.value);
  if (read.text.empty() || event.kind == EventKind::kRedelivered) return object;
  const auto pair = [&](std::size_t colon, const char* before, const char* after) {
    object[before] = read.text.substr(0, colon);
    if (colon != std::string::npos) object[after] = read.text.substr(colon + 2);
  };
  if (event.kind == EventKind::kProcessEnded) {
    pair(read.text.rfind(": "), "worker", "cause");
  } else if (event.kind == EventKind::kScheduleFailed) {
    pair(read.text.find(": "), "schedule", "message");
  } else if (event.kind == EventKind::kControlDone) {
    pair(read.text.find(": "), "command", "answer");
  } else {
    object[name_of_text(event.kind)] = read.text;
  }
  return object;
}

std::string event_text(const shm::ReadEvent& read, const shm::Segment& segment) {
  const shm::Event& event = read.event;
  const std::string& by = read.by;
  switch (event.kind) {
    case EventKind::kEnqueued: {
      return event.value > 0 ? fmt::format("enqueued by {}, to start in {}", by, after(event.value))
                             : fmt::format("enqueued by {}", by);
    }
    case EventKind::kStarted: return fmt::format("started by {}, {} after it was enqueued", by, after(event.value));
    case EventKind::kSucceeded: return fmt::format("succeeded after {} in {}", after(event.value), by);
    case EventKind::kLimited: return fmt::format("held back by a limit for {}", after(event.value));
    case EventKind::kSnoozed: return fmt::format("put off by its handler for {}", after(event.value));
    case EventKind::kDropped: return "dropped: the queue was at its maximum length";
    case EventKind::kRetry:
      return fmt::format("attempt {} failed in {}: {}; again in {}", event.attempt + 1, by, read.text,
                         after(event.value));
    case EventKind::kFailed:
      return fmt::format("dead letter ({}) after attempt {} in {}: {}", reason_text(event.reason), event.attempt + 1,
                         by, read.text);
    case EventKind::kRevoked: return fmt::format("revoked: {}", read.text);
    case EventKind::kExpired: return "expired: not started before its expiry";
    case EventKind::kRedelivered:
      return fmt::format("{} {}{}; made runnable by {}", read.text, loss_text(event.reason),
                         event.detail == 1 ? " while it ran it" : " with it in hand", by);
    case EventKind::kFenced: return fmt::format("a late end by {} was refused: it was somebody else's by then", by);
    case EventKind::kTimeout: return fmt::format("passed its soft time limit in {}", by);
    case EventKind::kReplayed: return fmt::format("replayed from the dead letters by {}", by);
    case EventKind::kScheduled: return fmt::format("tick of a schedule, planned for {}", write_time(event.value));
    case EventKind::kWorkerReady: return fmt::format("worker {} is ready, {} processes", read.text, event.value);
    case EventKind::kWorkerStopping: return fmt::format("worker {} is stopping ({})", by, read.text);
    case EventKind::kWorkerShutdown: return fmt::format("worker {} has stopped", by);
    case EventKind::kProcessReady: return fmt::format("worker process {} is ready (pid {})", read.text, event.value);
    case EventKind::kProcessEnded: return fmt::format("worker process ended: {} (pid {})", read.text, event.value);
    case EventKind::kProcessLost: return fmt::format("worker process {} is gone; what it held runs again", read.text);
    case EventKind::kQueuePaused: return fmt::format("queue {} paused by {}", queue_of(event, segment), by);
    case EventKind::kQueueResumed: return fmt::format("queue {} resumed by {}", queue_of(event, segment), by);
    case EventKind::kWorkerInit: return fmt::format("worker {} begins, {} processes wanted", read.text, event.value);
    case EventKind::kScheduleDue:
      return fmt::format("schedule {} is due, planned for {}", read.text, write_time(event.value));
    case EventKind::kScheduleFailed:
      return fmt::format("schedule {}; planned for {}", read.text, write_time(event.value));
    case EventKind::kControlReceived: return fmt::format("{} was told to {}", by, read.text);
    case EventKind::kControlDone: return fmt::format("{} has answered {}", by, read.text);
    case EventKind::kPublishing: return fmt::format("about to be enqueued by {}", by);
    case EventKind::kReceived: return fmt::format("in hand of {}, {} after it was enqueued", by, after(event.value));
    case EventKind::kPostrun: return fmt::format("handler done after {} in {}: {}", after(event.value), by, read.text);
    case EventKind::kHeartbeat: return fmt::format("{} lives, with {} tasks in hand", by, event.value);
    case EventKind::kNone: break;
  }
  return shm::event_name(event.kind);
}

Tone tone_of_event(EventKind kind) {
  switch (kind) {
    case EventKind::kSucceeded:
    case EventKind::kWorkerReady: return Tone::kGood;
    case EventKind::kFailed:
    case EventKind::kScheduleFailed:
    case EventKind::kProcessLost: return Tone::kBad;
    case EventKind::kRetry:
    case EventKind::kRevoked:
    case EventKind::kExpired:
    case EventKind::kRedelivered:
    case EventKind::kFenced:
    case EventKind::kTimeout:
    case EventKind::kDropped:
    case EventKind::kQueuePaused: return Tone::kWarn;
    default: return Tone::kPlain;
  }
}

}  // namespace stem::cli
