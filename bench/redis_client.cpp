#include "bench/redis_client.hpp"

#include <fmt/format.h>

#include "bench/failure.hpp"

namespace stem::bench {

RedisClient::RedisClient(const std::string& socket_path) : context_(redisConnectUnix(socket_path.c_str()), redisFree) {
  if (!context_ || context_->err != 0) fail("connect");
}

void RedisClient::append_words(std::span<const std::string_view> words) {
  arguments_.clear();
  lengths_.clear();
  for (const std::string_view word : words) {
    arguments_.push_back(word.data());
    lengths_.push_back(word.size());
  }
  const auto count = static_cast<int>(words.size());
  if (redisAppendCommandArgv(context_.get(), count, arguments_.data(), lengths_.data()) != REDIS_OK) fail("append");
}

Reply RedisClient::reply() {
  void* raw = nullptr;
  if (redisGetReply(context_.get(), &raw) != REDIS_OK) fail("reply");
  Reply result(static_cast<redisReply*>(raw), freeReplyObject);
  if (result->type == REDIS_REPLY_ERROR) throw Failure("redis: " + std::string(text_of(*result)));
  return result;
}

Reply RedisClient::command(std::initializer_list<std::string_view> words) {
  append(words);
  return reply();
}

void RedisClient::fail(const char* what) const {
  throw Failure(fmt::format("redis: {}: {}", what, context_ ? context_->errstr : "no memory"));
}

RedisServer::RedisServer(const std::string& base, const std::string& fsync)
    : directory_(base),
      socket_(directory_.path() + "/redis.sock"),
      process_({find_program("redis-server").value(), "--port", "0", "--unixsocket", socket_, "--save", "",
                "--appendonly", fsync.empty() ? "no" : "yes", "--appendfsync", fsync.empty() ? "everysec" : fsync,
                "--daemonize", "no", "--dir", directory_.path()},
               directory_.path() + "/redis.log", [this] { return answers(); }) {}

bool RedisServer::answers() const {
  try {
    return text_of(*RedisClient(socket_).command({"PING"})) == "PONG";
  } catch (const Failure&) {
    return false;  // not listening yet, or still loading
  }
}

}  // namespace stem::bench
