#include "bench/processes.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "bench/failure.hpp"
#include "bench/measure.hpp"

namespace stem::bench {

namespace {

volatile std::sig_atomic_t interrupt_signal = 0;

void note_interrupt(int signal) { interrupt_signal = signal; }

constexpr int kChildFailed = 70;
constexpr int kGateSpins = 100'000;  // some milliseconds

struct Reason {
  std::array<char, 400> text{};
};

class Children {
 public:
  explicit Children(std::size_t count) : reasons_(count * sizeof(Reason)) {}

  ~Children() {
    for (Child& child : children_) end(child);
  }
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;

  void start(const Role& role) {
    Reason& reason = reasons()[children_.size()];
    const pid_t parent = getpid();
    std::fflush(nullptr);  // or buffered text would be printed once more by the child
    const pid_t pid = fork();
    if (pid < 0) fail_with_errno("fork");
    if (pid == 0) play(role, reason, parent);
    Child child{pid, static_cast<int>(syscall(SYS_pidfd_open, pid, 0))};
    children_.push_back(child);
    if (child.pidfd < 0) fail_with_errno("pidfd_open");
  }

  void wait_all(std::chrono::milliseconds deadline) {
    const auto until = std::chrono::steady_clock::now() + deadline;
    for (std::size_t left = children_.size(); left > 0; --left) reap_one(until);
  }

 private:
  struct Child {
    pid_t pid = 0;  // 0 once reaped
    int pidfd = -1;
  };

  Reason* reasons() const { return static_cast<Reason*>(reasons_.data()); }

  [[noreturn]] static void play(const Role& role, Reason& reason, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(kChildFailed);  // the parent died before the line above
    int code = kChildFailed;
    try {
      if (role.cpu != kAnyCpu) pin_to_cpu(role.cpu);
      role.body();
      code = 0;
    } catch (const std::exception& error) {
      std::snprintf(reason.text.data(), reason.text.size(), "%s", error.what());
    }
    _exit(code);  // no destructors and no exit handlers of the parent's objects
  }

  void reap_one(std::chrono::steady_clock::time_point until) {
    while (true) {
      std::vector<pollfd> fds;
      for (const Child& child : children_) {
        if (child.pid != 0) fds.push_back({child.pidfd, POLLIN, 0});
      }
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
      if (left.count() <= 0) throw Failure("a benchmark process did not finish in time");
      // A signal that comes just before poll would be slept through; the cap bounds that.
      const auto wait_ms = std::min<std::int64_t>(left.count(), 200);
      const int ready = poll(fds.data(), fds.size(), static_cast<int>(wait_ms));
      if (interrupted()) throw Failure("interrupted");
      if (ready < 0 && errno != EINTR) fail_with_errno("poll");
      for (std::size_t i = 0; i < children_.size(); ++i) {
        int status = 0;
        if (children_[i].pid == 0 || waitpid(children_[i].pid, &status, WNOHANG) <= 0) continue;
        children_[i].pid = 0;
        check(i, status);
        return;
      }
    }
  }

  void check(std::size_t index, int status) const {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    const char* reason = reasons()[index].text.data();
    if (reason[0] != '\0') throw Failure(reason);
    if (WIFSIGNALED(status)) {
      throw Failure(fmt::format("benchmark process {} died of signal {} ({})", index, WTERMSIG(status),
                                strsignal(WTERMSIG(status))));
    }
    throw Failure(fmt::format("benchmark process {} ended with code {}", index, WEXITSTATUS(status)));
  }

  static void end(Child& child) {
    if (child.pid != 0) {
      kill(child.pid, SIGKILL);
      waitpid(child.pid, nullptr, 0);
    }
    if (child.pidfd >= 0) close(child.pidfd);
  }

  SharedMemory reasons_;
  std::vector<Child> children_;
};

}  // namespace

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) fail_with_errno("sched_getaffinity");
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &set)) cpus.push_back(cpu);
  }
  return cpus;
}

void pin_to_cpu(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(cpu), &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) fail_with_errno(fmt::format("pin to CPU {}", cpu));
}

SharedMemory::SharedMemory(std::size_t bytes) : bytes_(bytes == 0 ? 1 : bytes) {
  data_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (data_ == MAP_FAILED) fail_with_errno(fmt::format("map {} bytes of shared memory", bytes_));
}

SharedMemory::~SharedMemory() { munmap(data_, bytes_); }

void StartGate::arrive_and_wait(std::uint32_t parties) noexcept {
  // order(bench.gate): release and acquire; what a party wrote before the gate is seen after it
  arrived_.fetch_add(1, std::memory_order_acq_rel);
  for (int looks = 0; arrived_.load(std::memory_order_acquire) < parties; ++looks) {
    if (looks < kGateSpins) {
      cpu_relax();
    } else {
      const timespec nap{0, 50'000};
      nanosleep(&nap, nullptr);
    }
  }
}

void run_processes(const std::vector<Role>& roles, std::chrono::milliseconds deadline) {
  ns_per_tick();  // measured here once, not in every child
  Children children(roles.size());
  for (const Role& role : roles) children.start(role);
  children.wait_all(deadline);
}

void run_pair(CpuPair cpus, std::function<void()> first, std::function<void()> second,
              std::chrono::milliseconds deadline) {
  run_processes({{cpus.first, std::move(first)}, {cpus.second, std::move(second)}}, deadline);
}

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = note_interrupt;  // no SA_RESTART: poll must return
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() noexcept { return interrupt_signal != 0; }

}  // namespace stem::bench
