// A server that the bench starts for itself, in a directory of its own, and takes away again.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace stem::bench {

// A new directory below `base`, or below $TMPDIR or /tmp; removed with everything in it.
class TemporaryDirectory {
 public:
  explicit TemporaryDirectory(const std::string& base = {});
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

// The full path of a program in $PATH, or in the directories where servers are installed.
std::optional<std::string> find_program(const std::string& name);

class ServerProcess {
 public:
  // Starts `command` (full path first), its output going to `log_path`, and waits until `ready` says so.
  // Throws Failure with the end of the log when it dies or is not ready within ten seconds.
  ServerProcess(const std::vector<std::string>& command, const std::string& log_path,
                const std::function<bool()>& ready);
  // SIGTERM to this one process; SIGKILL when that does not help within two seconds.
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  pid_t pid() const noexcept { return pid_; }

 private:
  void stop() noexcept;
  bool wait_for_exit(int timeout_ms) noexcept;

  pid_t pid_ = 0;
  int pidfd_ = -1;
};

}  // namespace stem::bench
