#include "federation/revokes.hpp"

#include <nlohmann/json.hpp>

#include "federation/iso_time.hpp"

namespace stem::federation {
namespace {

using nlohmann::ordered_json;

constexpr std::int64_t kLookEveryNs = 100'000'000;
constexpr std::int64_t kSweepEveryNs = 60'000'000'000;
constexpr std::string_view kSweepPage = "100";
constexpr std::int64_t kFreshUs = 600'000'000;  // what is younger is left alone, whatever the clocks say
// Not of a task: Stem keeps paused queues in the same hash.
constexpr std::string_view kOwnWords = "__stem.";

std::string text_in(const ordered_json& json, const char* name) {
  const auto found = json.find(name);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::int64_t time_in(const ordered_json& json, const char* name) {
  const auto time = parse_iso_time_us(text_in(json, name));
  return time.ok() ? *time : 0;
}

}  // namespace

const std::string_view kThrowOutScript = R"lua(
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1]))lua";

const std::string_view kRevokeScript = R"lua(
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old then
  local good, other = pcall(cjson.decode, old)
  if good and type(other) == 'table' then
    if (tonumber(other.version) or 0) > tonumber(ARGV[2]) then return 0 end
    if other.terminate == true and ARGV[4] ~= '1' then return 0 end
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1)lua";

std::string to_json(const Revoke& revoke) {
  ordered_json json{{"namespace", revoke.name_space}, {"taskId", revoke.task_id},
                    {"version", revoke.version},      {"issuedAt", iso_time(revoke.issued_us)},
                    {"terminate", revoke.terminate},  {"reason", nullptr},
                    {"requestedBy", nullptr},         {"expiresAt", nullptr}};
  if (!revoke.reason.empty()) json["reason"] = revoke.reason;
  if (!revoke.requested_by.empty()) json["requestedBy"] = revoke.requested_by;
  if (revoke.expires_us != 0) json["expiresAt"] = iso_time(revoke.expires_us);
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

Result<Revoke> revoke_of_json(std::string_view text) {
  const ordered_json json = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Error{Errc::kInvalidArgument, "a revoke is a JSON object"};
  Revoke revoke;
  revoke.name_space = text_in(json, "namespace");
  revoke.task_id = text_in(json, "taskId");
  if (const auto version = json.find("version"); version != json.end() && version->is_number_integer())
    revoke.version = version->get<std::int64_t>();
  if (const auto terminate = json.find("terminate"); terminate != json.end() && terminate->is_boolean())
    revoke.terminate = terminate->get<bool>();
  revoke.issued_us = time_in(json, "issuedAt");
  revoke.expires_us = time_in(json, "expiresAt");
  revoke.reason = text_in(json, "reason");
  revoke.requested_by = text_in(json, "requestedBy");
  return revoke;
}

void RevokeDesk::step(const Clocks& clocks) {
  if (!redis_.is_ready() || clocks.now_ns < look_at_ns_) return;
  look_at_ns_ = clocks.now_ns + kLookEveryNs;
  wall_now_us_ = clocks.wall_now_us;
  (void)redis_.command({"HLEN", keys_.revokes()}, [this](const Reply& reply) { count(reply); });
  if (!some_ || clocks.now_ns < sweep_at_ns_) return;
  sweep_at_ns_ = clocks.now_ns + kSweepEveryNs;
  sweep("0");
}

void RevokeDesk::count(const Reply& reply) {
  if (reply.is_integer()) some_ = reply.integer > 0;
}

bool RevokeDesk::publish(const Revoke& revoke, std::function<void(bool)> handler) {
  const std::string version = std::to_string(revoke.version), text = to_json(revoke);
  return redis_.command(
             {"EVAL", kRevokeScript, "1", keys_.revokes(), revoke.task_id, version, text, revoke.terminate ? "1" : "0"},
             [handler = std::move(handler)](const Reply& reply) { handler(reply.is_integer()); }) == Queued::kYes;
}

bool RevokeDesk::ask(const std::vector<std::string>& ids, std::function<void(const Answers&)> handler) {
  const std::string key = keys_.revokes();
  std::vector<std::string_view> argv{"HMGET", key};
  argv.insert(argv.end(), ids.begin(), ids.end());
  return redis_.command(std::span<const std::string_view>(argv),
                        [count = ids.size(), handler = std::move(handler)](const Reply& reply) {
                          Answers answers;
                          if (reply.is_array() && reply.elements.size() == count) {
                            for (const Reply& one : reply.elements) {
                              auto& answer = answers.emplace_back();
                              if (!one.is_text()) continue;
                              // Somebody wrote that it is revoked, if not how: it shall not start.
                              auto read = revoke_of_json(one.text);
                              answer = read.ok() ? *std::move(read) : Revoke{};
                            }
                          }
                          handler(answers);
                        }) == Queued::kYes;
}

void RevokeDesk::forget(const std::string& task_id) {
  (void)redis_.command({"HDEL", keys_.revokes(), task_id}, [](const Reply&) {});
}

// ---- what is of no use any more

void RevokeDesk::sweep(std::string cursor) {
  (void)redis_.command({"HSCAN", keys_.revokes(), cursor, "COUNT", kSweepPage},
                       [this](const Reply& reply) { on_page(reply); });
}

void RevokeDesk::on_page(const Reply& reply) {
  if (!reply.is_array() || reply.elements.size() != 2) return;
  const auto& texts = reply.elements[1].elements;
  for (std::size_t i = 0; i + 1 < texts.size(); i += 2) {
    const std::string id(texts[i].text), text(texts[i + 1].text);
    if (id.starts_with(kOwnWords)) continue;
    const auto revoke = revoke_of_json(text);
    const std::int64_t issued_us = revoke.ok() ? revoke->issued_us : 0;
    const std::int64_t end_us = revoke.ok() && revoke->expires_us != 0 ? revoke->expires_us : issued_us + kRevokeKeptUs;
    if (wall_now_us_ >= end_us + kFreshUs) {
      throw_out(id, text);
    } else if (wall_now_us_ >= issued_us + kFreshUs && !keys_.cluster()) {
      // Over: its result is there. (In a cluster its queue would have to be known.)
      (void)redis_.command({"EXISTS", keys_.result("", id)}, [this, id, text](const Reply& there) {
        if (there.is_integer() && there.integer != 0) throw_out(id, text);
      });
    }
  }
  if (reply.elements[0].text != "0") sweep(std::string(reply.elements[0].text));
}

void RevokeDesk::throw_out(const std::string& task_id, const std::string& text) {
  (void)redis_.command({"EVAL", kThrowOutScript, "1", keys_.revokes(), task_id, text}, [](const Reply&) {});
}

}  // namespace stem::federation
