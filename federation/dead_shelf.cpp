#include "federation/dead_shelf.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "engine/failure_record.hpp"
#include "federation/json_record.hpp"
#include "federation/json_text.hpp"
#include "federation/revokes.hpp"
#include "federation/signing.hpp"

namespace stem::federation {
namespace {

constexpr std::string_view kPageBytes = "16777216";
constexpr std::string_view kUnreadable = "unreadable";  // the name that gateways give to what was no task

// Letters from the oldest on, as many as fit into a reply, one at least. KEYS dead letters. ARGV how many to pass over,
// most bytes. Answers with how many have been passed over then, and the texts.
constexpr std::string_view kPageScript = R"lua(
local at, room, texts = tonumber(ARGV[1]), tonumber(ARGV[2]), {}
while #texts < 200 do
  local text = redis.call('LINDEX', KEYS[1], -1 - at)
  if not text or (#text > room and #texts > 0) then break end
  texts[#texts + 1] = text
  room = room - #text
  at = at + 1
end
return {at, texts})lua";

// A letter becomes a task again. What fails leaves it where it is. KEYS dead letters, stream or delayed set, result,
// revokes (in a cluster they are elsewhere, and missing). ARGV letter, task id, score (empty = now), then the entry's fields, or the member. 1 when it was there.
constexpr std::string_view kReplayScript = R"lua(
if not redis.call('LPOS', KEYS[1], ARGV[1]) then return 0 end
if ARGV[3] == '' then
  redis.call('XADD', KEYS[2], '*', unpack(ARGV, 4))
else
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[4])
end
redis.call('LREM', KEYS[1], -1, ARGV[1])
redis.call('DEL', KEYS[3])
if KEYS[4] then redis.call('HDEL', KEYS[4], ARGV[2]) end
return 1)lua";

std::string raw_id(std::string_view text) {
  return fmt::format("raw:{:016x}", engine::failure_fingerprint(0, text, ""));
}

// Ours: {"error": {"type", "message"}}; others write a text, or something else.
void read_error(ShelvedLetter& into) {
  const auto meta = json_members(into.letter->meta);
  if (!meta.ok()) return;
  for (const JsonMember& member : *meta) {
    if (member.name == "attempt")  // of a signed one, which says itself how it was signed
      into.attempts = std::max(into.attempts, parse_wire_number(member.value).value_or(0));
    if (member.name != "error") continue;
    if (member.is_string()) into.error_message = json_string_value(member.value);
    if (!member.is_object()) continue;
    const auto error = json_members(member.value);
    if (!error.ok()) continue;
    for (const JsonMember& part : *error) {
      if (part.name == "type" && part.is_string()) into.error_kind = json_string_value(part.value);
      if (part.name == "message" && part.is_string()) into.error_message = json_string_value(part.value);
    }
  }
}

}  // namespace

bool ShelvedLetter::can_replay() const { return letter.has_value() && letter->envelope.name != kUnreadable; }

ShelvedLetter read_letter(std::string_view queue, std::string text) {
  ShelvedLetter shelved;
  shelved.queue = queue;
  DeadLetter letter;
  if (const auto read = decode_json(text, letter); read.ok()) {
    shelved.task = letter.envelope.name;
    shelved.reason = letter.reason;
    shelved.attempts = letter.envelope.attempt;
    shelved.dead_at_us = letter.dead_at_us;
    shelved.letter = std::move(letter);
    read_error(shelved);
    shelved.id = shelved.can_replay() ? shelved.letter->envelope.id : raw_id(text);
  } else {
    shelved.why_not = read.error().message;
    shelved.error_message = read.error().message;
    shelved.id = raw_id(text);
  }
  shelved.fingerprint = engine::failure_fingerprint(0, shelved.task + '\n' + shelved.error_kind, shelved.error_message);
  shelved.text = std::move(text);
  return shelved;
}

Result<std::vector<std::string>> queues_with_dead(BlockingClient& client, const Keys& keys) {
  const auto found = client.keys_like(keys.any_dead(), "list");
  if (!found.ok()) return found.error();
  std::set<std::string> queues;
  for (const std::string& key : *found)
    if (const auto queue = keys.queue_of_dead(key); !queue.empty()) queues.emplace(queue);
  return std::vector<std::string>(queues.begin(), queues.end());
}

