// The dashboard's HTTP server: cpp-httplib behind a bound on everything a client chooses. A client may be slow, silent,
// endless or many: each connection has a thread of a fixed number, each request a time and a size, and what does not
// fit waits in the kernel.
//
// Thread-safe. Handlers run on the server's threads, several at once.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace stem::cli {

struct WebRequest {
  std::string method;  // "GET" also for HEAD, "POST"
  std::string path;    // decoded, without the query
  std::multimap<std::string, std::string> parameters;
  std::string body;
  std::string client;                                   // its address
  std::function<std::string(const char* name)> header;  // "" when there is none
  std::function<bool(const char* name)> has_header;

  // The first of this name.
  [[nodiscard]] std::optional<std::string> parameter(const std::string& name) const {
    const auto it = parameters.find(name);
    return it == parameters.end() ? std::nullopt : std::optional(it->second);
  }
};

struct WebAnswer {
  int status = 200;
  std::string type = "application/json";
  std::string body;
  std::map<std::string, std::string> headers = {};
};

struct WebOptions {
  std::string host;
  int port = 0;  // 0 = any that is free
  int threads = 24;
  std::size_t most_body_bytes = 64U << 10;
  std::size_t most_request_bytes = 128U << 10;  // with its headers
  std::int64_t read_timeout_ms = 5'000;         // silence within a request, and between two
  std::int64_t request_timeout_ms = 10'000;     // a whole request and its answer
};

class WebServer {
 public:
  // `admit` is asked before anything of a body is read: an answer refuses the request, and ends its connection.
  // `handle` answers what was admitted. Neither throws.
  using Admit = std::function<std::optional<WebAnswer>(const WebRequest&)>;
  using Handle = std::function<WebAnswer(const WebRequest&)>;

  // kRefused when the address is taken or not this host's.
  static Result<std::unique_ptr<WebServer>> open(const WebOptions& options, Admit admit, Handle handle);
  ~WebServer();  // ends all connections
  WebServer(const WebServer&) = delete;
  WebServer& operator=(const WebServer&) = delete;

  [[nodiscard]] int port() const;
  // It listens no more: the system refused it a connection for good.
  [[nodiscard]] bool ended() const;

 private:
  class Impl;
  explicit WebServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace stem::cli
