// Starting a task's command: a process that cannot outlive its worker.
#pragma once

#include <sys/types.h>

#include <string>

#include "worker/command_pipes.hpp"
#include "worker/task_context.hpp"

namespace stem::worker {

struct CommandProcess {
  pid_t pid = -1;  // leads its own process group; -1 = it could not be started, errno says why
  int pidfd = -1;  // readable when the command has ended; -1 on kernels without
};

CommandProcess start_command(const std::string& command, const TaskContext& context, CommandPipes& pipes);

}  // namespace stem::worker
