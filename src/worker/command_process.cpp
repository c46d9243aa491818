#include "worker/command_process.hpp"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <vector>

#include "io/child.hpp"

namespace stem::worker {
namespace {

// Our environment, with the task's own words in front.
class Environment {
 public:
  explicit Environment(const TaskContext& context)
      : own_{"STEM_TASK_ID=" + context.id(), "STEM_TASK_NAME=" + std::string(context.task_name()),
             "STEM_TASK_QUEUE=" + std::string(context.queue_name()),
             "STEM_TASK_ATTEMPT=" + std::to_string(context.attempt())} {
    for (std::string& entry : own_) entries_.push_back(entry.data());
    for (char** entry = environ; *entry != nullptr; ++entry)
      if (!std::string_view(*entry).starts_with("STEM_TASK_")) entries_.push_back(*entry);
    entries_.push_back(nullptr);
  }
  char** entries() { return entries_.data(); }

 private:
  std::string own_[4];
  std::vector<char*> entries_;
};

// Between fork and exec of a process with threads: async-signal-safe calls only.
[[noreturn]] void become_command(const char* command, char** environment, const CommandPipes& pipes, pid_t parent) {
  io::prepare_child(parent);
  pipes.become_standard();
  const char* const arguments[] = {"sh", "-c", command, nullptr};
  ::execve("/bin/sh", const_cast<char* const*>(arguments), environment);
  ::_exit(127);
}

}  // namespace

// Not posix_spawn: it cannot ask for a death signal, and without one a command outlives its worker. The
// segment is no part of what fork copies (MADV_DONTFORK), so a fork costs what the worker's own memory costs.
CommandProcess start_command(const std::string& command, const TaskContext& context, CommandPipes& pipes) {
  Environment environment(context);
  const pid_t parent = ::getpid();
  CommandProcess process;
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);  // our handlers are not for the child
  process.pid = ::fork();
  if (process.pid == 0) become_command(command.c_str(), environment.entries(), pipes, parent);
  const int error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pipes.close_far_ends();
  if (process.pid > 0) {
    ::setpgid(process.pid, process.pid);  // both sides do it: neither waits for the other
    process.pidfd = static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0));
  }
  errno = error;
  return process;
}

}  // namespace stem::worker
