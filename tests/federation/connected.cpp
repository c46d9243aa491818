#include "tests/federation/connected.hpp"

#include <cstdio>
#include <cstdlib>

namespace stem::test {

using federation::Reply;

federation::RedisOptions Connected::quick(const std::string& url) {
  federation::RedisOptions options;
  const auto parsed = federation::parse_redis_url(url);
  if (!parsed.ok()) {
    std::fprintf(stderr, "%s: %s\n", url.c_str(), parsed.error().message.c_str());
    std::abort();
  }
  options.url = *parsed;
  options.client_name = "test";
  options.backoff_base_ns = 1'000'000;
  options.backoff_max_ns = 20'000'000;
  options.seed = 1;
  return options;
}

Connected::Connected(federation::RedisOptions options, std::optional<io::Backend> backend) {
  auto loop = io::Loop::create(backend);
  if (!loop.ok()) {
    std::fprintf(stderr, "%s\n", loop.error().message.c_str());
    std::abort();
  }
  loop_ = *std::move(loop);
  redis_ = std::make_unique<federation::RedisConnection>(
      *loop_, std::move(options),
      federation::RedisEvents{.ready = [this](const federation::Session& session) { sessions.push_back(session); },
                              .lost = [this](const std::string& reason) { losses.push_back(reason); },
                              .room = [this] { ++rooms; },
                              .message = [this](const Reply& reply) { messages.emplace_back(reply); }});
}

bool Connected::turn_until(const std::function<bool()>& condition, std::chrono::milliseconds deadline) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    if (!loop_->run_once(5'000'000).ok()) return false;
  }
  return true;
}

OwnedReply Connected::ask(std::vector<std::string_view> argv) {
  std::optional<OwnedReply> answer;
  const auto queued = redis_->command(argv, [&answer](const Reply& reply) { answer.emplace(reply); });
  if (queued != federation::Queued::kYes || !turn_until([&] { return answer.has_value(); })) {
    OwnedReply none;
    none.kind = Reply::Kind::kError;
    none.text = "no reply";
    return none;
  }
  return *answer;
}

}  // namespace stem::test
