// The exporter when Redis may not have what it should: after a lost answer, a crash of Redis or a fail-over.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.hpp"
#include "federation/exporter.hpp"
#include "federation/scripts.hpp"

namespace stem::federation {
namespace {

constexpr std::int64_t kClockSkewUs = 600'000'000;  // hosts and Redis may differ by that much
constexpr std::size_t kAskedAtOnce = 100;
constexpr std::int64_t kReadAgainNs = 200'000'000;  // after the server has refused
// A task that Redis does not know any more: younger than that, Redis has lost it, or its result; older, it may have
// ended so long ago that its result has expired.
constexpr std::uint64_t kResultKeptMs = 12 * 3'600'000ull;

}  // namespace

void Exporter::recover() {
  read_failed_ = reads_ended_ = ended_read_ = false;
  sought_.clear();
  sought_from_us_ = clocks_.wall_now_us;
  EntryId from[kLanes];
  bool any[kLanes] = {};
  for (const auto& [id, task] : tasks_) {
    if (task.stage != Stage::kUncertain) continue;
    sought_.insert(end_mark(id));
    sought_from_us_ = std::min(sought_from_us_, task.enqueued_us);
    // Redis names entries by its clock. It came behind the last one that we know of; one whose replicas we waited for
    // is where it was; one that was there and is not any more may have been put back behind that place; and none was
    // there before the task was made.
    const auto made_ms =
        static_cast<std::uint64_t>(std::max<std::int64_t>(0, (task.enqueued_us - kClockSkewUs) / 1000));
    const EntryId known = task.was_there          ? task.entry
                          : task.entry.is_known() ? task.entry.before()
                                                  : last_id_[task.lane];
    const EntryId begin = std::max({made_ms, 0}, known);
    from[task.lane] = any[task.lane] ? std::min(from[task.lane], begin) : begin;
    any[task.lane] = true;
  }
  for (int lane = 0; lane < kLanes; ++lane)
    if (any[lane]) read_back(lane, "(" + from[lane].text());
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
  if (!reply.is_array() || reply.elements.size() != 3 ||
      reply.elements[1].elements.size() != reply.elements[2].elements.size()) {
    return refused_recovery();
  }
  for (std::size_t i = 0; i < reply.elements[1].elements.size(); ++i) {
    const auto entry = tasks_.find(std::string(reply.elements[1].elements[i].text));
    if (entry == tasks_.end() || entry->second.stage != Stage::kUncertain) continue;
    --uncertain_;
    ++stats_.recovered;
    // Should it be uncertain again before this recovery is over, what was read until then says nothing of it.
    sought_.erase(end_mark(entry->first));
    written(*entry, parse_entry_id(reply.elements[2].elements[i].text).value_or(EntryId{}));
  }
  const std::string_view more = reply.elements[0].text;
  if (!more.empty() && uncertain_ > 0) read_back(lane, std::string(more));
  recovery_step_done();
}

// All once more, after a while. (A lost connection begins its own, at once.)
void Exporter::refused_recovery() {
  read_failed_ = true;
  recover_at_ns_ = clocks_.now_ns + kReadAgainNs;
}

// All lanes were read. What is not there was never appended, or is over and gone from its stream: then its result is
// there, or its mark in the log of the ended, since that is written in the same step.
void Exporter::recovery_step_done() {
  if (reading_back_ > 0 || read_failed_ || uncertain_ == 0) return;
  if (!std::exchange(reads_ended_, true)) {
    ended_.clear();
    // The log goes by the clock of Redis. None ended before it was made.
    const std::int64_t from_ms = std::max<std::int64_t>(0, (sought_from_us_ - kClockSkewUs) / 1000);
    read_ended(EntryId{static_cast<std::uint64_t>(from_ms), 0}.text());
    return;
  }
  if (!ended_read_) return;
  std::vector<Entry*> some;
  for (auto& entry : tasks_) {
    // One that came to be uncertain meanwhile has its own recovery after this one.
    if (entry.second.stage != Stage::kUncertain || !sought_.contains(end_mark(entry.first))) continue;
    some.push_back(&entry);
    if (some.size() < kAskedAtOnce) continue;
    if (!ask_for_results(std::exchange(some, {}))) return;  // the rest with the next step
  }
  if (!some.empty()) (void)ask_for_results(std::move(some));
}

void Exporter::read_ended(const std::string& from) {
  const std::string key = keys_.ended(options_.queue);
  const Queued queued =
      redis_.command({"EVAL", kEndedScript, "1", key, from}, [this](const Reply& reply) { on_ended_page(reply); });
  if (queued == Queued::kYes)
    ++reading_back_;
  else
    read_failed_ = true;
}

void Exporter::on_ended_page(const Reply& reply) {
  --reading_back_;
  EndedPage next;
  if (!each_mark(reply, next, [this](EndMark mark) {
        if (sought_.contains(mark)) ended_.insert(mark);
      }))
    return refused_recovery();
  if (next.more) return read_ended(next.from);
  ended_read_ = true;
  recovery_step_done();
}

bool Exporter::ask_for_results(std::vector<Entry*> entries) {
  std::vector<std::string> keys;
  for (const Entry* entry : entries) keys.push_back(keys_.result(options_.queue, entry->first));
  const std::string count = fmt::to_string(keys.size());
  argv_.assign({"EVAL", kHaveResultScript, count});
  argv_.insert(argv_.end(), keys.begin(), keys.end());
  const Queued queued =
      redis_.command(std::span<const std::string_view>(argv_), [this, asked = std::move(entries)](const Reply& reply) {
        --reading_back_;
        on_have_results(asked, reply);
      });
  if (queued == Queued::kYes) ++reading_back_;
  return queued == Queued::kYes;
}

void Exporter::on_have_results(const std::vector<Entry*>& asked, const Reply& reply) {
  if (!reply.is_array() || reply.elements.size() != asked.size()) return refused_recovery();
  for (std::size_t i = 0; i < asked.size(); ++i) {
    Entry& entry = *asked[i];
    if (entry.second.stage != Stage::kUncertain) continue;
    --uncertain_;
    const bool has_result = reply.elements[i].integer != 0;
    if (!has_result && !ended_.contains(end_mark(entry.first))) {
      send_again(entry);
      continue;
    }
    ++stats_.recovered;
    if (has_result) {
      written(entry, {});
    } else {  // its end is all that there is to know
      (void)outbox_.hand_over(entry.second.parcel);
      tasks_.erase(entry.first);
    }
  }
}

// Redis has neither it nor its end.
void Exporter::send_again(Entry& entry) {
  Task& task = entry.second;
  const auto now_ms = static_cast<std::uint64_t>(clocks_.wall_now_us / 1000);
  if (task.was_there && task.entry.is_known() && now_ms > task.entry.ms + kResultKeptMs) {
    log::warn("the end of a task is not known any more", {{"queue", options_.queue}, {"task", entry.first}});
    TaskStatus status;
    status.state = "failed";
    status.error = R"({"type":"result-expired","message":"Redis kept its result no longer"})";
    if (!end_badly(task.parcel, status, clocks_.now_ns))  // no room to say why
      (void)outbox_.end(task.parcel, engine::OutcomeKind::kFailed, {}, clocks_.now_ns);
    tasks_.erase(entry.first);
    return;
  }
  ++(task.was_there ? stats_.lost : stats_.resent);
  task.stage = Stage::kToSend;
  task.was_there = false;
  task.entry = {};
  to_send_.push_back(entry.first);
}

// ---- what Redis had, and may have lost

// A fail-over to a replica that was behind, or a crash: then a stream goes on from an earlier entry.
void Exporter::look_back() {
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!last_id_[lane].is_known() && confirmed_[lane].empty()) continue;
    const std::string key = keys_.stream(options_.queue, lane);
    (void)redis_.command({"XINFO", "STREAM", key}, [this, lane](const Reply& reply) { on_stream_info(lane, reply); });
  }
}

