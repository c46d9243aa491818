#include "worker/exec_handler.hpp"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <stop_token>

#include "shm/limits.hpp"
#include "worker/command_pipes.hpp"
#include "worker/command_process.hpp"

namespace stem::worker {
namespace {

std::string signal_text(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return std::string("SIG") + (name == nullptr ? std::to_string(signal) : name);
}

std::string message_of(const std::string& stderr_tail, const std::string& otherwise) {
  const std::size_t end = stderr_tail.find_last_not_of(" \n\r\t");
  return end == std::string::npos ? otherwise : stderr_tail.substr(0, end + 1);
}

Outcome outcome_of(int status, CommandOutput& output) {
  if (WIFSIGNALED(status)) {
    const std::string name = signal_text(WTERMSIG(status));
    return Outcome::fail(name, message_of(output.error_tail, "the command was killed by " + name));
  }
  const int code = WEXITSTATUS(status);
  const std::string text = message_of(output.error_tail, "the command ended with exit code " + std::to_string(code));
  const std::string kind = "exit-" + std::to_string(code);
  switch (code) {
    case EX_OK:
      if (output.too_large)
        return Outcome::fail_permanently("result-too-large", "the command wrote more than 1 MiB to its stdout");
      return Outcome::success(std::move(output.result));
    case EX_TEMPFAIL: return Outcome::retry(text);
    case EX_DATAERR: return Outcome::fail_permanently(kind, text);
    default: return Outcome::fail(kind, text);
  }
}

Outcome run_command(const std::string& command, TaskContext& context) {
  CommandPipes pipes;
  if (!pipes.open()) return Outcome::fail("exec", system_error("pipes for the command").message);
  const CommandProcess process = start_command(command, context, pipes);
  if (process.pid < 0) return Outcome::fail("exec", system_error("start the command").message);
  context.note_command_group(process.pid);
  CommandOutput output;
  {
    // The group exists until it is reaped below, so the callback cannot hit a stranger.
    const std::stop_callback on_stop(context.stop_token(), [&] { ::kill(-process.pid, SIGTERM); });
    pipes.exchange(context.payload(), process.pidfd, output);
  }
  ::kill(-process.pid, SIGKILL);
  int status = 0;
  while (::waitpid(process.pid, &status, 0) < 0 && errno == EINTR) {
  }
  context.note_command_group(0);
  if (process.pidfd >= 0) ::close(process.pidfd);
  return outcome_of(status, output);
}

}  // namespace

HandlerEntry exec_handler(std::string command) {
  HandlerEntry entry;
  entry.kind = "exec";
  entry.detail = command;
  entry.run = [command = std::move(command)](TaskContext& context) { return run_command(command, context); };
  return entry;
}

Result<std::pair<std::string, std::string>> parse_exec(std::string_view text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0 || equals + 1 == text.size())
    return Error{Errc::kInvalidArgument, "'" + std::string(text) + "' is not NAME=COMMAND, as in 'count=wc -w'"};
  return std::pair{std::string(text.substr(0, equals)), std::string(text.substr(equals + 1))};
}

}  // namespace stem::worker
