#include "federation/shared_schedules.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/log.hpp"
#include "federation/beat_scripts.hpp"
#include "federation/json_record.hpp"

namespace stem::federation {
namespace {

using beat::Change;
using beat::StoredEntry;
using nlohmann::json;

constexpr std::string_view kHostsOwn[] = {"unique", "uniqueForMs", "uniqueKey", "affinityKey"};
constexpr std::string_view kTickKeptMs = "604800000";    // nobody is stopped between two steps of a tick for a week
constexpr std::int64_t kNoTime = 9'000'000'000'000'000;  // versions and tokens are times in us, and below it
constexpr int kAttempts = 8;                             // of a change that meets others

Error refusal(std::string message) { return {Errc::kInvalidArgument, std::move(message)}; }

using Fields = std::vector<std::pair<std::string_view, std::string_view>>;

std::string_view field(const OwnedReply& hash, std::string_view name) {
  for (std::size_t i = 0; i + 1 < hash.elements.size(); i += 2)
    if (hash.elements[i].text == name) return hash.elements[i + 1].text;
  return {};
}

std::int64_t number_of(const OwnedReply& hash, std::string_view name) {
  return parse_wire_number(field(hash, name)).value_or(0);
}

// Anything may stand there.
Result<StoredEntry> decode(const OwnedReply& hash) {
  const std::string_view text = field(hash, "definition");
  const auto version = parse_wire_number(field(hash, "version"));
  const auto since = parse_wire_number(field(hash, "since"));
  if (!version || *version <= 0 || *version >= kNoTime || !since)
    return refusal("it has no version, or does not say since when it is there");
  if (text.size() > beat::kLargestEntry || beat::json_depth(text) > beat::kDeepestJson)
    return refusal("its definition is too large");
  const json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  auto entry = beat::Entry::parse(document);
  if (!entry.ok()) return entry.error();
  StoredEntry stored;
  stored.word = shm::DefinitionWord(static_cast<std::uint64_t>(*version));
  stored.entry = std::move(*entry);
  stored.created_ns = number_of(hash, "created");
  stored.since_ns = *since;
  stored.figures.fired_ns = number_of(hash, "fired");
  stored.figures.fired_at_ns = number_of(hash, "firedAt");
  stored.figures.drift_ns = number_of(hash, "drift");
  stored.figures.fired = static_cast<std::uint64_t>(number_of(hash, "count"));
  stored.figures.failed = static_cast<std::uint64_t>(number_of(hash, "failed"));
  stored.figures.skipped = static_cast<std::uint64_t>(number_of(hash, "skipped"));
  return stored;
}

}  // namespace

Result<void> check_shared(const beat::Entry& entry) {
  if (entry.id == "index" || entry.id.ends_with(":lock") || entry.id.ends_with(":history") ||
      entry.id.ends_with(":sending"))
    return refusal(fmt::format("\"id\": {} is the name of something else in Redis", entry.id));
  for (const std::string_view option : kHostsOwn)
    if (entry.options.contains(option))
      return refusal(fmt::format("\"{}\" holds within one host; a schedule in Redis fires for all", option));
  return {};
}

std::string next_score(const StoredEntry& stored, std::int64_t after_ns) {
  StoredEntry next = stored;
  next.figures.fired_ns = std::max(stored.figures.fired_ns, after_ns);
  const auto planned = next.next_planned_ns(after_ns);
  return planned ? fmt::to_string((*planned + stored.entry.jitter_of(*planned)) / 1'000'000) : "+inf";
}

Result<std::int64_t> SharedSchedules::now_ns() {
  const auto time = redis_.ask({"TIME"});
  if (!time.ok()) return time.error();
  const auto seconds = time->elements.size() == 2 ? parse_wire_number(time->elements[0].text) : std::nullopt;
  const auto micros = time->elements.size() == 2 ? parse_wire_number(time->elements[1].text) : std::nullopt;
  if (!seconds || !micros) return Error{Errc::kRefused, "the server does not tell the time"};
  return *seconds * 1'000'000'000 + *micros * 1000;
}

Result<std::vector<SharedSchedules::Row>> SharedSchedules::look() {
  const std::string index = keys_.schedule_index(), prefix = keys_.schedule("");
  const auto answer = redis_.ask({"EVAL", kLookScript, "1", index, prefix});
  if (!answer.ok()) return answer.error();
  std::vector<Row> rows;
  const auto& parts = answer->elements;
  for (std::size_t i = 0; i + 3 < parts.size(); i += 4) {
    const auto version = parse_wire_number(parts[i + 1].text), fired = parse_wire_number(parts[i + 2].text);
    if (version && *version > 0 && fired)
      rows.push_back({parts[i].text, static_cast<std::uint64_t>(*version), *fired, !parts[i + 3].text.empty()});
  }
  return rows;
}

Result<std::optional<StoredEntry>> SharedSchedules::find(std::string_view id, std::string* why) {
  const std::string key = keys_.schedule(id);
  const auto hash = redis_.ask({"HGETALL", key});
  if (!hash.ok()) return hash.error();
  std::optional<StoredEntry> found;
  if (hash->elements.empty()) return found;
  auto stored = decode(*hash);
  if (!stored.ok() && why != nullptr) *why = stored.error().message;
  if (stored.ok() && stored->entry.id == id) found = std::move(*stored);
  return found;
}

Result<std::vector<StoredEntry>> SharedSchedules::list() {
  const auto rows = look();
  if (!rows.ok()) return rows.error();
  std::vector<StoredEntry> all;
  for (const Row& row : *rows) {
    auto stored = find(row.id);
    if (!stored.ok()) return stored.error();
    if (*stored) all.push_back(std::move(**stored));
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.entry.id < b.entry.id; });
  return all;
}

