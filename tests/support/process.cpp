#include "tests/support/process.hpp"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "tests/support/wait.hpp"

namespace stem::test {

Process::Process(const std::function<int()>& body) {
  std::fflush(nullptr);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) {
    std::perror("fork");
    std::abort();
  }
  if (pid_ != 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(99);
  const int code = body();
  std::fflush(nullptr);
  ::_exit(code);
}

Process::~Process() { kill(); }

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), code_(std::exchange(other.code_, -1)) {}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    kill();
    pid_ = std::exchange(other.pid_, -1);
    code_ = std::exchange(other.code_, -1);
  }
  return *this;
}

void Process::reaped(int status) {
  code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  pid_ = -1;
}

bool Process::running() {
  if (pid_ <= 0) return false;
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return true;
  reaped(status);
  return false;
}

void Process::signal(int number) const {
  if (pid_ > 0) ::kill(pid_, number);
}

void Process::stop() const {
  signal(SIGSTOP);
  siginfo_t info{};
  if (pid_ > 0) ::waitid(P_PID, static_cast<id_t>(pid_), &info, WSTOPPED | WEXITED | WNOWAIT);
}

void Process::resume() const { signal(SIGCONT); }

void Process::kill() {
  if (pid_ <= 0) return;
  signal(SIGKILL);
  int status = 0;
  if (::waitpid(pid_, &status, 0) == pid_) reaped(status);
  pid_ = -1;
}

int Process::wait(int deadline_ms) {
  if (!wait_until([this] { return !running(); }, std::chrono::milliseconds(deadline_ms))) {
    kill();
    code_ = 128 + SIGKILL;
  }
  return code_;
}

}  // namespace stem::test
