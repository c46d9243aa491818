#include "tools/stem/task/elsewhere.hpp"

#include <unistd.h>

#include <chrono>

#include "federation/revokes.hpp"
#include "federation/transcript.hpp"

namespace stem::cli {

std::string cluster_name(const shm::Segment& segment, engine::TaskId id) {
  return federation::wire_id(federation::Transcript(segment).host(), id);
}

Result<std::optional<federation::TaskStatus>> status_elsewhere(RedisHold& redis, const std::string& id) {
  const auto text = redis.client->ask({"GET", redis.keys.result(id)});
  if (!text.ok()) return text.error();
  if (text->kind != federation::Reply::Kind::kString) return std::optional<federation::TaskStatus>();
  federation::TaskStatus status;
  if (const auto read = decode_json(text->text, status); !read.ok())
    return read.error().within("the result of " + id + " in Redis");
  return std::optional(std::move(status));
}

bool is_over(const federation::TaskStatus& status) {
  return status.state == "succeeded" || status.state == "failed" || status.state == "cancelled" ||
         status.state == "dead";
}

Result<RevokedElsewhere> revoke_elsewhere(RedisHold& redis, const std::string& id, bool terminate) {
  const auto status = status_elsewhere(redis, id);
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
