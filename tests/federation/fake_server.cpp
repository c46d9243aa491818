#include "tests/federation/fake_server.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace stem::test {

FakeServer::FakeServer(Behaviour behaviour) : behaviour_(std::move(behaviour)) {
  listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, directory_.file("fake.sock").c_str(), sizeof(address.sun_path) - 1);
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 || ::listen(listener_, 16) != 0) {
    std::perror("fake server");
    std::abort();
  }
  thread_ = std::thread([this] { serve(); });
}

FakeServer::~FakeServer() {
  ending_ = true;
  ::shutdown(listener_, SHUT_RDWR);  // ends accept
  thread_.join();
  ::close(listener_);
}

void FakeServer::serve() {
  while (!ending_) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) break;
    ++connections_;
    if (greet(fd)) behaviour_(fd);
    ::close(fd);
  }
}

// CLIENT SETNAME, CLIENT ID, INFO server, PING, all in one go; then whatever comes next.
bool FakeServer::greet(int fd) {
  std::string heard;
  char buffer[4096];
  while (heard.find("PING") == std::string::npos) {
    const ssize_t got = ::read(fd, buffer, sizeof(buffer));
    if (got <= 0) return false;
    heard.append(buffer, static_cast<std::size_t>(got));
  }
  if (!say(fd, "+OK\r\n:7\r\n$25\r\n# Server\r\nrun_id:fake\r\n\r\n\r\n+PONG\r\n")) return false;
  return ::read(fd, buffer, sizeof(buffer)) > 0;
}

bool FakeServer::say(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

void FakeServer::wait_for_the_end(int fd) {
  char buffer[4096];
  while (::read(fd, buffer, sizeof(buffer)) > 0) {
  }
}

}  // namespace stem::test
