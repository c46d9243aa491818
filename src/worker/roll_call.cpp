#include "worker/roll_call.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "shm/names.hpp"

namespace stem::worker {
namespace {

bool serves(const shm::Segment& segment, std::uint32_t row, const std::vector<std::string>& queues) {
  if (segment.row(row).serves_all.load(std::memory_order_relaxed) != 0) return true;
  return std::any_of(queues.begin(), queues.end(), [&](const std::string& name) {
    const auto queue = shm::find_queue(segment, name);
    return queue && (segment.subscription(row)[*queue / 64].load(std::memory_order_relaxed) >> (*queue % 64) & 1) != 0;
  });
}

bool leads_one_that_serves(const shm::Segment& segment, const engine::WorkerStats& supervisor,
                           const std::vector<engine::WorkerStats>& all, const std::vector<std::string>& queues) {
  const std::uint64_t self = supervisor.incarnation << 12 | (supervisor.participant + 1);
  return std::any_of(all.begin(), all.end(), [&](const engine::WorkerStats& w) {
    return w.role == shm::Role::kWorker && w.state == shm::RowState::kLive && w.supervisor == self &&
           serves(segment, w.participant, queues);
  });
}

// Its supervisor's name, while that lives; otherwise its own without the number.
std::string node_of(const shm::Segment& segment, const engine::WorkerStats& stats) {
  const auto index = static_cast<std::uint32_t>(stats.supervisor & 0xfff);
  if (index != 0 && index <= segment.geometry().participant_count) {
    const shm::RosterRow& row = segment.row(index - 1);
    if (shm::row_incarnation(row.status.load(std::memory_order_acquire)) == stats.supervisor >> 12)
      return std::string(row.name, ::strnlen(row.name, sizeof row.name));
  }
  return stats.name.substr(0, stats.name.rfind('-'));
}

}  // namespace

std::vector<WorkerRow> select_workers(engine::Engine& engine, const WorkerSelection& selection,
                                      std::vector<std::string>& unknown) {
  const shm::Segment& segment = engine.segment();
  std::vector<WorkerRow> rows;
  std::vector<bool> known(selection.names.size(), false);
  std::vector<engine::WorkerStats> all = engine::Query(engine).workers();
  for (const engine::WorkerStats& stats : all) {
    const bool supervisor = stats.role == shm::Role::kSupervisor;
    if (!supervisor && stats.role != shm::Role::kWorker) continue;
    if (stats.state != shm::RowState::kLive && stats.state != shm::RowState::kDead) continue;
    WorkerRow row;
    row.supervisor = supervisor;
    row.node = supervisor ? stats.name : node_of(segment, stats);
    bool wanted = selection.names.empty();
    for (std::size_t i = 0; i < selection.names.size(); ++i) {
      if (selection.names[i] != stats.name && selection.names[i] != row.node) continue;
      wanted = true;
      known[i] = true;
    }
    if (!selection.queues.empty()) {
      wanted = wanted && (supervisor ? leads_one_that_serves(segment, stats, all, selection.queues)
                                     : serves(segment, stats.participant, selection.queues));
    }
    row.stats = stats;
    if (wanted) rows.push_back(std::move(row));
  }
  for (std::size_t i = 0; i < known.size(); ++i)
    if (!known[i]) unknown.push_back(selection.names[i]);
  std::sort(rows.begin(), rows.end(), [](const WorkerRow& a, const WorkerRow& b) {
    if (a.node != b.node) return a.node < b.node;
    if (a.supervisor != b.supervisor) return a.supervisor;
    return a.stats.name.size() != b.stats.name.size() ? a.stats.name.size() < b.stats.name.size()
                                                      : a.stats.name < b.stats.name;
  });
  return rows;
}

RollCall::RollCall(shm::Segment& segment, std::vector<WorkerRow> rows, Command command, std::uint32_t argument,
                   std::int64_t now_ns)
    : segment_(segment), rows_(std::move(rows)), started_ns_(now_ns) {
  for (const WorkerRow& row : rows_)
    numbers_.push_back(send_request(segment, row.stats.participant, row.stats.incarnation, command, argument));
}

bool RollCall::look(std::int64_t now_ns) {
  bool all = true;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    WorkerRow& row = rows_[i];
    ControlReply reply;
    if (row.answered || row.left) continue;
    if (!read_reply(segment_, row.stats.participant, numbers_[i], reply)) {
      all = false;
      continue;
    }
    row.left = reply.answer == Answer::kLeft;
    if (row.left) continue;
    row.answered = true;
    row.answered_after_ns = now_ns - started_ns_;
    row.value = reply.value;
    row.refused = reply.answer == Answer::kRefused;
  }
  return all;
}

std::string state_text(const WorkerRow& row) {
  if (row.stats.state == shm::RowState::kDead || row.stats.signalled_dead) return "dead";
  if (row.left) return "left";
  if (!row.answered) return "silent";
  if (row.value & kStoppingValue) return "stopping";
  if (row.value & kPausedValue) return "paused";
  if (row.supervisor) return "watching";
  return row.stats.inflight > 0 ? "busy" : "idle";
}

}  // namespace stem::worker
