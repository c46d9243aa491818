// A host: a real segment and real engines on it, a producer, workers that take virtual time, and a gateway that can be
// killed. Its clocks are its own: monotonic from another start, wall time as wrong as it is said to be.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/keeper.hpp"
#include "engine/query.hpp"
#include "tests/simulation/accounts.hpp"
#include "tests/simulation/gateway.hpp"
#include "tests/support/attached.hpp"

namespace stem::simulation {

struct HostOptions {
  std::uint32_t number = 0;
  std::string directory;
  std::uint32_t workers = 1;
  std::int64_t wall_skew_us = 0;
  GatewayOptions gateway;
};

class VirtualHost {
 public:
  VirtualHost(Timeline& time, Diary& diary, VirtualServer& server, Accounts& accounts, base::Random random,
              HostOptions options);
  ~VirtualHost();

  // Makes a task of this host; false when there is no room.
  bool enqueue(const Plan& plan);
  // Several at once, stored together (engine/run.hpp): nobody waits for them, and they name no visibility timeout.
  void enqueue_run(std::vector<Plan> plans);
  void start_gateway();
  void kill_gateway();
  // A worker process dies with what it runs, and another takes its place.
  void kill_worker(std::uint64_t choice);
  void stop(std::int64_t for_ns);  // SIGSTOP of all its processes, SIGCONT
  bool is_stopped() const { return stopped_; }

  federation::Clocks clocks() const;
  std::int64_t now_ns() const { return time_.now_ns() + start_ns_; }
  VirtualGateway* gateway() { return gateway_.get(); }
  std::uint32_t number() const { return options_.number; }
  engine::Engine& engine() { return *supervisor_->engine; }
  const std::shared_ptr<shm::Segment>& segment() const { return segment_; }
  std::uint32_t queue() const { return queue_; }
  // Something became runnable, or ended.
  void look_for_work();
  // What is not over here, one a line; empty at the end of a good history. So many tasks may wait for a result that
  // was lost.
  std::string leftovers(std::uint64_t may_wait);
  engine::ResultState result_of(std::uint64_t number, std::string& text);

 private:
  struct Worker {
    std::unique_ptr<test::Attached> self;
    bool busy = false;
    std::uint64_t life = 0;
    engine::Lease lease;
    engine::TaskView view;
    std::uint64_t number = 0;
  };

  void make_segment();
  std::uint64_t open(const Plan& plan);
  void made(std::uint64_t number);
  void start_worker(Worker& worker);
  void claim(std::size_t index);
  void end(std::size_t index, std::uint64_t life);
  void tick();
  // A process dies: nothing of it is cleaned up but what the kernel does.
  static void kill(std::unique_ptr<test::Attached>& process);
  friend class VirtualGateway;

  Timeline& time_;
  Diary& diary_;
  VirtualServer& server_;
  Accounts& accounts_;
  base::Random random_;
  HostOptions options_;
  std::int64_t start_ns_;
  std::shared_ptr<shm::Segment> segment_;
  std::unique_ptr<test::Attached> supervisor_;
  std::unique_ptr<engine::Keeper> keeper_;
  std::uint32_t queue_ = 0, task_ = 0;
  std::vector<Worker> workers_;
  std::unique_ptr<VirtualGateway> gateway_;
  bool stopped_ = false;
  std::int64_t stopped_until_ns_ = 0;
  std::uint64_t gateways_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace stem::simulation
