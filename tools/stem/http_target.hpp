// Where JSON is sent by HTTP: a collector's URL, a webhook.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "base/result.hpp"

namespace stem::cli {

struct HttpTarget {
  bool secure = false;
  std::string host;
  int port = 80;
  std::string path = "/";
};
// "http://collector:4318/some/path", "https://[::1]/hook?token=x". `flag` is what the error names; `default_port` is for
// http, https has 443.
Result<HttpTarget> parse_http_url(std::string_view flag, const std::string& url, int default_port = 80);

struct PostAnswer {
  std::string fault;   // empty when it was taken (2xx)
  bool again = false;  // it may be taken another time: no answer, too many requests, a server's fault
};
PostAnswer post_json(const HttpTarget& target, const std::string& body);

// For a thread that writes to sockets by libraries which know no MSG_NOSIGNAL.
void hold_off_sigpipe();

// Says in the log that somebody does not take what is sent, and that he takes it again: when that changes, not at every
// try.
class FaultLog {
 public:
  // `what` as "metrics": "metrics were not taken".
  FaultLog(std::string what, std::string by) : what_(std::move(what)), by_(std::move(by)) {}
  // Of each try; empty = it was taken.
  void note(const std::string& fault);
  bool faulty() const noexcept { return !fault_.empty(); }

 private:
  const std::string what_, by_;
  std::string fault_;
};

// Sends bodies one after the other from a thread of its own, each until it is taken, with growing pauses; what is refused
// for good is dropped. When more wait than it may hold (by number, or 64 MiB) the oldest go. What is dropped is counted.
class JsonPoster {
 public:
  JsonPoster(HttpTarget target, std::size_t most_waiting);
  ~JsonPoster();  // finish()
  JsonPoster(const JsonPoster&) = delete;
  JsonPoster& operator=(const JsonPoster&) = delete;

  void post(std::string body);
  // Sends what waits, while the other side takes it, for two seconds; then how many were dropped in all.
  std::uint64_t finish();

 private:
  void run();
  bool take(std::string& body);
  // False when time is up.
  bool pause(std::int64_t ns);

  const HttpTarget target_;
  const std::size_t most_waiting_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::string> waiting_;
  std::size_t waiting_bytes_ = 0;
  std::uint64_t dropped_ = 0;
  std::int64_t end_ns_ = INT64_MAX;  // CLOCK_MONOTONIC; set by finish()
  std::thread thread_;
};

}  // namespace stem::cli
