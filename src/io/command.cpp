#include "io/command.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "io/child.hpp"
#include "io/nursery.hpp"
#include "io/operation.hpp"

namespace stem {
namespace {

// A descriptor of our own.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) noexcept : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { close(); }
  void close() noexcept {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  int get() const noexcept { return fd_; }

 private:
  int fd_ = -1;
};

struct Pipe {
  Fd read, write;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return system_error("pipe");
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

void dont_block(const Fd& fd) { ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK); }

// A program that runs, and is killed and reaped with this.
class Running {
 public:
  Running() = default;
  Running(pid_t pid, Fd pidfd) noexcept : pid_(pid), pidfd_(std::move(pidfd)) {}
  Running(Running&& other) noexcept : pid_(std::exchange(other.pid_, 0)), pidfd_(std::move(other.pidfd_)) {}
  Running& operator=(Running&& other) noexcept {
    std::swap(pid_, other.pid_);
    std::swap(pidfd_, other.pidfd_);
    return *this;
  }
  ~Running() {
    if (pid_ == 0) return;
    kill();
    (void)reap(0);
  }
  int pidfd() const noexcept { return pidfd_.get(); }
  void kill() const noexcept {
    if (pid_ == 0) return;
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);  // it may have left its group
  }
  // The status; -1 while it runs, with WNOHANG.
  int reap(int flags) noexcept {
    int status = 0;
    pid_t got = 0;
    do {
      got = ::waitpid(pid_, &status, flags);
    } while (got < 0 && errno == EINTR);
    if (got == 0) return -1;
    pid_ = 0;
    return got < 0 ? 0 : status;
  }

 private:
  pid_t pid_ = 0;
  Fd pidfd_;
};

// Between fork and exec: async-signal-safe calls only.
[[noreturn]] void become(char* const* words, const Pipe& in, const Pipe& out, const Pipe& err, const Pipe& failed,
                         pid_t parent) {
  io::prepare_child(parent);
  ::dup2(in.read.get(), 0);
  ::dup2(out.write.get(), 1);
  ::dup2(err.write.get(), 2);
  ::execvp(words[0], words);
  const int error = errno;
  (void)!::write(failed.write.get(), &error, sizeof error);
  ::_exit(127);
}

struct Started {
  Running process;
  Fd in, out, err;
};

// Not posix_spawn: it cannot ask for a death signal, and without one a program outlives its worker.
Result<Started> start(const std::vector<std::string>& words) {
  if (words.empty()) return Error{Errc::kInvalidArgument, "run a command: there is no word"};
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  Result<Pipe> in = make_pipe(), out = make_pipe(), err = make_pipe(), failed = make_pipe();
  for (const auto* pipe : {&in, &out, &err, &failed})
    if (!pipe->ok()) return pipe->error().within("run " + words[0]);
  const pid_t parent = ::getpid();
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);  // our handlers are not for the child
  const pid_t pid = ::fork();
  if (pid == 0) become(argv.data(), *in, *out, *err, *failed, parent);
  const int fork_error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return Error{Errc::kSystem, "run " + words[0] + ": fork: " + std::strerror(fork_error)};
  ::setpgid(pid, pid);  // both sides do it: neither waits for the other
  Running process(pid, Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))));
  if (process.pidfd() < 0) return system_error("run " + words[0] + ": pidfd_open");
  failed->write.close();
  int exec_error = 0;
  ssize_t got = 0;
  do {
    got = ::read(failed->read.get(), &exec_error, sizeof exec_error);  // ends with the exec
  } while (got < 0 && errno == EINTR);
  if (got == sizeof exec_error) return co::errno_error("run " + words[0], -exec_error);
  for (const Fd* end : {&in->write, &out->read, &err->read}) dont_block(*end);
  return Started{std::move(process), std::move(in->write), std::move(out->read), std::move(err->read)};
}

// Into `bytes`, to the end. A failure kills the program, so that the others of its three end too.
Co<Result<void>> collect(const Fd& from, std::string& bytes, std::size_t most_bytes, const Running& process) {
  char buffer[16 * 1024];
  for (;;) {
    const ssize_t got = ::read(from.get(), buffer, sizeof buffer);
    if (got == 0) co_return Result<void>();
    if (got > 0) {
      const auto more = static_cast<std::size_t>(got);
      const bool fits = more <= most_bytes - bytes.size();
      bytes.append(buffer, fits ? more : most_bytes - bytes.size());
      if (fits) continue;
      process.kill();
      co_return Error{Errc::kTooLarge, "the command said more than " + std::to_string(most_bytes) + " bytes"};
    }
    if (errno != EAGAIN && errno != EINTR) co_return system_error("read from a command");
    Result<std::uint32_t> ready = co_await readable(from.get());
    if (ready) continue;
    process.kill();
    co_return ready.error();
  }
}

// write(), without the SIGPIPE that ends programs which do not ignore it (and to ignore it for them is not ours). The
// kernel sends it to the thread that writes. Not a socket for a pipe: /dev/stdin cannot be opened where it is one.
ssize_t write_quietly(int fd, const char* data, std::size_t bytes) {
  sigset_t pipe, before, pending;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  ::sigpending(&pending);
  ::pthread_sigmask(SIG_BLOCK, &pipe, &before);
  const ssize_t wrote = ::write(fd, data, bytes);
  const int error = errno;
  const timespec at_once{};
  if (wrote < 0 && error == EPIPE && sigismember(&pending, SIGPIPE) == 0)
    (void)::sigtimedwait(&pipe, nullptr, &at_once);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return wrote;
}

// A program that does not want all of it is no failure.
Co<Result<void>> feed(Fd& to, const std::string& bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t wrote = write_quietly(to.get(), bytes.data() + done, bytes.size() - done);
    if (wrote > 0) {
      done += static_cast<std::size_t>(wrote);
      continue;
    }
    if (errno == EPIPE) break;
    if (errno != EAGAIN && errno != EINTR) co_return system_error("write to a command");
    Result<std::uint32_t> ready = co_await writable(to.get());
    if (!ready) co_return ready.error();
  }
  to.close();
  co_return Result<void>();
}

Co<Result<void>> ended(const Running& process) {
  Result<std::uint32_t> ready = co_await readable(process.pidfd());
  process.kill();  // its group: what it left behind would hold the pipes open
  if (!ready) co_return ready.error();
  co_return Result<void>();
}

}  // namespace

Co<Result<CommandResult>> run_command(Command command) {
  co::Scope& scope = co_await co::Here{};
  if (scope.stopped() != co::Stop::kNone) {
    Result<void> refused = co_await yield();
    co_return refused.error().within("run a command");
  }
  Result<Started> started = start(command.words);
  if (!started) co_return started.error();
  CommandResult result;
  auto [fed, out, err, over] = co_await when_all(
      feed(started->in, command.input), collect(started->out, result.output, command.most_bytes, started->process),
      collect(started->err, result.errors, command.most_bytes, started->process), ended(started->process));
  for (const Result<void>* each : {&out, &err, &over, &fed})
    if (!each->ok()) co_return each->error().within(command.words[0]);
  const int status = started->process.reap(0);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  result.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  co_return std::move(result);
}

}  // namespace stem
