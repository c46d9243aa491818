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

// Why it was not taken; empty when it was (2xx). Within a quarter of a minute.
std::string post_json(const HttpTarget& target, const std::string& body);

// Sends bodies one after the other from a thread of its own, each until it is taken, with growing pauses. When more wait
// than it may hold the oldest is dropped, and counted.
class JsonPoster {
 public:
  JsonPoster(HttpTarget target, std::size_t most_waiting);
  ~JsonPoster();  // tries once more what waits
  JsonPoster(const JsonPoster&) = delete;
  JsonPoster& operator=(const JsonPoster&) = delete;

  void post(std::string body);
  [[nodiscard]] std::uint64_t dropped() const;

 private:
  void run();
  // False when it is to end.
  bool pause(std::int64_t ns);

  const HttpTarget target_;
  const std::size_t most_waiting_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::string> waiting_;
  std::uint64_t dropped_ = 0;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace stem::cli
