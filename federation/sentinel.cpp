#include "federation/sentinel.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace stem::federation {
namespace {

constexpr std::int64_t kPatienceNs = 1'000'000'000;  // for one Sentinel: there are others

}  // namespace

SentinelQuery::SentinelQuery(io::Loop& loop, const RedisOptions& options, std::size_t first, Answered answered)
    : loop_(loop), options_(options), first_(first), answered_(std::move(answered)) {}

SentinelQuery::~SentinelQuery() { *alive_ = false; }

void SentinelQuery::start() { ask(); }

// A connection may not be destroyed by its own handlers, so every step that does comes from the loop.
void SentinelQuery::soon(std::function<void()> step) {
  loop_.defer([alive = alive_, step = std::move(step)] {
    if (*alive) step();
  });
}

void SentinelQuery::ask() {
  settled_ = false;
  const HostPort& at = options_.url.sentinels[current()];
  RedisOptions to;
  to.url = {.host = at.host,
            .port = at.port,
            .user = options_.sentinel_user,
            .password = options_.sentinel_password,
            .tls = options_.url.tls};
  to.tls = options_.tls;
  to.client_name = options_.client_name;
  to.greeting_timeout_ns = to.progress_timeout_ns = std::min(kPatienceNs, options_.greeting_timeout_ns);
  to.seed = options_.seed;
  to.quiet = true;
  sentinel_ = std::make_unique<RedisConnection>(
      loop_, std::move(to),
      RedisEvents{.ready =
                      [this](const Session&) {
                        const auto queued =
                            sentinel_->command({"SENTINEL", "GET-MASTER-ADDR-BY-NAME", options_.url.master_name},
                                               [this](const Reply& reply) { understand(reply); });
                        if (queued != Queued::kYes) next("takes no command");
                      },
                  .failed = [this](const std::string& reason) { next(reason); }});
  sentinel_->start();
}

void SentinelQuery::understand(const Reply& reply) {
  if (reply.is_nil()) return next(fmt::format("knows no master '{}'", options_.url.master_name));
  if (reply.error == RedisError::kLost || reply.error == RedisError::kNotSent) return;  // `failed` comes too
  if (reply.is_error()) return next(fmt::format("{:.200}", reply.text));
  HostPort master;
  const bool pair = reply.is_array() && reply.elements.size() == 2;
  if (pair) {
    const std::string_view port = reply.elements[1].text;
    master.host = reply.elements[0].text;
    std::from_chars(port.data(), port.data() + port.size(), master.port);
  }
  if (master.host.empty() || master.port == 0) return next("answers with something that is no address");
  settled_ = true;
  finish(SentinelAnswer{std::move(master), current()});
}

void SentinelQuery::next(const std::string& reason) {
  if (std::exchange(settled_, true)) return;
  const HostPort& at = options_.url.sentinels[current()];
  reasons_ += fmt::format("{}{}:{}: {}", reasons_.empty() ? "" : "; ", at.host, at.port, reason);
  if (++asked_ < options_.url.sentinels.size()) return soon([this] { ask(); });
  finish(Error{Errc::kNotFound, fmt::format("no Sentinel knows the master ({})", reasons_)});
}

void SentinelQuery::finish(Result<SentinelAnswer> result) {
  soon([this, result = std::move(result)]() mutable {
    const Answered answered = std::exchange(answered_, nullptr);
    if (answered) answered(std::move(result));  // nothing of this may be touched afterwards
  });
}

}  // namespace stem::federation
