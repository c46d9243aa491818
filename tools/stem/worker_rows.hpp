// Workers of this host for commands: worker/roll_call.hpp with a command's attachment.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/stem/attachment.hpp"
#include "worker/roll_call.hpp"

namespace stem::cli {

using worker::WorkerRow;
using worker::WorkerSelection;

// kNotFound, with the nearest name, for a queue that does not exist.
Result<void> check_queues(const Attachment& attachment, const WorkerSelection& selection);

// Asks each and waits for the answers, at most `timeout_ns`.
void ask_workers(const Attachment& attachment, std::vector<WorkerRow>& rows, worker::Command command,
                 std::uint32_t argument, std::int64_t timeout_ns);

}  // namespace stem::cli