Result<std::vector<ShelvedLetter>> dead_letters_of(BlockingClient& client, const Keys& keys, const std::string& queue) {
  const std::string key = keys.dead(queue);
  std::vector<ShelvedLetter> letters;
  std::string at = "0";
  for (;;) {
    const auto page = client.ask({"EVAL", kPageScript, "1", key, at, kPageBytes});
    if (!page.ok()) return page.error().within(key);
    if (page->elements.size() != 2 || page->elements[1].elements.empty()) break;
    at = std::to_string(page->elements[0].integer);
    for (const OwnedReply& text : page->elements[1].elements) letters.push_back(read_letter(queue, text.text));
  }
  std::stable_sort(letters.begin(), letters.end(),
                   [](const ShelvedLetter& a, const ShelvedLetter& b) { return a.dead_at_us < b.dead_at_us; });
  return letters;
}

namespace {

// A revoke that was there while the task was dead, and no later one: somebody else may have replayed it by now. False
// when it is dead no more.
Result<bool> forget_revoke_of_dead(BlockingClient& client, const std::string& revokes, const std::string& id,
                                   const std::string& dead, const std::string& letter) {
  const auto revoke = client.ask({"HGET", revokes, id});
  if (!revoke.ok()) return revoke.error();
  const auto place = client.ask({"LPOS", dead, letter});
  if (!place.ok()) return place.error();
  if (place->kind != Reply::Kind::kInteger) return false;
  if (revoke->kind != Reply::Kind::kString) return true;
  const auto gone = client.ask({"EVAL", kThrowOutScript, "1", revokes, id, revoke->text});
  if (!gone.ok()) return gone.error();
  return true;
}

}  // namespace

Result<bool> replay_letter(BlockingClient& client, const Keys& keys, const ShelvedLetter& shelved,
                           std::int64_t not_before_us) {
  if (!shelved.can_replay()) return Error{Errc::kInvalidArgument, shelved.id + " is no task; it can only be purged"};
  Envelope envelope = shelved.letter->envelope;
  // What is signed stays as it is: its attempts stand beside it, and its time is the score.
  if (!is_signed(envelope.view())) {
    envelope.attempt = 0;
    envelope.not_before_us.reset();
    if (not_before_us != 0) envelope.not_before_us = not_before_us;
  }
  const std::string dead = keys.dead(shelved.queue), result = keys.result(shelved.queue, envelope.id),
                    revokes = keys.revokes();
  const int lane = static_cast<int>(std::clamp<std::int64_t>(envelope.priority, 0, kLanes - 1));
  const std::string to = not_before_us != 0 ? keys.delayed(shelved.queue) : keys.stream(shelved.queue, lane);
  const std::string score = not_before_us != 0 ? std::to_string((not_before_us + 999) / 1000) : std::string();
  std::vector<std::string_view> argv{"EVAL", kReplayScript, keys.cluster() ? "3" : "4", dead, to, result};
  if (keys.cluster()) {  // before it is a task again: who is killed in between has forgotten a revoke of what is dead
    const auto forgotten = forget_revoke_of_dead(client, revokes, envelope.id, dead, shelved.text);
    if (!forgotten.ok() || !*forgotten) return forgotten;
  } else {
    argv.push_back(revokes);
  }
  argv.insert(argv.end(), {shelved.text, envelope.id, score});
  const StreamFields fields(envelope.view());
  std::string member;
  if (not_before_us != 0) {
    append_json(member, envelope.view());
    argv.push_back(member);
  } else {
    fields.append_to(argv);
  }
  const auto moved = client.ask(std::move(argv));
  if (!moved.ok()) return moved.error();
  return moved->integer != 0;
}

Result<bool> purge_letter(BlockingClient& client, const Keys& keys, const ShelvedLetter& letter) {
  const std::string dead = keys.dead(letter.queue);
  const auto removed = client.ask({"LREM", dead, "-1", letter.text});
  if (!removed.ok()) return removed.error();
  return removed->integer != 0;
}

}  // namespace stem::federation
