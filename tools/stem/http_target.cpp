#include "tools/stem/http_target.hpp"

#include <fmt/format.h>
#include <httplib.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <charconv>
#include <chrono>

#include "base/clock.hpp"
#include "base/log.hpp"

namespace stem::cli {
namespace {

constexpr int kPatienceS = 5;
constexpr std::int64_t kFirstPauseNs = 200'000'000;
constexpr std::int64_t kLongestPauseNs = 30'000'000'000;
constexpr std::int64_t kLastNs = 2'000'000'000;
constexpr std::size_t kMostBytes = 64U << 20;

}  // namespace

Result<HttpTarget> parse_http_url(std::string_view flag, const std::string& url, int default_port) {
  const Error bad{Errc::kInvalidArgument, fmt::format("{}: it must be a URL as http://host:{}", flag, default_port)};
  HttpTarget target;
  target.port = default_port;
  std::string_view rest = url;
  if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else if (rest.starts_with("https://")) {
    rest.remove_prefix(8);
    target.secure = true;
    target.port = 443;
  } else {
    return bad;
  }
  const std::size_t host_end = rest.find_first_of("/?#");
  if (host_end != std::string_view::npos) target.path = rest.substr(host_end);
  if (!target.path.starts_with('/')) target.path.insert(0, "/");
  const std::string_view authority = rest.substr(0, host_end);
  if (target.path.find_first_of("# \r\n") != std::string::npos ||
      authority.find_first_of("@ \r\n") != std::string_view::npos)
    return bad;
  const std::size_t bracket = authority.find(']');
  const std::size_t colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  target.host = authority.substr(0, colon);
  if (target.host.starts_with('[') && target.host.ends_with(']'))
    target.host = target.host.substr(1, target.host.size() - 2);
  if (colon != std::string_view::npos) {
    const std::string_view port = authority.substr(colon + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), target.port);
    if (error != std::errc{} || end != port.data() + port.size()) return bad;
  }
  if (target.host.empty() || target.port < 1 || target.port > 65535) return bad;
  return target;
}

PostAnswer post_json(const HttpTarget& target, const std::string& body) {
  const auto post = [&](auto&& client) {
    client.set_connection_timeout(kPatienceS);
    client.set_read_timeout(kPatienceS);
    client.set_write_timeout(kPatienceS);
    return client.Post(target.path, body, "application/json");
  };
  const httplib::Result answer = target.secure ? post(httplib::SSLClient(target.host, target.port))
                                               : post(httplib::Client(target.host, target.port));
  if (!answer) return {"it does not answer: " + httplib::to_string(answer.error()), true};
  const int status = answer->status;
  if (status / 100 == 2) return {};
  return {fmt::format("HTTP {}: {}", status, answer->body.substr(0, 200)),
          status == 408 || status == 429 || status / 100 == 5};
}

void hold_off_sigpipe() {
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
}

void FaultLog::note(const std::string& fault) {
  if (fault == fault_) return;
  if (fault.empty())
    log::info(what_ + " are taken again", {{"by", by_}});
  else
    log::warn(what_ + " were not taken", {{"by", by_}, {"why", fault}});
  fault_ = fault;
}

JsonPoster::JsonPoster(HttpTarget target, std::size_t most_waiting)
    : target_(std::move(target)), most_waiting_(most_waiting), thread_([this] { run(); }) {}

JsonPoster::~JsonPoster() { (void)finish(); }

std::uint64_t JsonPoster::finish() {
  {
    const std::lock_guard lock(mutex_);
    end_ns_ = std::min(end_ns_, base::monotonic_ns() + kLastNs);
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  const std::lock_guard lock(mutex_);
  return dropped_;
}

void JsonPoster::post(std::string body) {
  {
    const std::lock_guard lock(mutex_);
    waiting_bytes_ += body.size();
    waiting_.push_back(std::move(body));
    while (waiting_.size() > most_waiting_ || (waiting_bytes_ > kMostBytes && waiting_.size() > 1)) {
      waiting_bytes_ -= waiting_.front().size();
      waiting_.pop_front();
      ++dropped_;
    }
  }
  wake_.notify_all();
}

// The next body; false when there is none and none will come, or time is up.
bool JsonPoster::take(std::string& body) {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [this] { return end_ns_ != INT64_MAX || !waiting_.empty(); });
  if (base::monotonic_ns() >= end_ns_) {
    dropped_ += waiting_.size();
    waiting_.clear();
  }
  if (waiting_.empty()) return false;
  body = std::move(waiting_.front());
  waiting_.pop_front();
  waiting_bytes_ -= body.size();
  return true;
}

bool JsonPoster::pause(std::int64_t ns) {
  std::unique_lock lock(mutex_);
  wake_.wait_for(lock, std::chrono::nanoseconds(ns), [this] { return end_ns_ != INT64_MAX; });
  if (end_ns_ == INT64_MAX) return true;
  // Asked to end: one who does not answer is not waited for.
  ++dropped_;
  dropped_ += waiting_.size();
  waiting_.clear();
  return false;
}

void JsonPoster::run() {
  hold_off_sigpipe();
  FaultLog faults("events", target_.host);
  for (std::string body; take(body);) {
    for (std::int64_t pause_ns = kFirstPauseNs;; pause_ns = std::min(2 * pause_ns, kLongestPauseNs)) {
      const PostAnswer answer = post_json(target_, body);
      faults.note(answer.fault);
      if (answer.fault.empty()) break;
      if (!answer.again) {
        const std::lock_guard lock(mutex_);
        ++dropped_;
        break;
      }
      if (!pause(pause_ns)) return;
    }
  }
}

}  // namespace stem::cli
