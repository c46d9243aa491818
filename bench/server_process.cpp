#include "bench/server_process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "bench/failure.hpp"
#include "bench/processes.hpp"

namespace stem::bench {

namespace {

constexpr int kStopTimeoutMs = 2000;
constexpr std::chrono::seconds kReadyTimeout{10};

std::string last_line_of(const std::string& path) {
  std::ifstream file(path);
  std::string last;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty()) last = line;
  }
  return last.empty() ? "it wrote nothing" : last;
}

[[noreturn]] void become(const std::vector<std::string>& command, const std::string& log_path, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // a bench that is killed leaves no server behind
  if (getppid() != parent) _exit(127);
  const int log = open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (log >= 0) {
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
  }
  if (nothing >= 0) dup2(nothing, STDIN_FILENO);
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  _exit(127);
}

}  // namespace

TemporaryDirectory::TemporaryDirectory(const std::string& base) {
  const char* usual = std::getenv("TMPDIR");
  const std::string below = !base.empty() ? base : usual != nullptr && *usual != '\0' ? usual : "/tmp";
  path_ = below + "/stem-bench-XXXXXX";
  if (mkdtemp(path_.data()) == nullptr) fail_with_errno("make a directory " + path_);
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;  // nothing to be done about it, and no reason to lose the figures
  std::filesystem::remove_all(path_, ignored);
}

std::optional<std::string> find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::stringstream folders(std::string(path != nullptr ? path : "") +
                            ":/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (folder.empty()) continue;
    const std::string candidate = folder + "/" + name;
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return std::nullopt;
}

ServerProcess::ServerProcess(const std::vector<std::string>& command, const std::string& log_path,
                             const std::function<bool()>& ready) {
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0) fail_with_errno("fork");
  if (pid_ == 0) become(command, log_path, parent);
  pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  const auto until = std::chrono::steady_clock::now() + kReadyTimeout;
  while (!ready()) {
    std::string trouble;
    if (interrupted()) trouble = "interrupted";
    if (std::chrono::steady_clock::now() > until) trouble = "not ready in time";
    if (wait_for_exit(2)) trouble = "it ended";  // also the pause between two tries
    if (trouble.empty()) continue;
    const std::string last = last_line_of(log_path);
    stop();
    throw Failure(fmt::format("start {}: {}: {}", command.front(), trouble, last));
  }
}

ServerProcess::~ServerProcess() { stop(); }

void ServerProcess::stop() noexcept {
  if (pid_ > 0) {
    kill(pid_, SIGTERM);
    if (!wait_for_exit(kStopTimeoutMs)) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
      pid_ = 0;
    }
  }
  if (pidfd_ >= 0) close(pidfd_);
  pidfd_ = -1;
}

// Reaps the server when it ends in time.
bool ServerProcess::wait_for_exit(int timeout_ms) noexcept {
  pollfd fd{pidfd_, POLLIN, 0};
  if (poll(&fd, 1, timeout_ms) <= 0) return false;
  waitpid(pid_, nullptr, 0);
  pid_ = 0;
  return true;
}

}  // namespace stem::bench
