#include "tools/stem/http_target.hpp"

#include <fmt/format.h>
#include <httplib.h>

#include <algorithm>
#include <charconv>
#include <chrono>

#include "base/log.hpp"

namespace stem::cli {
namespace {

constexpr int kPatienceS = 5;
constexpr std::int64_t kFirstPauseNs = 200'000'000;
constexpr std::int64_t kLongestPauseNs = 30'000'000'000;

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
  const std::size_t slash = rest.find('/');
  if (slash != std::string_view::npos) target.path = rest.substr(slash);
  const std::string_view authority = rest.substr(0, slash);
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

std::string post_json(const HttpTarget& target, const std::string& body) {
  const auto post = [&](auto&& client) {
    client.set_connection_timeout(kPatienceS);
    client.set_read_timeout(kPatienceS);
    client.set_write_timeout(kPatienceS);
    return client.Post(target.path, body, "application/json");
  };
  const httplib::Result answer = target.secure ? post(httplib::SSLClient(target.host, target.port))
                                               : post(httplib::Client(target.host, target.port));
  if (!answer) return "it does not answer: " + httplib::to_string(answer.error());
  if (answer->status / 100 == 2) return "";
  return fmt::format("HTTP {}: {}", answer->status, answer->body.substr(0, 200));
}

JsonPoster::JsonPoster(HttpTarget target, std::size_t most_waiting)
    : target_(std::move(target)), most_waiting_(most_waiting), thread_([this] { run(); }) {}

JsonPoster::~JsonPoster() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void JsonPoster::post(std::string body) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(body));
    if (waiting_.size() > most_waiting_) {
      waiting_.pop_front();
      ++dropped_;
    }
  }
  wake_.notify_all();
}

std::uint64_t JsonPoster::dropped() const {
  const std::lock_guard lock(mutex_);
  return dropped_;
}

bool JsonPoster::pause(std::int64_t ns) {
  std::unique_lock lock(mutex_);
  return !wake_.wait_for(lock, std::chrono::nanoseconds(ns), [this] { return stop_; });
}

void JsonPoster::run() {
  std::string fault;
  std::int64_t pause_ns = kFirstPauseNs;
  for (;;) {
    std::string body;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      body = std::move(waiting_.front());
      waiting_.pop_front();
    }
    for (;;) {
      std::string now = post_json(target_, body);
      // Said when it changes, not at every try.
      if (now != fault && !now.empty()) log::warn("not taken", {{"by", target_.host}, {"why", now}});
      if (now != fault && now.empty()) log::info("taken again", {{"by", target_.host}});
      fault = std::move(now);
      if (fault.empty()) break;
      if (!pause(pause_ns)) return;  // asked to end, and it is not there
      pause_ns = std::min(2 * pause_ns, kLongestPauseNs);
    }
    pause_ns = kFirstPauseNs;
  }
}

}  // namespace stem::cli
