// A command as a handler (--exec 'NAME=COMMAND'): payload on stdin, result on stdout, exit code = outcome.
//
//   0            success, stdout is the result (at most 1 MiB)
//   75           retry by the task's policy (EX_TEMPFAIL)
//   65           failed for good (EX_DATAERR)
//   other, or a signal   a failed attempt; the end of stderr is its message
//
// Run by /bin/sh -c in a process group of its own, with STEM_TASK_ID, STEM_TASK_NAME, STEM_TASK_QUEUE and
// STEM_TASK_ATTEMPT (from 0) set. The task ends when the command does: what it left running in its group is
// killed. A stop (soft limit, shutdown, revoke) sends SIGTERM to the group; the worker's death kills it.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/result.hpp"
#include "worker/handler_table.hpp"

namespace stem::worker {

HandlerEntry exec_handler(std::string command);

// "NAME=COMMAND" -> both.
Result<std::pair<std::string, std::string>> parse_exec(std::string_view text);

}  // namespace stem::worker
