#include "federation/exporter.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.hpp"
#include "federation/json_text.hpp"
#include "federation/local_workers.hpp"
#include "federation/payload_text.hpp"
#include "federation/records.hpp"
#include "federation/scripts.hpp"
#include "shm/names.hpp"

namespace stem::federation {
namespace {

constexpr std::uint32_t kAtOnce = 64;
constexpr std::size_t kResultsAtOnce = 256;
constexpr std::int64_t kAskFirstNs = 1'000'000;
constexpr std::int64_t kAskMostNs = 50'000'000;
constexpr std::int64_t kStandAsideNs = 5'000'000;
constexpr std::int64_t kRefusedPauseNs = 200'000'000;
constexpr std::int64_t kLookAgainNs = 2'000'000;
constexpr std::int64_t kClockSkewUs = 600'000'000;      // hosts and Redis may differ by that much
constexpr std::string_view kResultBytes = "4194304";    // one result, in its wire form
constexpr std::string_view kResultsBytes = "16777216";  // all of a reply

constexpr std::string_view kTooLarge = R"({"type":"result-too-large","message":"a result may have 1 MiB"})";

// "a-b" > "c-d", as Redis orders entry ids.
bool is_later(std::string_view a, std::string_view b) {
  const auto part = [](std::string_view id, bool second) {
    const std::size_t dash = id.find('-');
    return second ? (dash == id.npos ? std::string_view() : id.substr(dash + 1)) : id.substr(0, dash);
  };
  const auto less = [](std::string_view x, std::string_view y) {
    return x.size() != y.size() ? x.size() < y.size() : x < y;
  };
  if (part(a, false) != part(b, false)) return less(part(b, false), part(a, false));
  return less(part(b, true), part(a, true));
}

// The bytes that the handler returned, or that one of ours would have.
std::string result_of(const TaskStatus& status) {
  if (status.payload_bytes) return *status.payload_bytes;
  if (status.payload == "null") return {};
  if (status.meta.find(fmt::format("\"{}\":true", kJsonTextMember)) != std::string::npos) return status.payload;
  return message_pack_of_json(status.payload).value_or(status.payload);
}

}  // namespace

Exporter::Exporter(engine::Engine& engine, Redis& redis, const Keys& keys, const Transcript& transcript,
                   std::uint32_t queue, Options options)
    : engine_(engine),
      outbox_(engine),
      redis_(redis),
      keys_(keys),
      transcript_(transcript),
      queue_(queue),
      options_(std::move(options)),
      parcels_(kAtOnce) {
  if (options_.policy == Policy::kLocalOnly) options_.window = 0;
}

void Exporter::adopt(const engine::Parcel& parcel, const Clocks& clocks) {
  engine::TaskView view;
  if (!outbox_.view(parcel, view)) return;
  // What the one before us did with it we cannot know: as after a lost answer.
  Task task{parcel, clocks.wall_us(view.enqueued_ns), view.priority, engine::Outbox::is_awaited(view),
            Stage::kUncertain};
  if (tasks_.try_emplace(wire_id(transcript_.host(), view.id), task).second) ++uncertain_;
}

void Exporter::on_ready(const Clocks&) {
  fenced_ = true;
  if (uncertain_ > 0 && reading_back_ == 0) recover();
}

std::uint64_t Exporter::may_leave() const {
  if (options_.window == 0) return 0;
  if (options_.policy == Policy::kGlobal) return ~0ull;
  const std::uint64_t room = local_room();
  const std::uint64_t queued = engine_.lanes().queued(queue_);
  return queued > room ? queued - room : 0;
}

std::uint64_t Exporter::local_room() const {
  return std::uint64_t{local_workers(engine_.segment(), queue_)} * options_.prefetch_multiplier;
}

bool Exporter::step(const Clocks& clocks) {
  if (!redis_.is_ready() || !fenced_) return bring_home(clocks);
  if (uncertain_ > 0 && reading_back_ == 0) recover();
  if (refused_) pause_until_ns_ = clocks.now_ns + kRefusedPauseNs;
  refused_ = false;
  if (clocks.now_ns < pause_until_ns_) return bring_home(clocks);
  while (!to_send_.empty()) {
    const auto entry = tasks_.find(to_send_.front());
    to_send_.pop_front();
    if (entry == tasks_.end() || entry->second.stage != Stage::kToSend) continue;
    if (!send(*entry, clocks)) return false;  // no room: it is in front again
  }
  const std::size_t before = sent_;
  take(clocks);
  ask_results(clocks);
  return sent_ != before;
}

// While Redis takes nothing, workers here get back what they have room for and Redis has never seen. Always false.
bool Exporter::bring_home(const Clocks& clocks) {
  if (options_.policy != Policy::kLocalFirst || to_send_.empty()) return false;
  const std::uint64_t room = local_room();
  std::uint64_t queued = engine_.lanes().queued(queue_);
  while (!to_send_.empty() && queued < room) {
    const auto entry = tasks_.find(to_send_.front());
    to_send_.pop_front();
    if (entry == tasks_.end() || entry->second.stage != Stage::kToSend) continue;
    (void)outbox_.give_back(entry->second.parcel, clocks.now_ns);
    tasks_.erase(entry);
    ++queued;
  }
  return false;
}

void Exporter::take(const Clocks& clocks) {
  if (!engine_.has_hint(queue_)) {
    look_again_ns_ = clocks.now_ns + kLookAgainNs;
    return;
  }
  std::uint64_t budget = may_leave();
  while (budget > 0 && sent_ + uncertain_ + to_send_.size() < options_.window) {
    const auto most = static_cast<std::uint32_t>(std::min<std::uint64_t>(budget, kAtOnce));
    imported_.clear();
    const std::uint32_t n = outbox_.take(queue_, parcels_.data(), most, imported_, clocks.now_ns);
    const bool nobody_here = !imported_.empty() && local_room() == 0;
    for (const engine::Lease& lease : imported_) {
      // It goes back to the cluster when nobody here can run it; otherwise it only stands aside for a moment.
      if (give_back_ && nobody_here)
        give_back_(lease);
      else
        outbox_.put_off(lease, clocks.now_ns + kStandAsideNs);
    }
    for (std::uint32_t i = 0; i < n; ++i) {
      engine::TaskView view;
      if (!outbox_.view(parcels_[i], view)) continue;
      const Task task{parcels_[i], clocks.wall_us(view.enqueued_ns), view.priority, engine::Outbox::is_awaited(view),
                      Stage::kToSend};
      const auto [entry, is_new] = tasks_.try_emplace(wire_id(transcript_.host(), view.id), task);
      if (is_new && !send(*entry, clocks)) budget = 0;
    }
    budget -= std::min<std::uint64_t>(budget, n);
    if (n == 0) look_again_ns_ = clocks.now_ns + kLookAgainNs;  // imported ones, or hints of what is gone
    if (n < most) return;
  }
}

// False when there is no room for it. The entry may be gone afterwards.
bool Exporter::send(Entry& entry, const Clocks& clocks) {
  Task& task = entry.second;
  engine::TaskView view;
  if (!outbox_.view(task.parcel, view)) {  // quarantined, or another's by now
    tasks_.erase(entry.first);
    return true;
  }
  transcript_.write(view, clocks, envelope_);
  const StreamFields fields(envelope_.view());
  const std::string key = keys_.stream(options_.queue, task.lane);
  argv_.assign({"XADD", key, "*"});
  fields.append_to(argv_);
  const Queued queued = redis_.command(std::span<const std::string_view>(argv_),
                                       [this, at = &entry](const Reply& reply) { on_added(*at, reply); });
  if (queued != Queued::kYes) {
    task.stage = Stage::kToSend;
    to_send_.push_front(entry.first);
    return false;
  }
  task.stage = Stage::kSent;
  ++sent_;
  ++stats_.sent;
  return true;
}

void Exporter::on_added(Entry& entry, const Reply& reply) {
  Task& task = entry.second;
  --sent_;
  if (reply.is_text()) {
    std::string& last = last_id_[task.lane];
    if (uncertain_ == 0 && (last.empty() || is_later(reply.text, last))) last = reply.text;
    confirm(entry);
    return;
  }
  if (reply.error == RedisError::kLost) {
    task.stage = Stage::kUncertain;
    ++uncertain_;
    return;
  }
  // Not carried out: it goes again, after a while when the server refused it.
  task.stage = Stage::kToSend;
  to_send_.push_back(entry.first);
  if (reply.error == RedisError::kNotSent) return;
  if (reply.error == RedisError::kReadOnly) return redis_.drop("it became a replica");
  if (!refused_) log::warn("Redis refuses tasks", {{"queue", options_.queue}, {"error", reply.text}});
  refused_ = true;
}

void Exporter::confirm(Entry& entry) {
  Task& task = entry.second;
  ++stats_.confirmed;
  if (task.wanted) {
    task.stage = Stage::kAwaited;
    awaited_.push_back(entry.first);
    ask_every_ns_ = kAskFirstNs;
    return;
  }
  (void)outbox_.hand_over(task.parcel);
  tasks_.erase(entry.first);
}

// ---- after a lost answer

void Exporter::recover() {
  read_failed_ = false;
  std::string from[kLanes];
  bool any[kLanes] = {};
  for (const auto& [id, task] : tasks_) {
    if (task.stage != Stage::kUncertain) continue;
    const int lane = std::clamp(task.lane, 0, kLanes - 1);
    any[lane] = true;
    // Redis names entries by its clock: what we know of its last one, or not before the task was made.
    std::string made = fmt::format("{}-0", std::max<std::int64_t>(0, (task.enqueued_us - kClockSkewUs) / 1000));
    if (!last_id_[lane].empty() && is_later(last_id_[lane], made)) made = last_id_[lane];
    if (from[lane].empty() || is_later(from[lane], made)) from[lane] = made;
  }
  for (int lane = 0; lane < kLanes; ++lane)
    if (any[lane]) read_back(lane, "(" + from[lane]);
}

void Exporter::read_back(int lane, const std::string& from) {
  const std::string key = keys_.stream(options_.queue, lane);
  const Queued queued = redis_.command({"EVAL", kReadBackScript, "1", key, from},
                                       [this, lane](const Reply& reply) { on_read_back(lane, reply); });
  if (queued == Queued::kYes)
    ++reading_back_;
  else
    read_failed_ = true;
}

void Exporter::on_read_back(int lane, const Reply& reply) {
  --reading_back_;
  if (!reply.is_array() || reply.elements.size() != 2) {
    read_failed_ = true;  // once more with the next step
    return recovery_step_done();
  }
  for (const Reply& id : reply.elements[1].elements) {
    const auto entry = tasks_.find(std::string(id.text));
    if (entry == tasks_.end() || entry->second.stage != Stage::kUncertain) continue;
    --uncertain_;
    ++stats_.recovered;
    confirm(*entry);
  }
  const std::string_view more = reply.elements[0].text;
  if (!more.empty() && uncertain_ > 0) read_back(lane, std::string(more));
  recovery_step_done();
}

// All lanes were read. What is not there was never appended, or is over and gone from its stream: then its result is
// there, since that is stored in the same step.
void Exporter::recovery_step_done() {
  if (reading_back_ > 0 || read_failed_) return;
  for (auto& entry : tasks_) {
    if (entry.second.stage != Stage::kUncertain) continue;
    const std::string key = keys_.result(entry.first);
    const Queued queued = redis_.command({"EXISTS", key}, [this, at = &entry](const Reply& reply) {
      --reading_back_;
      if (!reply.is_integer() || at->second.stage != Stage::kUncertain) return;
      --uncertain_;
      if (reply.integer != 0) {
        ++stats_.recovered;
        confirm(*at);
      } else {
        ++stats_.resent;
        at->second.stage = Stage::kToSend;
        to_send_.push_back(at->first);
      }
    });
    if (queued != Queued::kYes) return;  // the rest with the next step
    ++reading_back_;
  }
}

// ---- results

void Exporter::ask_results(const Clocks& clocks) {
  if (asking_ || awaited_.empty() || clocks.now_ns < ask_again_ns_) return;
  std::vector<std::string> asked, keys;
  for (std::size_t i = std::min(kResultsAtOnce, awaited_.size()); i > 0; --i) {
    asked.push_back(awaited_.front());
    awaited_.push_back(std::move(awaited_.front()));
    awaited_.pop_front();
    keys.push_back(keys_.result(asked.back()));
  }
  const std::string count = fmt::to_string(keys.size());
  argv_.assign({"EVAL", kResultsScript, count});
  argv_.insert(argv_.end(), keys.begin(), keys.end());
  argv_.insert(argv_.end(), {kResultBytes, kResultsBytes});
  const Queued queued = redis_.command(
      std::span<const std::string_view>(argv_),
      [this, asked = std::move(asked), now = clocks.now_ns](const Reply& reply) { on_results(asked, reply, now); });
  asking_ = queued == Queued::kYes;
}

void Exporter::on_results(const std::vector<std::string>& asked, const Reply& reply, std::int64_t now_ns) {
  asking_ = false;
  bool found = false;
  for (std::size_t i = 0; reply.is_array() && i < std::min(asked.size(), reply.elements.size()); ++i) {
    const auto entry = tasks_.find(asked[i]);
    if (!reply.elements[i].is_text() || entry == tasks_.end() || entry->second.stage != Stage::kAwaited) continue;
    found = settle(*entry, reply.elements[i].text, now_ns) || found;
  }
  if (found) std::erase_if(awaited_, [this](const std::string& id) { return !tasks_.contains(id); });
  ask_every_ns_ = found ? kAskFirstNs : std::min(ask_every_ns_ * 2, kAskMostNs);
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

void Exporter::leave() {
  for (const auto& [id, task] : tasks_) {
    if (task.stage == Stage::kToSend)
      (void)outbox_.give_back(task.parcel, 0);  // Redis has never seen it
    else
      outbox_.leave(task.parcel);
  }
  tasks_.clear();
  to_send_.clear();
  awaited_.clear();
  sent_ = uncertain_ = 0;
}

}  // namespace stem::federation
