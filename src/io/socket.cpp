#include "io/socket.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "io/address.hpp"

namespace stem {
namespace co {
namespace {

class Resolve final : public Wait {
 public:
  Resolve(std::string host, std::uint16_t port) : host_(std::move(host)), port_(port) {}

  Result<std::vector<io::Address>> await_resume() {
    if (result_ < 0) return error("look up " + host_);
    return std::move(answer_);
  }

  // The lookup itself cannot be called off: its answer finds nobody.
  void call_off() noexcept override {
    if (*wanted_ == nullptr) return;
    *wanted_ = nullptr;
    scope().root().loop().defer([this] { arrive(-ECANCELED); });
  }

 private:
  void depart(io::Loop& loop) override {
    wanted_ = std::make_shared<Resolve*>(this);
    io::resolve(loop, host_, port_, [wanted = wanted_](Result<std::vector<io::Address>> answer) {
      Resolve* const self = std::exchange(*wanted, nullptr);
      if (self == nullptr) return;
      self->answer_ = std::move(answer);
      self->arrive(0);
    });
  }

  std::string host_;
  std::uint16_t port_;
  std::shared_ptr<Resolve*> wanted_;
  Result<std::vector<io::Address>> answer_ = Error{Errc::kNotReady, "not looked up"};
};

Co<Result<Socket>> connect_to(const io::Address& address) {
  Scope& scope = co_await Here{};
  Result<int> fd = scope.root().loop().open_socket(address.domain());
  if (!fd) co_return fd.error().within("connect to " + address.text);
  Socket socket(*fd);
  if (address.domain() != AF_UNIX) {
    // Answers are often small, and somebody waits for them.
    const int on = 1;
    ::setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  Result<void> connected = co_await Act({.kind = io::Request::Kind::kConnect,
                                         .fd = *fd,
                                         .data = const_cast<sockaddr_storage*>(&address.storage),
                                         .bytes = address.bytes},
                                        "connect");
  if (!connected) co_return connected.error().within(address.text);
  co_return std::move(socket);
}

}  // namespace

Result<Socket> AcceptSocket::await_resume() const {
  if (result_ < 0) return error("accept a connection");
  return Socket(result_);
}

}  // namespace co

Socket::~Socket() { close(); }

void Socket::close() noexcept {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Co<Result<Socket>> Socket::connect(std::string host, std::uint16_t port) {
  Result<std::vector<io::Address>> found = co_await co::Resolve(std::move(host), port);
  if (!found) co_return found.error();
  Result<Socket> tried = Error{Errc::kNotFound, "no address"};
  for (const io::Address& address : *found) {
    tried = co_await co::connect_to(address);
    if (tried.ok() || tried.error().code != Errc::kSystem) break;  // cancelled: the others would be too
  }
  co_return std::move(tried);
}

Co<Result<Socket>> Socket::connect_unix(std::string path) {
  Result<io::Address> address = io::unix_address(path);
  if (!address) co_return address.error();
  co_return co_await co::connect_to(*address);
}

Co<Result<void>> Socket::write_all(std::string_view from) const {
  while (!from.empty()) {
    Result<std::size_t> wrote = co_await write(from);
    if (!wrote) co_return wrote.error();
    from.remove_prefix(*wrote);
  }
  co_return Result<void>();
}

Result<void> Socket::finish_writing() const {
  if (::shutdown(fd_, SHUT_WR) != 0) return system_error("finish writing");
  return {};
}

Result<Listener> Listener::listen(io::Loop& loop, const void* address, std::uint32_t bytes, int backlog) {
  const auto* to = static_cast<const sockaddr*>(address);
  Result<int> fd = loop.open_socket(to->sa_family);
  if (!fd) return fd.error();
  Socket socket(*fd);
  const int on = 1;
  if (to->sa_family != AF_UNIX) ::setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(*fd, to, bytes) != 0) return system_error("bind");
  if (::listen(*fd, backlog) != 0) return system_error("listen");
  sockaddr_storage own{};
  socklen_t own_bytes = sizeof own;
  std::uint16_t port = 0;
  if (::getsockname(*fd, reinterpret_cast<sockaddr*>(&own), &own_bytes) == 0) {
    if (own.ss_family == AF_INET) port = ntohs(reinterpret_cast<const sockaddr_in&>(own).sin_port);
    if (own.ss_family == AF_INET6) port = ntohs(reinterpret_cast<const sockaddr_in6&>(own).sin6_port);
  }
  return Listener(std::move(socket), port);
}

Co<Result<Listener>> Listener::tcp(std::string host, std::uint16_t port, int backlog) {
  co::Scope& scope = co_await co::Here{};
  Result<std::vector<io::Address>> found = co_await co::Resolve(std::move(host), port);
  if (!found) co_return found.error();
  const io::Address& address = found->front();
  Result<Listener> made = listen(scope.root().loop(), &address.storage, address.bytes, backlog);
  if (!made) co_return made.error().within(address.text);
  co_return std::move(made);
}

Co<Result<Listener>> Listener::unix_socket(std::string path, int backlog) {
  co::Scope& scope = co_await co::Here{};
  Result<io::Address> address = io::unix_address(path);
  if (!address) co_return address.error();
  Result<Listener> made = listen(scope.root().loop(), &address->storage, address->bytes, backlog);
  if (!made) co_return made.error().within(address->text);
  co_return std::move(made);
}

}  // namespace stem
