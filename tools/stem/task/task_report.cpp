#include "tools/stem/task/task_report.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/units.hpp"
#include "stem/json_payload.hpp"
#include "tools/stem/when.hpp"

namespace stem::cli {
namespace {

using engine::TaskInfo;
using nlohmann::ordered_json;

constexpr std::size_t kMostShown = 2000;  // columns of a payload; --json shows it whole

// Headers and meta are JSON by the front door's word, and any bytes by the segment's.
ordered_json object_or_text(const std::string& text) {
  if (text.empty()) return ordered_json::object();
  auto parsed = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  return parsed.is_discarded() ? ordered_json(text) : parsed;
}

// When its present run began; 0 when its worker runs something else at the moment.
std::int64_t running_since_ns(const TaskInfo& task, const shm::Segment& segment) {
  if (task.worker == 0 || task.worker > segment.geometry().participant_count) return 0;
  const shm::RosterRow& row = segment.row(task.worker - 1);
  const bool this_one = row.current.load(std::memory_order_acquire) == task.id.handle;
  return this_one ? row.current_since_ns.load(std::memory_order_relaxed) : 0;
}

ordered_json time_or_null(std::int64_t monotonic_ns, const Moment& now) {
  if (monotonic_ns == 0) return nullptr;
  return write_time(now.to_realtime_ns(monotonic_ns));
}

ordered_json worker_json(const TaskInfo& task, const shm::Segment& segment, const Moment& now) {
  if (task.worker == 0) return nullptr;
  return {{"participant", task.worker - 1},
          {"name", task.worker_name},
          {"pid", segment.row(task.worker - 1).pid},
          {"since", time_or_null(running_since_ns(task, segment), now)}};
}

void field(std::string_view name, std::string_view text) { fmt::print("{:<12} {}\n", name, text); }

void time_field(std::string_view name, std::int64_t monotonic_ns, const Moment& now) {
  if (monotonic_ns == 0) return;
  field(name, show_time(now.to_realtime_ns(monotonic_ns), now.realtime_ns));
}

std::string shown(const nlohmann::json& value) { return shortened(printable(one_line(value)), kMostShown); }

std::string attempts_text(const TaskInfo& task) {
  std::string text = fmt::format("{} used of {}", task.tally.attempts, task.max_retries + 1);
  if (task.tally.deaths > 0) {
    text += fmt::format(", {} ended in the death of the process", task.tally.deaths);
  }
  if (task.tally.releases > 0) text += fmt::format(", given back {} times", task.tally.releases);
  return text;
}

void print_failure(const engine::FailureRecord& failure, const Moment& now, const Style& style) {
  field("error",
        style.paint(Tone::kBad, fmt::format("{}: {}", printable(failure.kind()), printable(failure.message()))));
  if (failure.reason != 0) field("reason", reason_text(failure.reason));
  if (failure.fingerprint != 0) field("fingerprint", fingerprint_text(failure.fingerprint));
  time_field("failed", failure.at_ns, now);
}

}  // namespace

std::string fingerprint_text(std::uint64_t fingerprint) { return fmt::format("{:016x}", fingerprint); }

std::string_view reason_text(std::uint8_t reason) {
  return reason == 0 ? "" : to_string(static_cast<engine::DeadReason>(reason));
}

std::string one_line(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Tone tone_of_state(std::string_view state) {
  if (state == "succeeded") return Tone::kGood;
  if (state == "dead" || state == "failed" || state == "unknown") return Tone::kBad;
  if (state == "retried" || state == "cancelled") return Tone::kWarn;
  return Tone::kBold;
}

ordered_json failure_json(const engine::FailureRecord& failure, const Moment& now) {
  ordered_json object{
      {"kind", failure.kind()},       {"message", failure.message()},           {"reason", nullptr},
      {"attempts", failure.attempts}, {"at", time_or_null(failure.at_ns, now)}, {"fingerprint", nullptr}};
  if (failure.reason != 0) object["reason"] = reason_text(failure.reason);
  if (failure.fingerprint != 0) object["fingerprint"] = fingerprint_text(failure.fingerprint);
  return object;
}

ordered_json task_row(const TaskInfo& task, const Moment& now) {
  return {{"id", to_string(task.id)},
          {"state", task.state_name},
          {"task", task.task},
          {"queue", task.queue},
          {"priority", task.priority},
          {"attempts", task.tally.attempts},
          {"maxRetries", task.max_retries},
          {"enqueuedAt", time_or_null(task.enqueued_ns, now)},
          {"dueAt", time_or_null(task.due_ns, now)},
          {"worker", nullptr},
          {"error", task.failure ? failure_json(*task.failure, now) : ordered_json()}};
}

ordered_json task_json(const TaskInfo& task, const Attachment& attachment) {
  const Moment now = Moment::now();
  ordered_json object = task_row(task, now);
  object["worker"] = worker_json(task, attachment.segment(), now);
  object.update({{"deaths", task.tally.deaths},
                 {"releases", task.tally.releases},
                 {"autoRenew", task.auto_renew},
                 {"progress", nullptr},
                 {"headers", object_or_text(task.headers)},
                 {"meta", object_or_text(task.meta)},
                 {"payloadBytes", task.payload_bytes},
                 {"payload", payload_to_json(task.payload)},
                 {"result", nullptr}});
  if (task.has_progress) {
    object["progress"] = {{"fraction", task.progress}, {"data", task.progress_data}};
  }
  if (!task.result.empty()) object["result"] = payload_to_json(task.result);
  return object;
}

void print_task(const TaskInfo& task, const Attachment& attachment, const Style& style) {
  const Moment now = Moment::now();
  field("id", to_string(task.id));
  field("state", style.paint(tone_of_state(task.state_name), task.state_name));
  field("task", printable(task.task));
  field("queue", fmt::format("{}, priority {}", printable(task.queue), task.priority));
  field("attempts", attempts_text(task));
  time_field("enqueued", task.enqueued_ns, now);
  time_field("due", task.due_ns, now);
  if (!task.auto_renew) field("lease", "ends by the clock, though its worker lives (auto_renew off)");
  if (task.worker != 0) {
    field("worker",
          fmt::format("{} (pid {})", printable(task.worker_name), attachment.segment().row(task.worker - 1).pid));
    time_field("running", running_since_ns(task, attachment.segment()), now);
  }
  if (task.has_progress) {
    field("progress", fmt::format("{:.1f} %{}{}", task.progress * 100, task.progress_data.empty() ? "" : "  ",
                                  printable(task.progress_data)));
  }
  if (task.failure) print_failure(*task.failure, now, style);
  if (!task.headers.empty()) field("headers", printable(task.headers));
  if (!task.meta.empty()) field("meta", printable(task.meta));
  field("payload", task.payload_bytes == 0 ? "none"
                                           : fmt::format("{}  ({})", shown(payload_to_json(task.payload)),
                                                         base::human_size(task.payload_bytes)));
  if (!task.result.empty()) {
    field("result", fmt::format("{}  ({})", shown(payload_to_json(task.result)), base::human_size(task.result.size())));
  }
}

}  // namespace stem::cli
