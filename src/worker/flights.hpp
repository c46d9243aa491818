// The coroutine handlers that are under way in a worker process, on the process's own loop (docs/coroutines.md).
//
// One thread: the worker's. A flight is one attempt: its lease, what its handler sees of it, and the tree of coroutines
// that the handler is. It ends when the handler returns or throws, or by force; then its frames go, and its outcome is
// settled.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/engine.hpp"
#include "io/doorbell_bridge.hpp"
#include "io/loop.hpp"
#include "io/scope.hpp"
#include "worker/child_page.hpp"
#include "worker/handler_table.hpp"

namespace stem::worker {

class Flight;

class Flights {
 public:
  // After the fork: a loop is not inherited. The arguments outlive it.
  static Result<std::unique_ptr<Flights>> create(engine::Engine& engine, ChildPage& page, std::uint32_t slots);
  // What is still under way is dropped unsettled.
  ~Flights();
  Flights(const Flights&) = delete;
  Flights& operator=(const Flights&) = delete;

  io::Loop& loop() noexcept { return *loop_; }
  std::uint32_t size() const noexcept { return size_; }
  std::uint32_t room() const noexcept { return size_ >= slots_ ? 0 : slots_ - size_; }

  // Runs the handler of a task that has begun to its first wait. The view is copied.
  void launch(const HandlerEntry& handler, const engine::Lease& lease, const engine::TaskView& task,
              std::int64_t now_ns);
  // What is ready runs; waits for it up to `timeout_ns`, or until the doorbell rings. True when anything ran.
  bool turn(std::int64_t timeout_ns);
  // Every handler is asked to stop. What fails after that is given back, without using an attempt.
  void stop();

 private:
  friend class Flight;
  Flights(engine::Engine& engine, ChildPage& page, std::uint32_t slots, std::unique_ptr<io::Loop> loop);
  void listen();
  void obey_revokes();
  void answer_where();
  void look_at_leases();
  void count_renewals();
  void note_lease(const engine::TaskHead& task, bool more);
  void land(Flight& flight);
  [[noreturn]] void end_process_for(Flight& flight);
  void settle_flight(Flight& flight, std::int64_t now_ns);

  engine::Engine& engine_;
  ChildPage& page_;
  const std::uint32_t slots_;
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<io::DoorbellBridge> bridge_;  // where the loop cannot wait for a futex
  co::Hook flights_;
  std::uint32_t size_ = 0;
  bool stopping_ = false;
  std::int64_t turned_ns_ = 0;           // when the last turn was over
  std::vector<std::uint32_t> renewing_;  // by queue: under way, with leases that heartbeats renew
  std::uint64_t beats_seen_ = 0;
  std::uint64_t revokes_seen_[shm::kRevokeWords] = {};
};

}  // namespace stem::worker
