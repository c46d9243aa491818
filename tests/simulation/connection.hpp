// A host's connection to the virtual server: what RedisConnection promises, over the virtual network. It reconnects
// with back-off, its watchdog is on progress, and when it is ready what the one before it had sent is carried out or
// gone.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>

#include "federation/backoff.hpp"
#include "federation/redis.hpp"
#include "tests/simulation/network.hpp"

namespace stem::simulation {

class VirtualConnection : public federation::Redis {
 public:
  struct Events {
    std::function<void()> ready;
    std::function<void()> lost;     // its handlers have been called
    std::function<void()> touched;  // anything came
  };
  // `stopped`: its process stands still (SIGSTOP).
  VirtualConnection(VirtualServer& server, Timeline& time, Diary& diary, std::uint64_t seed, std::string name,
                    std::uint32_t host, const bool& stopped, Events events);
  // As when its process is killed: handlers are not called, and what has left arrives.
  ~VirtualConnection() override;

  void start() { connect(); }
  using Redis::command;
  federation::Queued command(std::span<const std::string_view> argv, federation::ReplyHandler handler,
                             std::int64_t block_ns) override;
  bool is_ready() const override { return link_ != 0; }
  void drop(const std::string& reason) override;
  // The process goes on after it stood still.
  void resume();

  const std::string& name() const { return name_; }
  std::uint32_t host() const { return host_; }
  std::int64_t client_id() const { return link_; }

 private:
  friend class VirtualServer;
  struct Waiting {
    federation::ReplyHandler handler;
    std::int64_t block_ns;
  };

  void connect();
  void greeted(std::int64_t link);
  void receive(OwnedReply reply);
  void handle(const OwnedReply& reply);
  void lose(const char* why, VirtualServer::Ending ending);
  void watch();

  VirtualServer& server_;
  Timeline& time_;
  Diary& diary_;
  base::Random random_;
  federation::Backoff backoff_;
  std::string name_;
  std::uint32_t host_;
  const bool& stopped_;
  Events events_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::int64_t link_ = 0;      // 0 = not ready
  std::int64_t previous_ = 0;  // fenced by the next greeting
  std::uint64_t previous_life_ = 0;
  std::uint64_t attempt_ = 0;
  std::deque<Waiting> waiting_;
  std::deque<OwnedReply> held_;  // came while the process stood still
  std::int64_t progress_ns_ = 0;
  bool watching_ = false;
};

}  // namespace stem::simulation
