#include "io/address.hpp"

#include <fmt/format.h>
#include <netdb.h>
#include <sys/eventfd.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <system_error>
#include <thread>

namespace stem::io {
namespace {

std::string shown(const std::string& host, std::uint16_t port) {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

std::string numeric_text(const addrinfo& found, std::uint16_t port) {
  char host[NI_MAXHOST] = "?";
  ::getnameinfo(found.ai_addr, found.ai_addrlen, host, sizeof(host), nullptr, 0, NI_NUMERICHOST);
  return shown(host, port);
}

Result<std::vector<Address>> look_up(const std::string& host, std::uint16_t port, int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int rc = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (rc != 0) {
    const std::string why = rc == EAI_SYSTEM ? std::strerror(errno) : ::gai_strerror(rc);
    return Error{Errc::kNotFound, fmt::format("look up {}: {}", shown(host, port), why)};
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(list, &::freeaddrinfo);
  std::vector<Address> addresses;
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    Address address;
    std::memcpy(&address.storage, one->ai_addr, one->ai_addrlen);
    address.bytes = one->ai_addrlen;
    address.text = numeric_text(*one, port);
    addresses.push_back(std::move(address));
  }
  return addresses;
}

// Shared by the thread that looks up and the loop that waits for it; the last of them lets it go.
struct Lookup {
  explicit Lookup(int event_fd) : fd(event_fd) {}
  ~Lookup() { ::close(fd); }
  Lookup(const Lookup&) = delete;
  Lookup& operator=(const Lookup&) = delete;

  int fd;
  Result<std::vector<Address>> answer = Error{Errc::kNotReady, "not looked up"};  // read after the event
};

void look_up_in_thread(Loop& loop, const std::string& host, std::uint16_t port, Found found) {
  const int fd = ::eventfd(0, EFD_CLOEXEC);
  if (fd < 0) {
    loop.defer([found = std::move(found), error = system_error("eventfd")] { found(error); });
    return;
  }
  auto lookup = std::make_shared<Lookup>(fd);
  try {
    std::thread([lookup, host, port] {
      lookup->answer = look_up(host, port, AI_ADDRCONFIG);
      const std::uint64_t one = 1;
      // Cannot fail: the counter is 0. The reader's side of the event orders `answer`.
      [[maybe_unused]] const ssize_t written = ::write(lookup->fd, &one, sizeof(one));
    }).detach();
  } catch (const std::system_error& no_thread) {
    const Error error{Errc::kSystem, fmt::format("look up {}: {}", host, no_thread.what())};
    loop.defer([found = std::move(found), error] { found(error); });
    return;
  }
  loop.wait_readable(fd, [lookup, found = std::move(found)](std::int32_t) { found(std::move(lookup->answer)); });
}

}  // namespace

Result<Address> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty()) return Error{Errc::kInvalidArgument, "the path of a Unix socket is empty"};
  if (path.size() >= sizeof(address.sun_path) || path.find('\0') != std::string::npos) {
    return Error{Errc::kInvalidArgument, fmt::format("'{}' cannot be the path of a Unix socket: at most {} bytes", path,
                                                     sizeof(address.sun_path) - 1)};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  Address made;
  std::memcpy(&made.storage, &address, sizeof(address));
  made.bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  made.text = "unix:" + path;
  return made;
}

void resolve(Loop& loop, const std::string& host, std::uint16_t port, Found found) {
  auto numeric = look_up(host, port, AI_NUMERICHOST);
  if (!numeric.ok()) {
    look_up_in_thread(loop, host, port, std::move(found));
    return;
  }
  loop.defer([found = std::move(found), numeric = std::move(numeric)]() mutable { found(std::move(numeric)); });
}

}  // namespace stem::io
