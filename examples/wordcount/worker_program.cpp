#include "worker_program.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>

WorkerProgram::WorkerProgram(const std::string& name_space, int processes) {
  const std::string program =
      std::filesystem::read_symlink("/proc/self/exe").parent_path() / "example_wordcount_worker";
  const std::string count = std::to_string(processes);
  std::fflush(nullptr);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    const int nowhere = ::open("/dev/null", O_WRONLY);
    ::dup2(nowhere, STDOUT_FILENO);
    ::setenv("STEM_LOG", "error", 0);
    ::execl(program.c_str(), program.c_str(), "--namespace", name_space.c_str(), "--queue", "files", "--concurrency",
            count.c_str(), static_cast<char*>(nullptr));
    std::perror(program.c_str());
    ::_exit(127);
  }
}

WorkerProgram::~WorkerProgram() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGTERM);
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (::waitpid(pid_, nullptr, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > patience) ::kill(pid_, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

bool WorkerProgram::running() {
  if (pid_ > 0 && ::waitpid(pid_, nullptr, WNOHANG) == pid_) pid_ = -1;
  return pid_ > 0;
}