Result<Change> SharedSchedules::put(const beat::Entry& entry) {
  if (auto good = check_shared(entry); !good.ok()) return good.error();
  const std::string definition = entry.to_json().dump(-1, ' ', false, json::error_handler_t::replace);
  if (definition.size() > beat::kLargestEntry)
    return Error{Errc::kTooLarge, fmt::format("the entry \"{}\" has {} bytes; at most {}", entry.id, definition.size(),
                                              beat::kLargestEntry)};
  const std::string key = keys_.schedule(entry.id), index = keys_.schedule_index();
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const auto now = now_ns();
    if (!now.ok()) return now.error();
    const auto hash = redis_.ask({"HGETALL", key});
    if (!hash.ok()) return hash.error();
    const auto old = decode(*hash);
    if (old.ok() && old->entry.to_json() == entry.to_json()) return Change::kNone;
    const bool goes_on = old.ok() && old->entry.enabled && old->entry.spec_written == entry.spec_written &&
                         old->entry.timezone == entry.timezone;
    StoredEntry made;
    made.entry = entry;
    made.created_ns = old.ok() ? old->created_ns : *now;
    made.since_ns = goes_on ? old->since_ns : *now;
    made.figures.fired_ns = old.ok() ? old->figures.fired_ns : 0;
    const std::string created = fmt::to_string(made.created_ns), since = fmt::to_string(made.since_ns);
    const std::string score = next_score(made, std::max(*now, made.figures.fired_ns));
    const auto answer = redis_.ask(
        {"EVAL", kPutScript, "2", key, index, entry.id, field(*hash, "version"), definition, created, since, score});
    if (!answer.ok()) return answer.error();
    if (!answer->text.empty()) return hash->elements.empty() ? Change::kCreated : Change::kChanged;
  }
  return Error{Errc::kRefused, fmt::format("the entry \"{}\" is being changed by others all the time", entry.id)};
}

Result<Change> SharedSchedules::remove(std::string_view id) {
  const std::string key = keys_.schedule(id), index = keys_.schedule_index(), history = keys_.schedule_history(id),
                    sending = keys_.schedule_sending(id);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    std::string token;
    if (const auto sent = send_tick(id, &token); !sent.ok()) {
      // It will never come there, or is no tick: that must not keep the schedule.
      if (sent.error().message.find("WRONGTYPE") == std::string::npos) return sent.error();
      log::warn("a tick that its queue does not take goes with its schedule",
                {{"schedule", id}, {"error", sent.error().message}});
    }
    const auto answer = redis_.ask({"EVAL", kRemoveScript, "4", key, index, history, sending, id, token});
    if (!answer.ok()) return answer.error();
    if (answer->integer >= 0) return answer->integer != 0 ? Change::kRemoved : Change::kNone;
  }
  return Error{Errc::kRefused, "one tick after the other is on its way; disable the schedule first"};
}

Result<void> SharedSchedules::send_tick(std::string_view id, std::string* token) {
  if (!keys_.cluster()) return {};
  const std::string key = keys_.schedule(id), sending = keys_.schedule_sending(id);
  const auto written = redis_.ask({"LRANGE", sending, "0", "-1"});
  if (!written.ok()) return written.error();
  const auto& parts = written->elements;  // token, stream, marker, fields
  if (parts.empty()) return {};
  if (token != nullptr) *token = parts[0].text;
  const std::int64_t given = parse_wire_number(parts[0].text).value_or(-1);
  if (given < 0 || given >= kNoTime) {  // no server's: nothing that could be sent by it
    log::warn("a tick on its way makes no sense and is dropped", {{"schedule", std::string(id)}});
  } else if (parts.size() >= 5) {
    std::vector<std::string_view> argv{"EVAL",        kSendTickScript, "2",        parts[1].text,
                                       parts[2].text, parts[0].text,   kTickKeptMs};
    for (std::size_t i = 3; i < parts.size(); ++i) argv.emplace_back(parts[i].text);
    if (const auto sent = redis_.ask(argv); !sent.ok()) return sent.error().within(parts[1].text);
  }
  const auto crossed_out = redis_.ask({"EVAL", kSentTickScript, "2", key, sending, parts[0].text});
  return crossed_out.ok() ? Result<void>() : crossed_out.error();
}

}  // namespace stem::federation
