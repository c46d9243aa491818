#include "tests/support/slow_link.hpp"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <deque>
#include <list>
#include <string>
#include <vector>

#include "base/check.hpp"

namespace stem::test {
namespace {

using Clock = std::chrono::steady_clock;

sockaddr_in local(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

struct Late {
  Clock::time_point at;
  std::string bytes;  // empty: the end
};

// One direction of one connection.
struct Way {
  int from = -1, to = -1;
  std::deque<Late> late;
  bool ended = false;

  void take(std::chrono::milliseconds delay) {
    char buffer[65536];
    const ssize_t n = ::recv(from, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    ended = n <= 0;
    late.push_back({Clock::now() + delay, n > 0 ? std::string(buffer, static_cast<std::size_t>(n)) : std::string()});
  }
  void give() {
    while (!late.empty() && late.front().at <= Clock::now()) {
      std::string& bytes = late.front().bytes;
      if (bytes.empty()) {
        ::shutdown(to, SHUT_WR);
      } else {
        const ssize_t n = ::send(to, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (n > 0 && static_cast<std::size_t>(n) < bytes.size()) {
          bytes.erase(0, static_cast<std::size_t>(n));
          return;
        }
      }
      late.pop_front();
    }
  }
};

}  // namespace

SlowLink::SlowLink(std::uint16_t to, std::chrono::milliseconds delay)
    : to_(to), delay_(delay), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  sockaddr_in address = local(0);
  socklen_t size = sizeof address;
  STEM_CHECK(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0 && ::listen(listener_, 16) == 0);
  STEM_CHECK(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  port_ = ntohs(address.sin_port);
}

void SlowLink::start() {
  thread_ = std::thread([this] { carry(); });
}

SlowLink::~SlowLink() {
  stop_.store(true);
  if (thread_.joinable()) thread_.join();
  ::close(listener_);
}

void SlowLink::carry() {
  std::list<Way> ways;
  while (!stop_.load()) {
    std::vector<pollfd> waits{{listener_, POLLIN, 0}};
    for (const Way& way : ways)
      if (!way.ended) waits.push_back({way.from, POLLIN, 0});
    (void)::poll(waits.data(), waits.size(), 1);
    if (const int one = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC); one >= 0) {
      const int other = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      const sockaddr_in address = local(to_);
      if (::connect(other, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
        ways.push_back({one, other, {}, false});
        ways.push_back({other, one, {}, false});
      } else {
        ::close(one);
        ::close(other);
      }
    }
    for (Way& way : ways) {
      if (!way.ended) way.take(delay_);
      way.give();
    }
  }
  for (const Way& way : ways) ::close(way.from);
}

}  // namespace stem::test
