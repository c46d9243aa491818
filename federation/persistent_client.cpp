#include "federation/persistent_client.hpp"

#include <algorithm>
#include <utility>

#include "base/clock.hpp"

namespace stem::federation {
namespace {

constexpr std::int64_t kFirstPauseNs = 20'000'000;
constexpr std::int64_t kLongestPauseNs = 1'000'000'000;

}  // namespace

PersistentClient::PersistentClient(RedisOptions options, std::int64_t patience_ns) : options_(std::move(options)) {
  options_.greeting_timeout_ns = options_.progress_timeout_ns = patience_ns;
  options_.quiet = true;
  if (options_.follows_slot && !options_.url.is_unix())
    nodes_.emplace(NodeAddress{options_.url.host, options_.url.port});
}

Result<OwnedReply> PersistentClient::failed(Error error) {
  fault_ = error;
  if (nodes_) {
    nodes_->next();
    options_.url.host = nodes_->current().host;
    options_.url.port = nodes_->current().port;
  }
  pause_ns_ = std::clamp(pause_ns_ * 2, kFirstPauseNs, kLongestPauseNs);
  retry_at_ns_ = base::monotonic_ns() + pause_ns_;
  return error;
}

Result<OwnedReply> PersistentClient::ask(const std::vector<std::string_view>& argv) {
  if (client_ == nullptr) {
    if (base::monotonic_ns() < retry_at_ns_) return fault_;
    auto connected = BlockingClient::connect(options_);
    if (!connected.ok()) return failed(connected.error());
    client_ = std::move(*connected);
    if (nodes_)
      if (const auto lines = client_->ask({"CLUSTER", "NODES"}); lines.ok()) nodes_->learn_from(lines->text);
  }
  auto answer = client_->ask(argv);
  if (answer.ok()) {
    pause_ns_ = 0;
    return answer;
  }
  // An error reply leaves the connection as it is, unless it comes from a master that is none any more.
  if (client_->is_ready() && !answer.error().message.starts_with("READONLY")) return answer;
  client_.reset();
  return failed(answer.error());
}

}  // namespace stem::federation
