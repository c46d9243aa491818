#include "tools/stem/worker_rows.hpp"

#include <algorithm>
#include <cstring>
#include <ctime>

#include "base/clock.hpp"
#include "shm/names.hpp"
#include "worker/control.hpp"

namespace stem::cli {
namespace {

constexpr std::int64_t kLookEveryNs = 200'000;

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

Result<void> check_queues(const Attachment& attachment, const WorkerSelection& selection) {
  for (const std::string& name : selection.queues)
    if (const auto id = queue_named(attachment.segment(), name); !id.ok()) return id.error();
  return {};
}

std::vector<WorkerRow> select_workers(const Attachment& attachment, const WorkerSelection& selection,
                                      std::vector<std::string>& unknown) {
  const shm::Segment& segment = attachment.segment();
  std::vector<WorkerRow> rows;
  std::vector<bool> known(selection.names.size(), false);
  std::vector<engine::WorkerStats> all = engine::Query(attachment.engine()).workers();
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

void ask_workers(const Attachment& attachment, std::vector<WorkerRow>& rows, std::uint8_t command,
                 std::uint32_t argument, std::int64_t timeout_ns) {
  shm::Segment& segment = attachment.segment();
  std::vector<std::uint32_t> numbers;
  const std::int64_t started = base::monotonic_ns();
  for (const WorkerRow& row : rows)
    numbers.push_back(worker::send_request(segment, row.stats.participant, row.stats.incarnation,
                                           static_cast<worker::Command>(command), argument));
  for (;;) {
    bool all = true;
    const std::int64_t now = base::monotonic_ns();
    for (std::size_t i = 0; i < rows.size(); ++i) {
      worker::ControlReply reply;
      if (rows[i].answered || rows[i].left) continue;
      if (!worker::read_reply(segment, rows[i].stats.participant, numbers[i], reply)) {
        all = false;
        continue;
      }
      rows[i].left = reply.answer == worker::Answer::kLeft;
      if (rows[i].left) continue;
      rows[i].answered = true;
      rows[i].answered_after_ns = now - started;
      rows[i].value = reply.value;
      rows[i].refused = reply.answer == worker::Answer::kRefused;
    }
    if (all || now - started >= timeout_ns) return;
    const timespec pause{0, kLookEveryNs};
    ::nanosleep(&pause, nullptr);
  }
}

std::string state_text(const WorkerRow& row) {
  if (row.stats.state == shm::RowState::kDead || row.stats.signalled_dead) return "dead";
  if (row.left) return "left";
  if (!row.answered) return "silent";
  if (row.value & worker::kStoppingValue) return "stopping";
  if (row.value & worker::kPausedValue) return "paused";
  if (row.supervisor) return "watching";
  return row.stats.inflight > 0 ? "busy" : "idle";
}

}  // namespace stem::cli
