// The importer's ends: how tasks from elsewhere ended here is told to Redis, and only then are they forgotten here.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.hpp"
#include "engine/control.hpp"
#include "federation/ended_log.hpp"
#include "federation/importer.hpp"
#include "federation/json_text.hpp"
#include "federation/payload_text.hpp"
#include "federation/records.hpp"
#include "federation/scripts.hpp"
#include "federation/stream_entry.hpp"

namespace stem::federation {
namespace {

constexpr std::size_t kEndsAtOnce = 200;  // what a script costs Redis beside its tasks is a tenth of it by 64
constexpr std::size_t kEndsBytes = 1 << 20;

}  // namespace

// How a task ended, in the words of the wire.
struct Importer::End {
  Entry* entry = nullptr;
  std::string result;        // status JSON
  std::string letter_error;  // of a dead letter its meta JSON; empty when it is none
  std::string reason;
  std::int64_t attempt = 0;
};

bool Importer::read_end(Entry& entry, End& end) {
  const Task& task = entry.second;
  engine::FailureRecord failure{};
  const engine::ResultState state = engine::read_result(engine_, task.id, bytes_, failure);
  if (state == engine::ResultState::kPending) return false;
  end.entry = &entry;
  TaskStatus status;
  status.id = entry.first;
  status.attempt = std::max<std::int64_t>(task.attempt, failure.attempts);  // those of other hosts are counted in
  end.attempt = status.attempt;
  status.created_at_us = task.created_us;
  status.updated_at_us = clocks_.wall_now_us;
  if (state == engine::ResultState::kSucceeded) {
    status.state = "succeeded";
    const std::string_view bytes(reinterpret_cast<const char*>(bytes_.data()), task.wanted ? bytes_.size() : 0);
    if (bytes.empty()) {  // nothing, or nothing that anybody asks for
    } else if (auto json = json_of_message_pack(bytes)) {
      status.payload = std::move(*json);
    } else if (is_json(bytes)) {
      status.payload = bytes;
      status.meta = fmt::format("{{\"{}\":true}}", kJsonTextMember);
    } else {
      status.payload_bytes = bytes;
    }
  } else {
    const bool dead = state == engine::ResultState::kDead || state == engine::ResultState::kFailed;
    status.state = dead ? "failed" : "cancelled";
    std::string error = "{\"type\":";
    append_json_string(error, failure.kind().empty() ? std::string_view("gone") : failure.kind());
    error += ",\"message\":";
    append_json_string(error, failure.message());
    error += '}';
    status.error = error;
    if (state == engine::ResultState::kDead) {
      end.reason = engine::to_string(static_cast<engine::DeadReason>(failure.reason));
      end.letter_error = fmt::format("{{\"error\":{},\"attempt\":{}}}", error, end.attempt);
    }
  }
  if (has_result(task) || !end.reason.empty() || !on_time(task) || !task.unique.empty())
    append_json(end.result, status);
  return true;
}

// As many as Redis takes now. What it does not take is not looked at again before there is room.
void Importer::tell_ends() {
  std::vector<End> ends[kLanes];
  std::size_t bytes[kLanes] = {};
  std::size_t run_from[kLanes] = {};  // where the last of them that came next to each other begin
  for (Entry* const one : arrived_) {
    Entry& entry = *one;
    Task& task = entry.second;
    if (task.ending || !task.confirmed) continue;
    End end;
    if (!read_end(entry, end)) continue;
    task.ending = true;
    // A unique key becomes free in the step that ends its task: between two steps the host may die, and then the key
    // would be free while another takes the task over.
    if (!on_time(task) || !end.reason.empty() || !task.unique.empty()) {
      settle_checked(end);
      if (!task.ending) break;
      continue;
    }
    const int lane = task.lane;
    std::vector<End>& mine = ends[lane];
    const bool goes_on = !mine.empty() && task.number == mine.back().entry->second.number + 1;
    if (!goes_on) {
      if (!behind_run(mine).empty()) {
        if (!settle(lane, std::exchange(mine, {}))) {
          task.ending = false;
          break;
        }
        bytes[lane] = 0;
      }
      run_from[lane] = mine.size();
    }
    bytes[lane] += end.result.size();
    mine.push_back(std::move(end));
    // Stragglers before it do not keep a run from leaving as one.
    if (const std::size_t from = run_from[lane]; from > 0 && mine.size() - from >= options_.least_run) {
      std::vector<End> run(std::make_move_iterator(mine.begin() + static_cast<std::ptrdiff_t>(from)),
                           std::make_move_iterator(mine.end()));
      mine.resize(from);
      const bool told = settle(lane, std::exchange(mine, std::move(run)));
      run_from[lane] = 0;
      if (!told) break;
    }
    if (mine.size() < kEndsAtOnce && bytes[lane] < kEndsBytes) continue;
    if (!settle(lane, std::exchange(mine, {}))) break;
    bytes[lane] = run_from[lane] = 0;
  }
  for (int lane = 0; lane < kLanes; ++lane)
    if (!ends[lane].empty()) (void)settle(lane, ends[lane]);
}

// The id behind the last, when no other entry can be between the first and the last; otherwise empty.
std::string Importer::behind_run(const std::vector<End>& ends) const {
  if (ends.size() < options_.least_run) return {};
  std::uint64_t number = ends.front().entry->second.number;
  for (const End& end : ends)
    if (number == 0 || end.entry->second.number != number++) return {};
  const auto last = parse_entry_id(ends.back().entry->second.entry);
  return last && last->next() != *last ? last->next().text() : std::string();
}

// Several of a lane at once. False: there is no room for them now.
bool Importer::settle(int lane, const std::vector<End>& ends) {
  std::vector<std::string> keys;
  std::vector<Entry*> entries;
  std::string marks;
  for (const End& end : ends) {
    entries.push_back(end.entry);
    if (has_result(end.entry->second))
      keys.push_back(keys_.result(options_.queue, end.entry->first));
    else
      append_mark(marks, end.entry->first);
  }
  const std::string key_count = number(static_cast<std::int64_t>(keys.size() + 2));
  const std::string kept = number(kEndedKeptMs), result_ttl = number(options_.result_ttl_ms),
                    marker_ttl = number(options_.marker_ttl_ms);
  const std::string behind = behind_run(ends), entry_count = number(static_cast<std::int64_t>(ends.size()));
  argv_.assign({"EVAL", kSettleManyScript, key_count, streams_[lane], ended_key_});
  argv_.insert(argv_.end(), keys.begin(), keys.end());
  argv_.insert(argv_.end(), {group_, kept, marks, behind, entry_count});
  for (const End& end : ends) argv_.push_back(end.entry->second.entry);
  for (const End& end : ends)
    if (has_result(end.entry->second))
      argv_.insert(argv_.end(), {end.result, end.entry->second.wanted ? result_ttl : marker_ttl});
  const Queued queued = tell(std::span<const std::string_view>(argv_),
                             [this, entries](const Reply& reply) { on_settled(entries, reply); });
  for (Entry* entry : entries) entry->second.ending = queued == Queued::kYes;
  return queued == Queued::kYes;
}

void Importer::on_settled(const std::vector<Entry*>& entries, const Reply& reply) {
  constexpr std::size_t kAhead = 8;
  for (std::size_t i = 0; i < entries.size(); ++i) {  // what is read of the next ones comes meanwhile
    if (i + 2 * kAhead < entries.size()) outbox_.fetch(entries[i + 2 * kAhead]->second.id.slot());
    if (i + kAhead < entries.size()) outbox_.fetch_block(entries[i + kAhead]->second.id.slot());
    Entry* const entry = entries[i];
    entry->second.ending = false;
    if (!reply.is_integer()) {  // once more
      refused_end(reply);
      continue;
    }
    ++stats_.settled;
    finish(*entry);
  }
}

// A dead letter, a task with a unique key, or a lease that may have been lost: Redis decides whether it still is ours.
void Importer::settle_checked(const End& end) {
  Entry& entry = *end.entry;
  std::string letter;
  if (!end.reason.empty()) {
    const std::string from = streams_[entry.second.lane];
    // The envelope as it is in the stream: it is read and written back in one go by the next command.
    const Queued asked =
        tell({"XRANGE", from, entry.second.entry, entry.second.entry}, [this, end, at = &entry](const Reply& reply) {
          at->second.ending = false;
          if (!reply.is_array()) return refused_end(reply);
          std::string_view id;
          std::vector<TextField> fields;
          Envelope envelope;
          if (reply.elements.empty() || !fields_of(reply.elements[0], id, fields) || !decode_fields(fields, envelope)) {
            fence(*at);  // it is gone from the stream: somebody else ended it
            return;
          }
          // A signed envelope stays what was signed, so that it can be run again: its attempts stand in `meta`.
          if (!is_signed(envelope.view())) envelope.attempt = std::max(envelope.attempt, end.attempt);
          std::string made;
          append_dead_letter_json(made, envelope.view(), end.reason, end.letter_error, clocks_.wall_now_us);
          at->second.ending = true;
          const Queued told = settle_one(at->second.lane, at->second.entry, at->first, at->second.unique, end.result,
                                         options_.result_ttl_ms, made, [this, at](const Reply& answer) {
                                           at->second.ending = false;
                                           if (!answer.is_integer()) return refused_end(answer);
                                           if (answer.integer == 0) return fence(*at);
                                           ++stats_.settled;
                                           ++stats_.dead;
                                           finish(*at);
                                         });
          if (told != Queued::kYes) at->second.ending = false;
        });
    if (asked != Queued::kYes) entry.second.ending = false;
    return;
  }
  const Queued told = settle_one(entry.second.lane, entry.second.entry, entry.first, entry.second.unique, end.result,
                                 entry.second.wanted ? options_.result_ttl_ms : options_.marker_ttl_ms, "",
                                 [this, at = &entry](const Reply& reply) {
                                   at->second.ending = false;
                                   if (!reply.is_integer()) return refused_end(reply);
                                   if (reply.integer == 0) return fence(*at);
                                   ++stats_.settled;
                                   finish(*at);
                                 });
  if (told != Queued::kYes) entry.second.ending = false;
}

// One step in Redis: 1 when it was ours, 0 when not.
Queued Importer::settle_one(int lane, std::string_view entry, const std::string& id, const std::string& unique,
                            std::string_view result, std::int64_t ttl_ms, std::string_view letter,
                            ReplyHandler handler) {
  const std::string result_key = keys_.result(options_.queue, id), ttl = number(ttl_ms);
  const std::string unique_key = unique.empty() ? std::string() : keys_.unique(options_.queue, unique);
  argv_.assign({"EVAL", kSettleScript, unique.empty() ? "3" : "4", streams_[lane], dead_key_, result_key});
  if (!unique.empty()) argv_.push_back(unique_key);
  argv_.insert(argv_.end(), {group_, options_.consumer, entry, result, ttl, id, letter});
  return tell(std::span<const std::string_view>(argv_), std::move(handler));
}

// Told again, after a while when it was the server that refused.
void Importer::refused_end(const Reply& reply) {
  if (reply.error == RedisError::kLost || reply.error == RedisError::kNotSent || reply.error == RedisError::kMoved)
    return;
  if (reply.error == RedisError::kReadOnly) return redis_.drop("it became a replica");
  if (reply.error == RedisError::kNoGroup) {  // somebody flushed the database; a host without room does not read of it
    if (groups_made_) make_groups();
    return;
  }
  if (clocks_.now_ns >= tell_at_ns_)
    log::warn("Redis refuses to hear how tasks ended", {{"queue", options_.queue}, {"error", reply.text}});
  tell_at_ns_ = clocks_.now_ns + kRefusedPauseNs / 5;
}

void Importer::finish(Entry& entry) {
  if (!pending_read_) told_.insert(place(entry.second.lane, entry.second.entry));
  if (!outbox_.forget(entry.second.id)) orphans_.push_back(entry.second.id);
  if (entry.second.revoked) forget_revokes(entry.first, entry.second.item);
  erase(entry);
}

// Another host has it, or it is over there: what we did with it counts for nothing any more.
void Importer::fence(Entry& entry) {
  ++stats_.fenced;
  if (!pending_read_) told_.insert(place(entry.second.lane, entry.second.entry));
  const engine::TaskId id = entry.second.id;
  erase(entry);
  if (outbox_.forget(id)) return;
  (void)engine::Control(engine_).revoke(id, /*terminate=*/true, clocks_.now_ns);
  orphans_.push_back(id);
}

// A worker that dies with one gives it back to this host: then it is revoked before it runs again.
void Importer::forget_orphans() {
  std::erase_if(orphans_, [this](engine::TaskId id) {
    if (outbox_.forget(id)) return true;
    (void)engine::Control(engine_).revoke(id, /*terminate=*/false, clocks_.now_ns);
    return false;
  });
}

}  // namespace stem::federation
