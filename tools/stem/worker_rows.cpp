#include "tools/stem/worker_rows.hpp"

#include <ctime>
#include <utility>

#include "base/clock.hpp"

namespace stem::cli {
namespace {

constexpr std::int64_t kLookEveryNs = 200'000;

}  // namespace

Result<void> check_queues(const Attachment& attachment, const WorkerSelection& selection) {
  for (const std::string& name : selection.queues)
    if (const auto id = queue_named(attachment.segment(), name); !id.ok()) return id.error();
  return {};
}

void ask_workers(const Attachment& attachment, std::vector<WorkerRow>& rows, worker::Command command,
                 std::uint32_t argument, std::int64_t timeout_ns) {
  const std::int64_t started_ns = base::monotonic_ns();
  worker::RollCall call(attachment.segment(), std::move(rows), command, argument, started_ns);
  while (!call.look(base::monotonic_ns()) && base::monotonic_ns() - started_ns < timeout_ns) {
    const timespec pause{0, kLookEveryNs};
    ::nanosleep(&pause, nullptr);
  }
  rows = std::move(call.rows());
}

}  // namespace stem::cli
