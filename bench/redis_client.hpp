// A bare hiredis client, and a Redis of the bench's own to talk to: what peers and the federation are measured
// against.
#pragma once

#include <hiredis/hiredis.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bench/server_process.hpp"

namespace stem::bench {

using Reply = std::unique_ptr<redisReply, decltype(&freeReplyObject)>;

inline std::string_view text_of(const redisReply& reply) { return {reply.str, reply.len}; }

// Blocking, pipelined by hand. Throws Failure for whatever goes wrong, an error reply too.
class RedisClient {
 public:
  explicit RedisClient(const std::string& socket_path);

  // Adds a command to the pipeline.
  void append(std::initializer_list<std::string_view> words) { append_words(std::span(words.begin(), words.size())); }
  void append_words(std::span<const std::string_view> words);
  // The next reply of the pipeline; sends what has not been sent.
  Reply reply();
  Reply command(std::initializer_list<std::string_view> words);

 private:
  [[noreturn]] void fail(const char* what) const;

  std::unique_ptr<redisContext, decltype(&redisFree)> context_;
  std::vector<const char*> arguments_;
  std::vector<std::size_t> lengths_;
};

// On a Unix socket in a directory of its own (below `base`, see TemporaryDirectory), persistence off: Redis at its
// fastest. With `fsync` ("everysec", "always") it appends to a file.
class RedisServer {
 public:
  explicit RedisServer(const std::string& base = {}, const std::string& fsync = {});

  const std::string& socket() const noexcept { return socket_; }
  pid_t pid() const noexcept { return process_.pid(); }

 private:
  bool answers() const;

  TemporaryDirectory directory_;
  std::string socket_;
  ServerProcess process_;
};

}  // namespace stem::bench
