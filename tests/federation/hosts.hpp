// Hosts of a test: each a segment of its own, with real gateway and worker processes over one real Redis.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "federation/gateway.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/process.hpp"
#include "tests/support/scratch.hpp"

namespace stem::test {

// What handlers did, counted in memory that outlives whoever is killed: runs of each number, and how many ran at once.
class RunLedger {
 public:
  explicit RunLedger(std::uint64_t numbers);
  ~RunLedger();
  RunLedger(const RunLedger&) = delete;
  RunLedger& operator=(const RunLedger&) = delete;

  void ran(std::uint64_t number);
  // Around a run; of a handler that is killed in between, one counts as running for ever.
  void begin();
  void end() { counts_[numbers_].fetch_sub(1); }
  std::uint32_t runs(std::uint64_t number) const { return counts_[number].load(); }
  std::uint64_t numbers() const { return numbers_; }
  std::uint32_t most_at_once() const { return counts_[numbers_ + 1].load(); }
  std::uint64_t missing() const;  // numbers that never ran
  std::uint64_t extra() const;    // runs beyond the first

 private:
  std::uint64_t numbers_;
  std::atomic<std::uint32_t>* counts_;  // of the numbers; running; most that ran at once
};

enum class Conduct { kSucceed, kTakeTime, kFailForGood, kHang, kUntilRevoked };

class Host {
 public:
  Host(const std::string& redis_url, RunLedger& ledger);

  // Options to change before the gateway starts.
  federation::GatewayOptions& gateway_options() { return options_; }
  // Runs in every gateway's process before anything else; false ends it.
  void before_gateway(std::function<bool()> body) { before_gateway_ = std::move(body); }
  void start_gateway();
  void kill_gateway() { gateway_.kill(); }
  Process& gateway() { return gateway_; }
  void start_worker(Conduct conduct = Conduct::kSucceed);
  void kill_workers();

  // A plain task whose payload is `number`; `keep_result` for one that somebody waits for.
  engine::TaskId enqueue(std::uint64_t number, bool keep_result = false, std::int64_t visibility_ns = 0);
  // Numbers [from, to), by the run where they fit.
  std::vector<engine::TaskId> enqueue_many(std::uint64_t from, std::uint64_t to);

  Attached& engine() { return *attached_; }
  shm::Segment& segment() { return *segment_; }
  std::uint64_t counter(shm::Counter counter);
  std::uint64_t round_trips() const;  // to Redis, that its gateway has timed
  std::uint32_t queue() const { return queue_; }
  // Of the queue, on this host.
  void limit(engine::Rate rate, std::uint32_t at_once);
  // What a supervisor's keeper does for the dead.
  void sweep();

 private:
  int work(Conduct conduct);

  ScratchDirectory directory_;
  std::shared_ptr<shm::Segment> segment_;
  std::unique_ptr<Attached> attached_;
  RunLedger& ledger_;
  federation::GatewayOptions options_;
  std::function<bool()> before_gateway_;
  std::uint32_t queue_ = 0;
  std::uint32_t task_ = 0;
  Process gateway_;
  std::vector<Process> workers_;
};

}  // namespace stem::test
