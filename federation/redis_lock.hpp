// The lock of all beat processes of all hosts of a Redis: ns:lock:beat, with a fencing counter beside it. It saves
// double work; that no tick is fired twice does not rest on it.
#pragma once

#include <cstdint>
#include <string>

#include "beat/lock.hpp"
#include "federation/keys.hpp"
#include "federation/persistent_client.hpp"

namespace stem::federation {

class RedisLock final : public beat::BeatLock {
 public:
  // `owner` is another for every process. Figures are counted in the engine's segment.
  RedisLock(engine::Engine& engine, PersistentClient& redis, const Keys& keys, std::string owner, std::int64_t ttl_ns);
  ~RedisLock() override { release(); }
  RedisLock(const RedisLock&) = delete;
  RedisLock& operator=(const RedisLock&) = delete;

  bool hold(std::int64_t now_ns) override;
  [[nodiscard]] bool still_ours() const override;
  [[nodiscard]] std::uint64_t token() const override { return token_; }
  void release() override;
  [[nodiscard]] std::int64_t next_ns(std::int64_t now_ns) const override;

  // How far the server's wall clock is ahead of ours, when it was asked last: the clock that all hosts go by.
  [[nodiscard]] std::int64_t ahead_ns() const { return ahead_ns_; }
  // Why the last attempt had no answer; empty when it had one.
  [[nodiscard]] const std::string& fault() const { return fault_; }

 private:
  bool ask(std::int64_t now_ns);
  void count(shm::BeatCounter counter) const;

  engine::Engine& engine_;
  PersistentClient& redis_;
  std::string lock_key_, fence_key_, owner_;
  std::int64_t ttl_ns_;
  bool holding_ = false;
  std::uint64_t token_ = 0;
  std::int64_t until_ns_ = 0;  // ours at least so long, if it is
  std::int64_t ask_at_ns_ = 0;
  std::int64_t ahead_ns_ = 0;
  std::string fault_;
};

}  // namespace stem::federation
