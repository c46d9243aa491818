// What both kinds of loop read, and through what they talk.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "bench/failure.hpp"

namespace stem::bench {

class OpenFd {
 public:
  explicit OpenFd(int fd) : fd_(fd) {
    if (fd < 0) fail_with_errno("open");
  }
  ~OpenFd() { ::close(fd_); }
  OpenFd(const OpenFd&) = delete;
  OpenFd& operator=(const OpenFd&) = delete;
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

class AlignedBytes {
 public:
  explicit AlignedBytes(std::size_t bytes) : data_(static_cast<std::byte*>(std::aligned_alloc(4096, bytes))) {
    if (data_ == nullptr) throw Failure("no memory for the buffers");
  }
  ~AlignedBytes() { std::free(data_); }
  AlignedBytes(const AlignedBytes&) = delete;
  AlignedBytes& operator=(const AlignedBytes&) = delete;
  std::byte* data() const noexcept { return data_; }

 private:
  std::byte* data_;
};

// The same pseudo-random blocks for everyone.
class Places {
 public:
  Places(std::uint64_t file_bytes, std::uint32_t block_bytes)
      : blocks_(file_bytes / block_bytes), block_(block_bytes) {}
  std::uint64_t next() noexcept {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (state_ >> 33) % blocks_ * block_;
  }

 private:
  std::uint64_t blocks_;
  std::uint64_t block_;
  std::uint64_t state_ = 42;
};

class SocketPairs {
 public:
  explicit SocketPairs(std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
      int ends[2];
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) fail_with_errno("socketpair");
      fds_.insert(fds_.end(), {ends[0], ends[1]});
    }
  }
  ~SocketPairs() {
    for (const int fd : fds_) ::close(fd);
  }
  SocketPairs(const SocketPairs&) = delete;
  SocketPairs& operator=(const SocketPairs&) = delete;
  int fd(std::size_t end) const { return fds_[end]; }  // 2 * pair, and its other end

 private:
  std::vector<int> fds_;
};

inline void drain(int eventfd) {
  std::uint64_t count = 0;
  (void)!::read(eventfd, &count, sizeof count);
}

}  // namespace stem::bench
