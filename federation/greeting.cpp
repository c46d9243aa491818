#include "federation/greeting.hpp"

#include <fmt/format.h>

#include <utility>

#include "base/log.hpp"
#include "federation/info_text.hpp"

namespace stem::federation {
Greeting::Greeting(const RedisOptions& options, std::optional<SessionIdentity> previous, Queue queue, Done done)
    : options_(options), previous_(std::move(previous)), queue_(std::move(queue)), done_(std::move(done)) {}

void Greeting::start() {
  const RedisUrl& url = options_.url;
  if (!url.password.empty()) {
    if (url.user.empty()) {
      say({.argv = {"AUTH", url.password}});
    } else {
      say({.argv = {"AUTH", url.user, url.password}});
    }
  }
  if (!options_.client_name.empty()) {
    say({.argv = {"CLIENT", "SETNAME", options_.client_name}, .dispensable = true});
  }
  if (url.database != 0) say({.argv = {"SELECT", std::to_string(url.database)}});
  say({.argv = {"CLIENT", "ID"},
       .take = [this](const Reply& reply) { session_.identity.client_id = reply.integer; },
       .dispensable = true});
  say({.argv = {"INFO", "server"},
       .take = [this](const Reply& reply) { read_server(reply.text); },
       .dispensable = true});
  if (url.has_sentinels()) {
    // A Sentinel may know less than the server itself, just after a fail-over.
    say({.argv = {"ROLE"}, .take = [this](const Reply& reply) { check_role(reply); }});
  }
  // Refused while the server reads its data, or is a replica that lost its master.
  say({.argv = {"PING"}, .take = [this](const Reply&) { fence_or_finish(); }});
}

void Greeting::say(Step step) {
  std::vector<std::string_view> argv(step.argv.begin(), step.argv.end());
  const std::string what = step.argv[0] == "CLIENT" ? step.argv[0] + " " + step.argv[1] : step.argv[0];
  queue_(argv, [this, what, step = std::move(step)](const Reply& reply) {
    if (done_called_ || reply.error == RedisError::kLost || reply.error == RedisError::kNotSent) return;
    if (reply.is_error() && !(step.dispensable && reply.error == RedisError::kNoPerm)) {
      return finish(Error{Errc::kRefused, fmt::format("{}: {:.200}", what, reply.text)});
    }
    if (!reply.is_error() && step.take) step.take(reply);
  });
}

void Greeting::check_role(const Reply& reply) {
  const std::string_view role = reply.elements.empty() ? reply.text : reply.elements[0].text;
  if (role != "master") finish(Error{Errc::kRefused, fmt::format("this server is a {:.20}, not the master", role)});
}

void Greeting::read_server(std::string_view info) {
  session_.identity.run_id = info_value(info, "run_id");
  session_.version = info_value(info, "redis_version");
}

void Greeting::fence_or_finish() {
  if (!previous_) return finish(session_);
  if (previous_->client_id == 0 || previous_->run_id.empty() || session_.identity.run_id.empty()) {
    log::warn("redis: cannot tell whether the connection before this one is still served",
              {{"reason", "the user may not ask INFO or CLIENT ID"}});
    return finish(session_);
  }
  // Another life of the server counts its clients anew: that number would be somebody else's.
  if (previous_->run_id != session_.identity.run_id) return finish(session_);
  say({.argv = {"CLIENT", "KILL", "ID", std::to_string(previous_->client_id)},
       .take = [this](const Reply&) { finish(session_); }});
}

void Greeting::finish(Result<Session> result) {
  if (std::exchange(done_called_, true)) return;
  done_(std::move(result));
}

}  // namespace stem::federation
