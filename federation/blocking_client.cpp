#include "federation/blocking_client.hpp"

#include <optional>
#include <utility>

namespace stem::federation {

OwnedReply::OwnedReply(const Reply& reply)
    : kind(reply.kind), error(reply.error), integer(reply.integer), text(reply.text) {
  elements.reserve(reply.elements.size());
  for (const Reply& element : reply.elements) elements.emplace_back(element);
}

BlockingClient::BlockingClient(std::unique_ptr<io::Loop> loop, RedisOptions options) : loop_(std::move(loop)) {
  options.quiet = true;  // the caller gets the reason
  RedisEvents events;
  events.failed = [this](const std::string& reason) {
    if (fault_.empty()) fault_ = reason;
  };
  redis_ = std::make_unique<RedisConnection>(*loop_, std::move(options), std::move(events));
}

Result<std::unique_ptr<BlockingClient>> BlockingClient::connect(RedisOptions options) {
  auto loop = io::Loop::create();
  if (!loop.ok()) return loop.error();
  std::unique_ptr<BlockingClient> client(new BlockingClient(*std::move(loop), std::move(options)));
  client->redis_->start();
  while (!client->redis_->is_ready() && client->fault_.empty()) {
    if (auto turned = client->loop_->run_once(io::kForever); !turned.ok()) return turned.error();
  }
  if (!client->fault_.empty()) return Error{Errc::kRefused, client->fault_};
  return client;
}

Result<OwnedReply> BlockingClient::ask(std::vector<std::string_view> argv) {
  if (!redis_->is_ready()) return Error{Errc::kRefused, fault_};
  std::optional<OwnedReply> answer;
  const Queued queued = redis_->command(argv, [&answer](const Reply& reply) { answer.emplace(reply); });
  if (queued != Queued::kYes) return Error{Errc::kRefused, "the command is larger than may be in flight"};
  // The watchdog ends the wait.
  while (!answer) {
    if (auto turned = loop_->run_once(io::kForever); !turned.ok()) return turned.error();
  }
  if (answer->error == RedisError::kLost) {
    const bool silent = answer->text.starts_with("no reply for");
    return Error{silent ? Errc::kTimeout : Errc::kRefused, answer->text};
  }
  if (answer->kind == Reply::Kind::kError) return Error{Errc::kRefused, answer->text};
  return *std::move(answer);
}

Result<std::vector<std::string>> BlockingClient::keys_like(std::string_view pattern, std::string_view type) {
  std::vector<std::string> keys;
  std::string cursor = "0";
  do {
    const auto found = ask({"SCAN", cursor, "MATCH", pattern, "COUNT", "1000", "TYPE", type});
    if (!found.ok()) return found.error();
    if (found->elements.size() != 2) break;
    cursor = found->elements[0].text;
    for (const OwnedReply& key : found->elements[1].elements) keys.push_back(key.text);
  } while (cursor != "0");
  return keys;
}

}  // namespace stem::federation
