// The other end of a test's sockets: a listener on a Unix path or a free TCP port, and plain blocking descriptors.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <thread>

#include "io/address.hpp"

namespace stem::test {

class Listener {
 public:
  // A Unix socket when `path` is not empty, else a free port of 127.0.0.1. `backlog` as of listen(2).
  explicit Listener(const std::string& path = "", int backlog = 16);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  io::Address address() const;
  std::uint16_t port() const;
  // Waits for a connection; the caller closes it.
  int accept() const;

 private:
  int fd_ = -1;
  std::string path_;
};

// Accepts one connection and sends back what comes, until the other end closes.
class EchoServer {
 public:
  explicit EchoServer(const std::string& path = "");
  ~EchoServer();
  io::Address address() const { return listener_.address(); }

 private:
  Listener listener_;
  std::thread thread_;
};

void write_all(int fd, std::string_view bytes);

}  // namespace stem::test
