// Worker processes and supervisors as the command line addresses them: by name, by node (a supervisor's
// name stands for it and all its processes), by queue, or all.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/query.hpp"
#include "tools/stem/attachment.hpp"

namespace stem::cli {

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

// kNotFound, with the nearest name, for a queue that does not exist.
Result<void> check_queues(const Attachment& attachment, const WorkerSelection& selection);

// Live rows, supervisors first, each before its processes. Names that nobody has come back in
// `unknown`. A supervisor serves what one of its processes serves.
std::vector<WorkerRow> select_workers(const Attachment& attachment, const WorkerSelection& selection,
                                      std::vector<std::string>& unknown);

// Asks each and waits for the answers, at most `timeout_ns`.
void ask_workers(const Attachment& attachment, std::vector<WorkerRow>& rows, std::uint8_t command,
                 std::uint32_t argument, std::int64_t timeout_ns);

// "busy", "idle", "paused", "stopping", "silent", "dead"; a supervisor is "watching".
std::string state_text(const WorkerRow& row);

}  // namespace stem::cli
