// One worker process, after the fork: joins the segment on its own, and runs one loop: claim, run, settle,
// idle. Its Pulse beside it beats and listens. With coroutine handlers the same loop turns that of flights.hpp.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "worker/child_page.hpp"
#include "worker/flights.hpp"
#include "worker/handler_table.hpp"
#include "worker/pulse.hpp"
#include "worker/worker_options.hpp"

namespace stem::worker {

struct ProcessSetup {
  const WorkerOptions* options = nullptr;
  const HandlerTable* handlers = nullptr;
  ChildPage* page = nullptr;
  std::string name;
  int core = -1;  // -1 = not pinned
  pid_t supervisor_pid = 0;
  std::uint32_t supervisor = 0;  // roster index
  std::uint64_t supervisor_incarnation = 0;
};

class WorkerProcess {
 public:
  explicit WorkerProcess(const ProcessSetup& setup) : setup_(setup), page_(*setup.page), options_(*setup.options) {}

  // From attach to detach. What it leaves for is in page.exit_reason.
  void run();

 private:
  // How one attempt is timed: a clock read costs as much as the smallest handlers do, so tasks that
  // are over in less than a microsecond share one read.
  struct Timing {
    static constexpr std::int64_t kTinyNs = 1'000;
    std::int64_t mean_ns = 1'000'000;  // of the last tasks; starts as "slow"
    std::int64_t group_start_ns = 0;
    std::uint32_t tasks[kTasksPerClockRead];
    std::uint32_t grouped = 0;
    bool tiny() const { return mean_ns < kTinyNs; }
  };

  bool join();
  bool board_flights();
  void intern_names();
  void serve();
  std::uint32_t claim_some();
  void idle();
  std::int64_t spins_until();
  void held_back();
  void run_batch(std::uint32_t count);
  std::int64_t run_one(const engine::Lease& lease, std::int64_t now_ns, bool last);
  Outcome call(const HandlerEntry& handler, const engine::Lease& lease, const engine::TaskView& task,
               std::int64_t now_ns);
  std::int64_t clock_task(const engine::TaskView& task, std::int64_t started_ns, bool now);
  const HandlerEntry* handler_of(std::uint32_t task);
  void arm_hard_limit(const engine::TaskView& task, std::int64_t now_ns);
  // kNone: not at all.
  ExitReason why_leave();
  // With coroutine handlers (flights.hpp).
  void serve_flights();
  bool may_leave(ExitReason& reason);
  void idle_flights(bool takes);
  void leave(ExitReason reason) noexcept {
    page_.exit_reason.store(static_cast<std::uint32_t>(reason), std::memory_order_release);
  }

  const ProcessSetup setup_;
  ChildPage& page_;
  const WorkerOptions& options_;
  std::shared_ptr<shm::Segment> segment_;
  std::unique_ptr<shm::Participant> self_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<Pulse> pulse_;
  std::unique_ptr<Flights> flights_;  // null: no handler is a coroutine
  bool only_coroutines_ = false;

  std::vector<std::uint32_t> queues_;
  std::uint32_t turn_ = 0;
  // By task number: not looked up yet, no handler, or the handler.
  struct Known {
    bool looked = false;
    const HandlerEntry* handler = nullptr;
  };
  std::vector<Known> known_;
  engine::Lease leases_[shm::kHeldSlots];
  engine::TaskView view_;
  Timing timing_;
  std::uint64_t tasks_run_ = 0;
  std::int64_t rss_checked_ns_ = 0;
  bool rung_ = false;            // somebody ended the last sleep, and nothing was found since
  std::uint32_t fruitless_ = 0;  // claims in a row that found nothing in a queue that seemed to have work
};

// Signals, pin, loop, exit. Called in the child right after fork; never returns.
[[noreturn]] void run_worker_process(const ProcessSetup& setup) noexcept;

}  // namespace stem::worker
