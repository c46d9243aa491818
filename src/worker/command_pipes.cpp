#include "worker/command_pipes.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "shm/limits.hpp"

namespace stem::worker {
namespace {

constexpr std::size_t kErrorTailBytes = 4096;
constexpr std::size_t kReadBytes = 64 * 1024;

bool make_pipe(int (&ends)[2], int near) {
  if (::pipe2(ends, O_CLOEXEC) != 0) return false;
  return ::fcntl(ends[near], F_SETFL, O_NONBLOCK) == 0;
}

// False at the end of the stream.
template <class Take>
bool read_all(int fd, Take take) {
  char buffer[kReadBytes];
  for (;;) {
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n > 0) {
      take(std::string_view(buffer, static_cast<std::size_t>(n)));
    } else if (n == 0) {
      return false;
    } else if (errno != EINTR) {
      return errno == EAGAIN;
    }
  }
}

}  // namespace

CommandPipes::~CommandPipes() {
  for (int* ends : {in_, out_, err_})
    for (int i = 0; i < 2; ++i) close_end(ends[i]);
}

void CommandPipes::close_end(int& fd) {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

bool CommandPipes::open() { return make_pipe(in_, 1) && make_pipe(out_, 0) && make_pipe(err_, 0); }

void CommandPipes::become_standard() const {
  ::dup2(in_[0], STDIN_FILENO);
  ::dup2(out_[1], STDOUT_FILENO);
  ::dup2(err_[1], STDERR_FILENO);
}

void CommandPipes::close_far_ends() {
  close_end(in_[0]);
  close_end(out_[1]);
  close_end(err_[1]);
}

void CommandPipes::feed(std::span<const std::byte>& input) {
  while (!input.empty()) {
    const ssize_t n = ::write(in_[1], input.data(), input.size());
    if (n >= 0) {
      input = input.subspan(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN) {
      return;
    } else if (errno != EINTR) {
      input = {};  // EPIPE: a command need not read what it is given
    }
  }
  close_end(in_[1]);
}

bool CommandPipes::collect_result(CommandOutput& output) {
  return read_all(out_[0], [&](std::string_view text) {
    const std::size_t room = shm::kMaxPayloadBytes - output.result.size();
    output.result.append(text.substr(0, room));
    output.too_large |= text.size() > room;  // read on, so that the command is not stopped by a full pipe
  });
}

bool CommandPipes::collect_error(CommandOutput& output) {
  return read_all(err_[0], [&](std::string_view text) {
    output.error_tail.append(text);
    if (output.error_tail.size() > kErrorTailBytes)
      output.error_tail.erase(0, output.error_tail.size() - kErrorTailBytes);
  });
}

void CommandPipes::exchange(std::span<const std::byte> input, int pidfd, CommandOutput& output) {
  feed(input);
  bool ended = false;
  while (!ended && (pidfd >= 0 || out_[0] >= 0 || err_[0] >= 0)) {
    // poll() passes over negative descriptors.
    pollfd waits[] = {{in_[1], POLLOUT, 0}, {out_[0], POLLIN, 0}, {err_[0], POLLIN, 0}, {pidfd, POLLIN, 0}};
    if (::poll(waits, 4, -1) < 0) continue;  // EINTR: a stop arrives by its own way
    ended = waits[3].revents != 0;
    if (waits[0].revents != 0) feed(input);
    // At its end once more for both: what it wrote last may have come after poll().
    if ((ended || waits[1].revents != 0) && out_[0] >= 0 && !collect_result(output)) close_end(out_[0]);
    if ((ended || waits[2].revents != 0) && err_[0] >= 0 && !collect_error(output)) close_end(err_[0]);
  }
}

}  // namespace stem::worker
