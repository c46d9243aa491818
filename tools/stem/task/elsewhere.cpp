#include "tools/stem/task/elsewhere.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "federation/revokes.hpp"
#include "federation/transcript.hpp"
#include "tools/stem/terminal.hpp"
#include "tools/stem/when.hpp"

namespace stem::cli {
namespace {

constexpr std::int64_t kLookEveryNs = 50'000'000;

}  // namespace

std::string cluster_name(const shm::Segment& segment, engine::TaskId id) {
  return federation::wire_id(federation::Transcript(segment).host(), id);
}

bool is_over(const federation::TaskStatus& status) {
  return status.state == "succeeded" || status.state == "failed" || status.state == "cancelled" ||
         status.state == "dead" || status.state == federation::kEndedState;
}

Result<std::optional<federation::TaskStatus>> wait_elsewhere(federation::TaskSearch& search, const std::string& id,
                                                             std::int64_t deadline_ns) {
  for (;;) {
    auto status = search.find(id);
    if (!status.ok() || (*status && is_over(**status)) || base::monotonic_ns() >= deadline_ns) return status;
    const timespec pause{0, kLookEveryNs};
    ::nanosleep(&pause, nullptr);
  }
}

nlohmann::ordered_json json_elsewhere(const federation::TaskStatus& status) {
  const auto parsed = [](const std::string& text) {
    auto json = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
    return json.is_discarded() ? nlohmann::ordered_json(nullptr) : json;
  };
  nlohmann::ordered_json object{
      {"id", status.id},
      {"state", status.state},
      {"attempts", status.attempt},
      {"enqueuedAt", nullptr},
      {"updatedAt", nullptr},
      {"result",
       status.payload_bytes ? nlohmann::ordered_json(printable(*status.payload_bytes)) : parsed(status.payload)},
      {"error", parsed(status.error)},
      {"elsewhere", true}};
  if (status.state == federation::kEndedState) object["attempts"] = nullptr;
  if (status.created_at_us != 0) object["enqueuedAt"] = write_time(status.created_at_us * 1000);
  if (status.updated_at_us != 0) object["updatedAt"] = write_time(status.updated_at_us * 1000);
  return object;
}

void print_elsewhere(const federation::TaskStatus& status) {
  const auto line = [](std::string_view name, std::string_view text) {
    if (!text.empty()) fmt::print("{:<12} {}\n", name, printable(text));
  };
  line("id", status.id);
  line("state", status.state);
  if (status.state == federation::kEndedState)
    return line("result", "nobody asked for it: only that it has ended is known");
  line("attempts", std::to_string(status.attempt));
  if (status.updated_at_us != 0) line("updated", write_time(status.updated_at_us * 1000));
  line("error", status.error == "null" ? "" : status.error);
  line("result", status.payload_bytes ? *status.payload_bytes : status.payload == "null" ? "" : status.payload);
}

Result<RevokedElsewhere> revoke_elsewhere(RedisHold& redis, federation::TaskSearch& search, const std::string& id,
                                          bool terminate) {
  const auto status = search.find(id);
  if (!status.ok()) return status.error();
  if (*status && is_over(**status)) return RevokedElsewhere::kOver;
  char host[256] = {};
  (void)::gethostname(host, sizeof host - 1);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  federation::Revoke revoke;
  revoke.name_space = redis.keys.name_space();
  revoke.task_id = id;
  revoke.version = revoke.issued_us = std::chrono::duration_cast<std::chrono::microseconds>(now).count();
  revoke.expires_us = revoke.issued_us + federation::kRevokeKeptUs;
  revoke.terminate = terminate;
  revoke.requested_by = std::string("stem@") + host;
  const std::string version = std::to_string(revoke.version), text = to_json(revoke);
  const auto stored = redis.client->ask(
      {"EVAL", federation::kRevokeScript, "1", redis.keys.revokes(), id, version, text, terminate ? "1" : "0"});
  if (!stored.ok()) return stored.error();
  return RevokedElsewhere::kSent;
}

}  // namespace stem::cli
