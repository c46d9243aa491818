// Stream sockets, by coroutine.
//
//   auto socket = co_await stem::Socket::connect("127.0.0.1", 8080);
//   auto sent = co_await socket->write_all(request);
//   auto bytes = co_await socket->read(buffer);          // 0: the peer closed
//
// One coroutine may read while another writes; two must not do the same.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.hpp"
#include "io/co.hpp"
#include "io/file.hpp"

namespace stem {

class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) noexcept : fd_(fd) {}  // takes it over
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Socket();

  // Each address that the name has, in turn.
  static Co<Result<Socket>> connect(std::string host, std::uint16_t port);
  static Co<Result<Socket>> connect_unix(std::string path);

  int fd() const noexcept { return fd_; }
  co::Transfer read(std::span<char> into) const noexcept {
    return {{.kind = io::Request::Kind::kReceive,
             .fd = fd_,
             .data = into.data(),
             .bytes = static_cast<std::uint32_t>(std::min(into.size(), co::kMostTransfer))},
            "read from a socket"};
  }
  // May be less than asked.
  co::Transfer write(std::string_view from) const noexcept {
    return {{.kind = io::Request::Kind::kSend,
             .fd = fd_,
             .data = const_cast<char*>(from.data()),
             .bytes = static_cast<std::uint32_t>(std::min(from.size(), co::kMostTransfer))},
            "write to a socket"};
  }
  // `from` stays as it is until it has been written.
  Co<Result<void>> write_all(std::string_view from) const;
  // The peer reads the end; reading goes on.
  Result<void> finish_writing() const;
  void close() noexcept;

 private:
  int fd_ = -1;
};

namespace co {

class AcceptSocket final : public Operation {
 public:
  explicit AcceptSocket(int fd) noexcept : Operation({.kind = io::Request::Kind::kAccept, .fd = fd}) {}
  Result<Socket> await_resume() const;
};

}  // namespace co

class Listener {
 public:
  // Port 0: one that is free.
  static Co<Result<Listener>> tcp(std::string host, std::uint16_t port, int backlog = 128);
  static Co<Result<Listener>> unix_socket(std::string path, int backlog = 128);

  co::AcceptSocket accept() const noexcept { return co::AcceptSocket(socket_.fd()); }
  std::uint16_t port() const noexcept { return port_; }  // 0 for a Unix socket

 private:
  Listener(Socket socket, std::uint16_t port) : socket_(std::move(socket)), port_(port) {}
  static Result<Listener> listen(io::Loop& loop, const void* address, std::uint32_t bytes, int backlog);
  Socket socket_;
  std::uint16_t port_ = 0;
};

}  // namespace stem
