// Looking without touching: queues, workers, task names, single tasks. Reads the segment as it is, with
// workers running, hung or dead, and changes nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/histogram.hpp"
#include "engine/engine.hpp"
#include "engine/failure_record.hpp"

namespace stem::engine {

struct CounterTotals {
  std::uint64_t value[shm::kCounterCount] = {};
  std::uint64_t operator[](shm::Counter c) const { return value[static_cast<int>(c)]; }
  std::uint64_t ended() const;  // tasks that are over and gone (or kept only as a result)
};

struct QueueStats {
  std::uint32_t id = 0;
  std::string name;
  std::uint64_t ready = 0, delayed = 0, waiting = 0, leased = 0, outbox = 0, dead = 0, quarantined = 0;
  std::uint64_t kept = 0;            // results
  std::int64_t oldest_ready_ns = 0;  // enqueued_ns of the oldest ready task; 0 = none
  bool paused = false;
  std::uint32_t max_length = 0, concurrency = 0, overflow = 0;
  Rate rate;
  bool lowest_first = false;
  CounterTotals counters;
  base::HistogramSummary wait;
  std::uint64_t live() const { return ready + delayed + waiting + leased + outbox + dead + quarantined; }
};

struct WorkerStats {
  std::uint32_t participant = 0;
  std::uint64_t incarnation = 0;
  std::string name;
  shm::Role role = shm::Role::kNone;
  shm::RowState state = shm::RowState::kFree;
  bool signalled_dead = false;
  std::uint32_t pid = 0, tid = 0;
  std::int32_t cpu = -1;
  std::uint64_t heartbeat = 0;
  std::uint32_t inflight = 0;  // leases it holds
  TaskId current;
  std::int64_t current_since_ns = 0;
  std::uint64_t rss_bytes = 0;
  std::uint64_t started = 0, succeeded = 0, failed = 0;  // of this row, since the segment was made
  std::uint32_t stop_mode = 0;
  bool keeper = false;
  std::uint64_t supervisor = 0;
};

struct TaskNameStats {
  std::uint32_t id = 0;
  std::string name;
  base::HistogramSummary duration;
  std::uint64_t failed = 0, retried = 0;
};

// One task, for `task show`.
struct TaskInfo {
  TaskId id;
  shm::State state = shm::State::kFree;
  OutcomeKind outcome = OutcomeKind::kNone;
  std::string state_name;  // reference §1: queued, delayed, running, succeeded, failed, retried, cancelled, dead
  std::string queue, task;
  std::uint32_t priority = 0, max_retries = 0;
  shm::Tally tally;
  std::int64_t enqueued_ns = 0, due_ns = 0;
  std::uint32_t worker = 0;  // roster index + 1 while running
  std::string worker_name;
  std::uint32_t payload_bytes = 0;
  bool in_place = false;
  bool auto_renew = true;
  std::vector<std::byte> payload;
  std::string headers, meta;
  bool has_extras = false;
  TaskExtras asked;  // of what was asked for the numbers; its texts are empty
  std::optional<FailureRecord> failure;
  bool has_progress = false;
  double progress = 0;
  std::string progress_data;
  std::vector<std::byte> result;
};

// As in TaskInfo::state_name. `outcome`: of the grant that the task stands at.
const char* name_of_state(shm::State state, std::uint32_t attempts, OutcomeKind outcome) noexcept;

// Whose word counts for how many leases a worker holds: the slab's, all of which is read, or that of its last claim.
enum class HeldBy : std::uint8_t { kSlab, kClaim };

class Query {
 public:
  explicit Query(Engine& engine) : engine_(engine), segment_(engine.segment()) {}

  // All queues; one scan of the slab.
  std::vector<QueueStats> queues() const;
  std::vector<WorkerStats> workers(HeldBy held_by = HeldBy::kSlab) const;
  std::vector<TaskNameStats> task_names() const;
  // Empty when the id was never used here or its task is over and forgotten.
  std::optional<TaskInfo> task(TaskId id) const;
  CounterTotals counters(std::uint32_t queue) const;

 private:
  std::optional<TaskInfo> task_in_slot(TaskId id) const;

  Engine& engine_;
  shm::Segment& segment_;
};

// A finished task's kept result. kPending: not over yet; kGone: no such task, or its result has expired.
enum class ResultState : std::uint8_t { kPending, kSucceeded, kFailed, kCancelled, kDead, kGone };
ResultState read_result(Engine& engine, TaskId id, std::vector<std::byte>& bytes, FailureRecord& failure) noexcept;

}  // namespace stem::engine
