// Worker processes and supervisors as commands address them: by name, by node (a supervisor's name stands for it and all
// its processes), by queue, or all; and the asking of each. For command lines, and for the gateway that asks in the name
// of another host.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/query.hpp"
#include "worker/control.hpp"

namespace stem::worker {

struct WorkerSelection {
  std::vector<std::string> names;   // none = every one
  std::vector<std::string> queues;  // of those that serve one of these; none = any

  [[nodiscard]] bool everyone() const { return names.empty() && queues.empty(); }
};

struct WorkerRow {
  engine::WorkerStats stats;
  std::string node;
  bool supervisor = false;
  bool answered = false;
  std::int64_t answered_after_ns = 0;
  std::uint32_t value = 0;  // of the reply
  bool refused = false;
  bool left = false;  // it was gone before it answered
};

// Live rows, supervisors first, each before its processes. Names that nobody has come back in
// `unknown`. A supervisor serves what one of its processes serves.
std::vector<WorkerRow> select_workers(engine::Engine& engine, const WorkerSelection& selection,
                                      std::vector<std::string>& unknown);

// "busy", "idle", "paused", "stopping", "silent", "dead"; a supervisor is "watching".
std::string state_text(const WorkerRow& row);

// One question to many workers.
class RollCall {
 public:
  RollCall(shm::Segment& segment, std::vector<WorkerRow> rows, Command command, std::uint32_t argument,
           std::int64_t now_ns);
  // Notes who has answered; true when all have, or have gone.
  bool look(std::int64_t now_ns);
  std::vector<WorkerRow>& rows() { return rows_; }

 private:
  shm::Segment& segment_;
  std::vector<WorkerRow> rows_;
  std::vector<std::uint32_t> numbers_;
  std::int64_t started_ns_;
};

}  // namespace stem::worker
