#include "federation/host_control.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/log.hpp"
#include "engine/query.hpp"
#include "federation/entry_id.hpp"
#include "federation/json_record.hpp"
#include "federation/stream_entry.hpp"

namespace stem::federation {
namespace {

using nlohmann::ordered_json;
using worker::Command;

constexpr std::int64_t kReadEveryNs = 50'000'000;
constexpr std::string_view kPage = "50";
constexpr std::size_t kMostCalls = 32;
// A gateway that begins anew carries out what the one before may have read and not answered.
constexpr std::int64_t kLookBackMs = kMostTimeoutMs;

constexpr std::array<std::pair<Command, std::string_view>, 5> kCommands{{{Command::kPing, "ping"},
                                                                         {Command::kShutdown, "shutdown"},
                                                                         {Command::kPause, "pause"},
                                                                         {Command::kResume, "resume"},
                                                                         {Command::kResize, "resize"}}};

// An answer, in a list that goes when nobody fetches it. KEYS replies. ARGV answer, TTL in ms.
constexpr std::string_view kAnswerScript = R"lua(
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1)lua";

std::string text_of(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

bool take_names(const ordered_json& json, const char* name, std::vector<std::string>& into) {
  const auto list = json.find(name);
  if (list == json.end() || list->is_null()) return true;
  if (!list->is_array()) return false;
  for (const ordered_json& one : *list) {
    if (!one.is_string()) return false;
    into.push_back(one.get<std::string>());
  }
  return true;
}

bool take_number(const ordered_json& json, const char* name, std::int64_t least, std::int64_t most,
                 std::int64_t& into) {
  const auto found = json.find(name);
  if (found == json.end()) return true;
  if (!found->is_number_integer()) return false;
  into = found->get<std::int64_t>();
  return into >= least && into <= most;
}

// On this host: its own name stands for all that are here.
worker::WorkerSelection local_names(const worker::WorkerSelection& asked, const std::string& node) {
  worker::WorkerSelection here;
  here.queues = asked.queues;
  for (const std::string& name : asked.names) {
    if (name == node) return {{}, asked.queues};
    here.names.push_back(name.starts_with(node + ':') ? name.substr(node.size() + 1) : name);
  }
  return here;
}

}  // namespace

std::string_view to_string(Command command) noexcept {
  for (const auto& [known, name] : kCommands)
    if (known == command) return name;
  return "none";
}

std::string to_json(const HostRequest& request) {
  return text_of({{"requestId", request.id},
                  {"command", to_string(request.command)},
                  {"argument", request.argument},
                  {"workers", request.selection.names},
                  {"queues", request.selection.queues},
                  {"supervisorsOnly", request.supervisors_only},
                  {"timeoutMs", request.timeout_ms}});
}

Result<HostRequest> host_request_of_json(std::string_view text) {
  const auto wrong = [](const char* what) { return Error{Errc::kInvalidArgument, std::string("a request's ") + what}; };
  const ordered_json json = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return wrong("text is no JSON object");
  HostRequest request;
  const auto id = json.find("requestId");
  if (id == json.end() || !id->is_string()) return wrong("requestId is missing");
  request.id = id->get<std::string>();
  if (request.id.empty() || request.id.size() > 64) return wrong("requestId has 1 to 64 characters");
  const auto command = json.find("command");
  const std::string name = command != json.end() && command->is_string() ? command->get<std::string>() : "";
  const auto known =
      std::find_if(kCommands.begin(), kCommands.end(), [&](const auto& one) { return one.second == name; });
  if (known == kCommands.end()) return wrong("command is none that this gateway knows");
  request.command = known->first;
  std::int64_t argument = 0;
  if (!take_number(json, "argument", 0, 0xffffff, argument)) return wrong("argument is not a number from 0");
  request.argument = static_cast<std::uint32_t>(argument);
  if (!take_number(json, "timeoutMs", 1, kMostTimeoutMs, request.timeout_ms)) return wrong("timeoutMs is 1 to 60000");
  if (!take_names(json, "workers", request.selection.names)) return wrong("workers are no list of names");
  if (!take_names(json, "queues", request.selection.queues)) return wrong("queues are no list of names");
  const auto only = json.find("supervisorsOnly");
  request.supervisors_only = only != json.end() && only->is_boolean() && only->get<bool>();
  return request;
}

ordered_json json_of(const worker::WorkerRow& row, engine::Engine& engine, std::int64_t now_ns) {
  const engine::WorkerStats& s = row.stats;
  ordered_json object{{"worker", s.name},
                      {"node", row.node},
                      {"supervisor", row.supervisor},
                      {"pid", s.pid},
                      {"core", s.cpu},
                      {"state", worker::state_text(row)},
                      {"inflight", s.inflight},
                      {"started", s.started},
                      {"done", s.succeeded},
                      {"failed", s.failed},
                      {"rssBytes", s.rss_bytes},
                      {"heartbeat", s.heartbeat},
                      {"answered", row.answered},
                      {"keeper", s.keeper},
                      {"left", row.left},
                      {"refused", row.refused},
                      {"afterNs", nullptr},
                      {"task", nullptr}};
  if (row.answered) object["afterNs"] = row.answered_after_ns;
  if (s.current.handle != 0 && !row.supervisor) {
    const auto info = engine::Query(engine).task(s.current);
    object["task"] = {{"id", engine::to_string(s.current)},
                      {"name", info ? info->task : ""},
                      {"runningForNs", now_ns - s.current_since_ns}};
  }
  return object;
}

void HostControl::on_ready() {
  asking_ = false;
  redis_at_ns_ = 0;
}

void HostControl::step(const Clocks& clocks) {
  now_ns_ = clocks.now_ns;
  for (auto call = calls_.begin(); call != calls_.end();) {
    if (!call->roll->look(now_ns_) && now_ns_ < call->deadline_ns) {
      ++call;
      continue;
    }
    answer(*call);
    call = calls_.erase(call);
  }
  if (!redis_.is_ready() || asking_ || now_ns_ < read_at_ns_) return;
  read_at_ns_ = now_ns_ + kReadEveryNs;
  if (redis_at_ns_ != 0) return read();
  asking_ = redis_.command({"TIME"}, [this, sent_ns = now_ns_](const Reply& reply) { on_time(reply, sent_ns); }) ==
            Queued::kYes;
}

// Requests are as old as the clock of Redis says, which names them.
void HostControl::on_time(const Reply& reply, std::int64_t sent_ns) {
  asking_ = false;
  if (!reply.is_array() || reply.elements.size() != 2) return;
  const auto seconds = parse_wire_number(reply.elements[0].text);
  const auto micros = parse_wire_number(reply.elements[1].text);
  if (!seconds || !micros) return;
  redis_ms_ = *seconds * 1000 + *micros / 1000;
  redis_at_ns_ = sent_ns;
  if (last_.empty()) last_ = std::to_string(std::max<std::int64_t>(0, redis_ms_ - kLookBackMs)) + "-0";
}

void HostControl::read() {
  const std::string key = keys_.control_requests();
  asking_ = redis_.command({"XREAD", "COUNT", kPage, "STREAMS", key, last_},
                           [this](const Reply& reply) { on_requests(reply); }) == Queued::kYes;
}

void HostControl::on_requests(const Reply& reply) {
  asking_ = false;
  if (!reply.is_array() || reply.elements.size() != 1 || reply.elements[0].elements.size() != 2) return;
  for (const Reply& one : reply.elements[0].elements[1].elements) {
    std::string_view entry;
    std::vector<TextField> fields;
    if (!fields_of(one, entry, fields)) continue;
    last_ = entry;
    for (const TextField& field : fields)
      if (field.name == "request") begin(entry, field.text);
  }
  read_at_ns_ = 0;  // there may be more
}

void HostControl::begin(std::string_view entry, std::string_view text) {
  auto request = host_request_of_json(text);
  if (!request.ok()) {
    log::warn("a request to all hosts was passed over", {{"error", request.error().message}});
    return;
  }
  const auto id = parse_entry_id(entry);
  const std::int64_t age_ms = id ? redis_now_ms() - static_cast<std::int64_t>(id->ms) : 0;
  // Nobody waits for the answer any more, and does not know that it would be carried out.
  const std::int64_t left_ms = request->timeout_ms - std::max<std::int64_t>(age_ms, 0);
  if (left_ms <= 0 || calls_.size() >= kMostCalls) return;
  Call call;
  auto rows = worker::select_workers(engine_, local_names(request->selection, node_), call.unknown);
  if (request->supervisors_only) std::erase_if(rows, [](const worker::WorkerRow& row) { return !row.supervisor; });
  call.roll = std::make_unique<worker::RollCall>(engine_.segment(), std::move(rows), request->command,
                                                 request->argument, now_ns_);
  call.deadline_ns = now_ns_ + left_ms * 1'000'000 * 3 / 4;  // the answer has a way to go, too
  if (request->command != Command::kPing)
    log::info("a command from the cluster", {{"command", to_string(request->command)}, {"request", request->id}});
  call.request = *std::move(request);
  calls_.push_back(std::move(call));
}

void HostControl::answer(Call& call) {
  ordered_json workers = ordered_json::array();
  for (const worker::WorkerRow& row : call.roll->rows()) workers.push_back(json_of(row, engine_, now_ns_));
  const std::string text = text_of(
      {{"requestId", call.request.id}, {"host", node_}, {"workers", std::move(workers)}, {"unknown", call.unknown}});
  const std::string key = keys_.control_replies(call.request.id), kept = std::to_string(kReplyKeptMs);
  (void)redis_.command({"EVAL", kAnswerScript, "1", key, text, kept}, [](const Reply&) {});
}

}  // namespace stem::federation
