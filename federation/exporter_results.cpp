// The exporter's way back: the ends of tasks that left, for who waits for them.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.hpp"
#include "federation/exporter.hpp"
#include "federation/json_text.hpp"
#include "federation/payload_text.hpp"
#include "federation/scripts.hpp"

namespace stem::federation {
namespace {

constexpr std::size_t kResultsAtOnce = 256;
constexpr std::size_t kLooksAtOnce = 32;
constexpr std::int64_t kAskFirstNs = 1'000'000;
constexpr std::int64_t kAskMostNs = 50'000'000;
constexpr std::string_view kResultBytes = "4194304";    // one result, in its wire form
constexpr std::string_view kResultsBytes = "16777216";  // all of a reply

constexpr std::string_view kTooLarge = R"({"type":"result-too-large","message":"a result may have 1 MiB"})";

// The bytes that the handler returned, or that one of ours would have.
std::string result_of(const TaskStatus& status) {
  if (status.payload_bytes) return *status.payload_bytes;
  if (status.payload == "null") return {};
  if (status.meta.find(fmt::format("\"{}\":true", kJsonTextMember)) != std::string::npos) return status.payload;
  return message_pack_of_json(status.payload).value_or(status.payload);
}

}  // namespace

// A question at a time, in turn for all.
void Exporter::ask_results(const Clocks& clocks) {
  if (!asked_.empty() || awaited_.empty() || clocks.now_ns < ask_again_ns_) return;
  std::vector<std::string> keys;
  for (std::size_t i = std::min(kResultsAtOnce, awaited_.size()); i > 0; --i) {
    keys.push_back(keys_.result(options_.queue, awaited_.front()));
    asked_.push_back(std::move(awaited_.front()));
    awaited_.pop_front();
  }
  const std::string count = fmt::to_string(keys.size());
  argv_.assign({"EVAL", kResultsScript, count});
  argv_.insert(argv_.end(), keys.begin(), keys.end());
  argv_.insert(argv_.end(), {kResultBytes, kResultsBytes});
  const Queued queued = redis_.command(std::span<const std::string_view>(argv_),
                                       [this, now = clocks.now_ns](const Reply& reply) { on_results(reply, now); });
  if (queued == Queued::kYes) return;
  awaited_.insert(awaited_.end(), asked_.begin(), asked_.end());
  asked_.clear();
}

void Exporter::on_results(const Reply& reply, std::int64_t now_ns) {
  bool found = false;
  std::vector<std::string> look;
  for (std::size_t i = 0; i < asked_.size(); ++i) {
    const auto entry = tasks_.find(asked_[i]);
    if (entry == tasks_.end() || entry->second.stage != Stage::kAwaited) continue;
    const bool is_there = reply.is_array() && i < reply.elements.size() && reply.elements[i].is_text();
    if (is_there && settle(*entry, reply.elements[i].text, now_ns)) {
      found = true;
      continue;
    }
    if (reply.is_array() && !is_there && now_ns >= entry->second.look_ns && look.size() < kLooksAtOnce) {
      entry->second.look_ns = now_ns + kLookAfterNs;
      look.push_back(asked_[i]);
    }
    awaited_.push_back(std::move(asked_[i]));
  }
  asked_.clear();
  look_after(look);
  ask_every_ns_ = found ? kAskFirstNs : std::clamp(ask_every_ns_ * 2, kAskFirstNs, kAskMostNs);
  ask_again_ns_ = now_ns + ask_every_ns_;
}

// True when it was the end of the task.
bool Exporter::settle(Entry& entry, std::string_view json, std::int64_t now_ns) {
  TaskStatus status;
  if (json.empty()) {
    status.state = "failed";
    status.error = kTooLarge;
  } else if (const auto read = decode_json(json, status); !read) {
    log::warn("a result in Redis makes no sense", {{"task", entry.first}, {"error", read.error().message}});
    return false;
  }
  const std::string result = result_of(status);
  if (status.state == "succeeded" && result.size() > shm::kMaxPayloadBytes) {
    status.state = "failed";
    status.error = kTooLarge;
  }
  bool ended = false;
  if (status.state == "succeeded") {
    ended = outbox_.end(entry.second.parcel, engine::OutcomeKind::kSucceeded, std::as_bytes(std::span(result)), now_ns);
  } else if (status.state == "failed" || status.state == "dead" || status.state == "cancelled") {
    ended = end_badly(entry.second.parcel, status, now_ns);
  } else {
    return false;  // queued, running, retried
  }
  engine::TaskView view;
  if (!ended && outbox_.view(entry.second.parcel, view)) return false;  // no room for it now: it is asked for again
  ++stats_.results;
  tasks_.erase(entry.first);
  return true;
}

bool Exporter::end_badly(const engine::Parcel& parcel, const TaskStatus& status, std::int64_t now_ns) {
  std::string kind = status.state, message;
  if (const auto members = json_members(status.error)) {
    for (const JsonMember& m : *members) {
      if (m.name == "type" && m.is_string()) kind = json_string_value(m.value);
      if (m.name == "message" && m.is_string()) message = json_string_value(m.value);
    }
  }
  const auto record =
      engine::make_failure_record({kind, message}, 0, now_ns, static_cast<std::uint32_t>(status.attempt));
  const bool cancelled = status.state == "cancelled";
  return outbox_.end(parcel, cancelled ? engine::OutcomeKind::kCancelled : engine::OutcomeKind::kFailed, record.bytes(),
                     now_ns);
}

}  // namespace stem::federation
