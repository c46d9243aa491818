#include "tests/io/peer.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace stem::test {
namespace {

void must(bool held, const char* what) {
  if (held) return;
  std::perror(what);
  std::abort();
}

sockaddr_in any_port() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

}  // namespace

Listener::Listener(const std::string& path, int backlog) : path_(path) {
  if (path.empty()) {
    const sockaddr_in address = any_port();
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0, "bind");
  } else {
    const io::Address address = *io::unix_address(path);
    fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(::bind(fd_, reinterpret_cast<const sockaddr*>(&address.storage), address.bytes) == 0, "bind");
  }
  must(::listen(fd_, backlog) == 0, "listen");
}

Listener::~Listener() { ::close(fd_); }

std::uint16_t Listener::port() const {
  sockaddr_in address{};
  socklen_t bytes = sizeof(address);
  must(::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &bytes) == 0, "getsockname");
  return ntohs(address.sin_port);
}

io::Address Listener::address() const {
  if (!path_.empty()) return *io::unix_address(path_);
  sockaddr_in address = any_port();
  address.sin_port = htons(port());
  io::Address made;
  std::memcpy(&made.storage, &address, sizeof(address));
  made.bytes = sizeof(address);
  made.text = "127.0.0.1:" + std::to_string(port());
  return made;
}

int Listener::accept() const { return ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC); }

EchoServer::EchoServer(const std::string& path)
    : listener_(path), thread_([this] {
        const int fd = listener_.accept();
        char buffer[65536];
        for (ssize_t got = 0; (got = ::read(fd, buffer, sizeof(buffer))) > 0;) {
          write_all(fd, {buffer, static_cast<std::size_t>(got)});
        }
        ::close(fd);
      }) {}

EchoServer::~EchoServer() { thread_.join(); }

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

}  // namespace stem::test
