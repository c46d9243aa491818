// Asks Redis Sentinels where the master is, one after the other, the one that knew last time first.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "federation/redis_connection.hpp"

namespace stem::federation {

struct SentinelAnswer {
  HostPort master;
  std::size_t sentinel = 0;  // who knew
};

class SentinelQuery {
 public:
  using Answered = std::function<void(Result<SentinelAnswer>)>;

  // `options` must outlive the query. `answered` is called once, from the loop; it may destroy the query.
  SentinelQuery(io::Loop& loop, const RedisOptions& options, std::size_t first, Answered answered);
  ~SentinelQuery();
  SentinelQuery(const SentinelQuery&) = delete;
  SentinelQuery& operator=(const SentinelQuery&) = delete;

  void start();

 private:
  std::size_t current() const { return (first_ + asked_) % options_.url.sentinels.size(); }
  void ask();
  void understand(const Reply& reply);
  void next(const std::string& reason);
  void finish(Result<SentinelAnswer> result);
  void soon(std::function<void()> step);

  io::Loop& loop_;
  const RedisOptions& options_;
  std::size_t first_;
  std::size_t asked_ = 0;
  bool settled_ = false;  // with the one that is being asked
  Answered answered_;
  std::string reasons_;
  std::unique_ptr<RedisConnection> sentinel_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace stem::federation
