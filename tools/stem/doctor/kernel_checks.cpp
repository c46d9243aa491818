// What the kernel lets us do, each thing tried: io_uring, futex_waitv, pidfd, OFD locks, the death signal
// of a robust futex; and what it does with core dumps.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <vector>

#include "base/units.hpp"
#include "tools/stem/doctor/finding.hpp"
#include "tools/stem/doctor/host_files.hpp"

namespace stem::cli {
namespace {

// Newer than the headers of Debian 12.
constexpr int kFutexWaitOperation = 51;  // IORING_OP_FUTEX_WAIT, Linux 6.7
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

class Descriptor {
 public:
  explicit Descriptor(long fd) : fd_(static_cast<int>(fd)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }

 private:
  int fd_;
};

bool uring_has_operation(int uring, int operation) {
  constexpr unsigned kOperations = 256;
  std::vector<char> memory(sizeof(io_uring_probe) + kOperations * sizeof(io_uring_probe_op));
  auto* probe = reinterpret_cast<io_uring_probe*>(memory.data());
  if (syscall(SYS_io_uring_register, uring, IORING_REGISTER_PROBE, probe, kOperations) != 0) {
    return false;
  }
  return operation <= probe->last_op && (probe->ops[operation].flags & IO_URING_OP_SUPPORTED) != 0;
}

std::string uring_refusal(int error) {
  const auto sysctl = read_first_line("/proc/sys/kernel/io_uring_disabled").value_or("0");
  if (error == EPERM && sysctl != "0") {
    return fmt::format("refused: kernel.io_uring_disabled is {}", sysctl);
  }
  if (error == EPERM || error == EACCES) return "refused, most likely by the container's seccomp profile";
  if (error == ENOSYS) return "not in this kernel, or hidden by the container's seccomp profile";
  return fmt::format("refused: {}", std::strerror(error));
}

Finding check_io_uring() {
  Finding finding{.name = "io_uring",
                  .found = "allowed",
                  .why =
                      "coroutine handlers and the journal do their I/O through it; without it they fall "
                      "back to epoll and plain writes, which is slower",
                  .mend =
                      "allow it (containers: a seccomp profile that allows io_uring_setup, io_uring_enter and "
                      "io_uring_register)",
                  .command = "sudo sysctl kernel.io_uring_disabled=0"};
  io_uring_params params{};
  const Descriptor uring(syscall(SYS_io_uring_setup, 8, &params));
  if (!uring.valid()) {
    finding.verdict = Verdict::kWarn;
    finding.found = uring_refusal(errno);
    return finding;
  }
  finding.found += uring_has_operation(uring.get(), kFutexWaitOperation)
                       ? ", and it can wait on futexes (Linux 6.7)"
                       : "; waiting on futexes through it needs Linux 6.7, an eventfd serves till then";
  return finding;
}

Finding check_futex_waitv() {
  Finding finding{.name = "futex_waitv",
                  .found = "available",
                  .why = "a supervisor waits for the death of many workers in one call",
                  .mend = "Linux 5.16 or newer (containers: a seccomp profile that allows futex_waitv)"};
  struct {
    std::uint64_t value;
    std::uint64_t address;
    std::uint32_t flags;
    std::uint32_t reserved;
  } waiter{};
  const std::uint32_t word = 1;
  constexpr std::uint32_t kSize32 = 2;
  waiter.value = 0;  // not what the word holds: an answer at once instead of a wait
  waiter.address = reinterpret_cast<std::uint64_t>(&word);
  waiter.flags = kSize32;
  const long result = syscall(SYS_futex_waitv, &waiter, 1U, 0U, nullptr, 0);
  if (result == -1 && errno == EAGAIN) return finding;
  finding.verdict = Verdict::kWarn;
  finding.found = fmt::format("not available: {}", std::strerror(errno));
  return finding;
}

Finding check_pidfd() {
  Finding finding{.name = "pidfd",
                  .found = "available",
                  .why =
                      "a supervisor learns of a worker's end, and signals it, without ever hitting "
                      "another process that got the same number",
                  .mend = "Linux 5.3 or newer (containers: a seccomp profile that allows pidfd_open)"};
  const pid_t child = fork();
  if (child == 0) _exit(0);
  std::string problem;
  if (child < 0) {
    problem = fmt::format("fork: {}", std::strerror(errno));
  } else {
    const Descriptor pidfd(syscall(SYS_pidfd_open, child, 0));
    if (!pidfd.valid()) {
      problem = std::strerror(errno);
    } else {
      pollfd waiting{pidfd.get(), POLLIN, 0};
      if (poll(&waiting, 1, 5'000) != 1) problem = "it does not tell that a child ended";
    }
    waitpid(child, nullptr, 0);
  }
  if (!problem.empty()) {
    finding.verdict = Verdict::kWarn;
    finding.found = fmt::format("not available: {}", problem);
  }
  return finding;
}

// Two open file descriptions of one file, as two processes would have.
std::string try_ofd_locks() {
  char path[] = "/dev/shm/.stem-doctor-XXXXXX";
  const Descriptor first(mkostemp(path, O_CLOEXEC));
  if (!first.valid()) return fmt::format("{}: {}", path, std::strerror(errno));
  const Descriptor second(open(path, O_RDWR | O_CLOEXEC));
  unlink(path);
  if (!second.valid()) return fmt::format("{}: {}", path, std::strerror(errno));
  struct flock range {};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  range.l_len = 1;
  if (fcntl(first.get(), F_OFD_SETLK, &range) != 0) return std::strerror(errno);
  if (fcntl(second.get(), F_OFD_SETLK, &range) == 0) return "a second holder got the same lock";
  if (errno != EAGAIN && errno != EACCES) return std::strerror(errno);
  range.l_type = F_UNLCK;
  if (fcntl(first.get(), F_OFD_SETLK, &range) != 0) return std::strerror(errno);
  range.l_type = F_WRLCK;
  if (fcntl(second.get(), F_OFD_SETLK, &range) != 0) return "a lock given back stays taken";
  return "";
}

Finding check_ofd_locks() {
  Finding finding{.name = "ofd-locks",
                  .found = "they exclude and are given back",
                  .why =
                      "the lock that the kernel drops when a process ends is the proof of its death; "
                      "without it nothing that a dead process held can be reclaimed",
                  .mend = "Linux 3.15 or newer, and a real tmpfs on /dev/shm"};
  if (const std::string problem = try_ofd_locks(); !problem.empty()) {
    finding.verdict = Verdict::kFail;
    finding.found = problem;
  }
  return finding;
}

std::int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

// A child takes a robust mutex and is killed; returns how long the mutex took to say so, or -1.
std::int64_t death_signal_ns() {
  auto* mutex = static_cast<pthread_mutex_t*>(
      mmap(nullptr, sizeof(pthread_mutex_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (mutex == MAP_FAILED) return -1;
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(mutex, &attributes);
  int ready[2];
  if (pipe2(ready, O_CLOEXEC) != 0) return -1;
  const Descriptor reading(ready[0]);
  const pid_t child = fork();
  if (child == 0) {
    pthread_mutex_lock(mutex);
    const bool told = write(ready[1], "x", 1) == 1;
    while (told) pause();
    _exit(1);
  }
  close(ready[1]);
  std::int64_t took = -1;
  char byte = 0;
  if (child > 0 && read(reading.get(), &byte, 1) == 1) {
    timespec deadline{};
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 2;
    const std::int64_t killed = now_ns();
    kill(child, SIGKILL);
    if (pthread_mutex_timedlock(mutex, &deadline) == EOWNERDEAD) took = now_ns() - killed;
  }
  if (child > 0) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  munmap(mutex, sizeof(pthread_mutex_t));
  return took;
}

Finding check_death_signal() {
  Finding finding{.name = "death-signal",
                  .found = {},
                  .why =
                      "what a killed worker held is redelivered when the kernel marks its robust "
                      "futex, before it takes the memory down",
                  .mend =
                      "a kernel with CONFIG_FUTEX (containers: a seccomp profile that allows "
                      "set_robust_list)"};
  const std::int64_t took = death_signal_ns();
  if (took < 0) {
    finding.verdict = Verdict::kFail;
    finding.found = "a killed process did not leave its robust mutex";
    return finding;
  }
  finding.found = fmt::format("a killed process was noticed after {}", base::human_duration(took));
  return finding;
}

Finding check_core_pattern() {
  Finding finding{.name = "core-dumps",
                  .found = {},
                  .why =
                      "a crashing worker keeps its memory, and the kernel's notice of its death, until "
                      "the dump is written: 0.1 to 1 s",
                  .mend =
                      "write dumps to files, and no dumps of workers at all where nobody reads them (ulimit -c "
                      "0)",
                  .command = "echo core | sudo tee /proc/sys/kernel/core_pattern"};
  const auto pattern = read_first_line("/proc/sys/kernel/core_pattern").value_or("");
  rlimit limit{};
  getrlimit(RLIMIT_CORE, &limit);
  if (pattern.starts_with('|')) {
    // A pipe is fed whatever ulimit -c says, and its reader sets the pace.
    const std::string program = pattern.substr(1, pattern.find(' ') - 1);
    finding.verdict = Verdict::kWarn;
    finding.found = fmt::format("dumps are piped to {}, which sets the pace", program);
    finding.why += "; the crash handler speaks first, but kernel signals wait";
  } else if (limit.rlim_cur == 0) {
    finding.found = "no dumps (ulimit -c 0)";
  } else {
    finding.found = fmt::format("dumps go to files named {}", pattern);
  }
  return finding;
}

Finding check_boot_id() {
  Finding finding{.name = "boot-id",
                  .found = "readable",
                  .why = "a segment knows by it that the host was started anew",
                  .mend = "mount /proc",
                  .command = "sudo mount -t proc proc /proc"};
  if (!read_first_line("/proc/sys/kernel/random/boot_id")) {
    finding.verdict = Verdict::kFail;
    finding.found = "cannot read /proc/sys/kernel/random/boot_id";
  }
  return finding;
}

}  // namespace

void check_kernel(std::vector<Finding>& findings) {
  findings.push_back(check_death_signal());
  findings.push_back(check_ofd_locks());
  findings.push_back(check_pidfd());
  findings.push_back(check_futex_waitv());
  findings.push_back(check_io_uring());
  findings.push_back(check_core_pattern());
  findings.push_back(check_boot_id());
}

}  // namespace stem::cli