void Exporter::on_stream_info(int lane, const Reply& reply) {
  EntryId top;
  if (reply.is_array()) {
    for (std::size_t i = 0; i + 1 < reply.elements.size(); i += 2)
      if (reply.elements[i].text == "last-generated-id") top = parse_entry_id(reply.elements[i + 1].text).value_or(top);
    if (!top.is_known()) return;
  } else if (!reply.is_error() || reply.text != "ERR no such key") {
    return;
  }
  last_id_[lane] = std::min(last_id_[lane], top);
  const auto taken_back = std::erase_if(confirmed_[lane], [&top](const EntryId& id) { return id > top; });
  if (taken_back == 0) return;
  stats_.let_go += taken_back;
  log::error("Redis has lost entries that it had confirmed; their tasks were let go here, and may be lost",
             {{"queue", options_.queue}, {"lane", lane}, {"tasks", taken_back}});
}

// Whether tasks whose end is awaited still are somewhere: in their stream, or ended.
void Exporter::look_after(const std::vector<std::string>& ids) {
  if (ids.empty()) return;
  std::vector<std::string> keys, entries;
  for (const std::string& id : ids) {
    const Task& task = tasks_.at(id);
    keys.push_back(keys_.stream(options_.queue, task.lane));
    keys.push_back(keys_.result(options_.queue, id));
    entries.push_back(task.entry.is_known() ? task.entry.text() : "");
  }
  const std::string count = fmt::to_string(keys.size());
  argv_.assign({"EVAL", kGoneScript, count});
  argv_.insert(argv_.end(), keys.begin(), keys.end());
  argv_.insert(argv_.end(), entries.begin(), entries.end());
  (void)redis_.command(std::span<const std::string_view>(argv_),
                       [this, ids](const Reply& reply) { on_gone(ids, reply); });
}

void Exporter::on_gone(const std::vector<std::string>& ids, const Reply& reply) {
  bool any = false;
  for (std::size_t i = 0; reply.is_array() && i < std::min(ids.size(), reply.elements.size()); ++i) {
    const auto entry = tasks_.find(ids[i]);
    if (reply.elements[i].integer != 1 || entry == tasks_.end() || entry->second.stage != Stage::kAwaited) continue;
    entry->second.stage = Stage::kUncertain;
    entry->second.was_there = any = true;
    ++uncertain_;
  }
  if (!any) return;
  std::erase_if(awaited_, [this](const std::string& id) {
    const auto entry = tasks_.find(id);
    return entry == tasks_.end() || entry->second.stage != Stage::kAwaited;
  });
}

}  // namespace stem::federation
