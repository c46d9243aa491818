// epoll, for where io_uring is refused: an operation is tried when it starts, and again when its descriptor is ready.
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <unordered_map>

#include "io/driver.hpp"
#include "io/file_threads.hpp"

namespace stem::io {
namespace {

struct Waiting {
  std::uint32_t slot = 0;
  const Request* request = nullptr;  // nullptr = none
};

// What waits for one descriptor.
struct Watched {
  Waiting in;
  Waiting out;
  std::uint32_t registered = 0;  // the events the kernel knows of

  std::uint32_t wanted() const {
    return (in.request != nullptr ? std::uint32_t{EPOLLIN} : 0) |
           (out.request != nullptr ? std::uint32_t{EPOLLOUT} : 0);
  }
};

bool is_input(const Request& request) {
  return request.kind == Request::Kind::kReceive || request.kind == Request::Kind::kReadable ||
         request.kind == Request::Kind::kAccept;
}

// A try that cannot be finished now is tried again later.
std::optional<std::int32_t> unless_blocked(ssize_t rc) {
  if (rc >= 0) return static_cast<std::int32_t>(rc);
  if (errno == EAGAIN || errno == EINTR) return std::nullopt;
  return -errno;
}

class EpollDriver final : public Driver {
 public:
  explicit EpollDriver(int epoll_fd) : epoll_fd_(epoll_fd) {}
  ~EpollDriver() override { ::close(epoll_fd_); }

  void start(std::uint32_t slot, const Request& request) override {
    if (request.of_a_file()) {
      if (const int error = start_in_thread(slot, request); error != 0) done_.push_back({slot, -error});
      return;
    }
    if (const auto result = first_try(request)) {
      done_.push_back({slot, *result});
      return;
    }
    Watched& watched = watched_[request.fd];
    Waiting& place = is_input(request) ? watched.in : watched.out;
    if (place.request != nullptr) {  // loop.hpp: one of each at a time
      done_.push_back({slot, -EBUSY});
      return;
    }
    place = {slot, &request};
    if (slots_.size() <= slot) slots_.resize(slot + 1, nullptr);
    slots_[slot] = &request;
    if (const int error = watch(request.fd, watched); error != 0) finish(watched, place, -error);
    drop_if_idle(request.fd);
  }

  void cancel(std::uint32_t slot) override {
    if (files_ && files_->cancel(slot)) done_.push_back({slot, -ECANCELED});
    if (slot >= slots_.size() || slots_[slot] == nullptr) return;  // it is done already
    const Request& request = *slots_[slot];
    Watched& watched = watched_.at(request.fd);
    finish(watched, is_input(request) ? watched.in : watched.out, -ECANCELED);
    watch(request.fd, watched);
    drop_if_idle(request.fd);
  }

  Result<void> wait(std::int64_t timeout_ns, std::vector<Done>& done) override {
    std::array<epoll_event, 64> events;
    const int count = poll(events, done_.empty() ? timeout_ns : 0);
    if (count < 0 && errno != EINTR) return system_error("epoll_pwait2");
    for (int i = 0; i < count; ++i) {
      if (files_ && events[static_cast<std::size_t>(i)].data.fd == files_->fd()) {
        files_->take(done_);
        continue;
      }
      ready(events[static_cast<std::size_t>(i)].data.fd, events[static_cast<std::size_t>(i)].events);
    }
    done.insert(done.end(), done_.begin(), done_.end());
    done_.clear();
    return {};
  }

 private:
  template <class Events>
  int poll(Events& events, std::int64_t timeout_ns) {
    const auto room = static_cast<int>(events.size());
    if (exact_) {
      const timespec limit{.tv_sec = timeout_ns / 1'000'000'000, .tv_nsec = timeout_ns % 1'000'000'000};
      const int count = ::epoll_pwait2(epoll_fd_, events.data(), room, timeout_ns < 0 ? nullptr : &limit, nullptr);
      if (count >= 0 || errno != ENOSYS) return count;
      exact_ = false;  // before Linux 5.11, and in some sandboxes
    }
    constexpr std::int64_t kLongest_ms = 60'000;
    const std::int64_t limit_ms =
        timeout_ns < 0 ? -1 : std::min(timeout_ns / 1'000'000 + (timeout_ns % 1'000'000 != 0), kLongest_ms);
    return ::epoll_wait(epoll_fd_, events.data(), room, static_cast<int>(limit_ms));
  }

  static std::optional<std::int32_t> first_try(const Request& request) {
    if (request.kind == Request::Kind::kReadable || request.kind == Request::Kind::kWritable) return std::nullopt;
    if (request.kind != Request::Kind::kConnect) return transfer(request);
    if (::connect(request.fd, static_cast<const sockaddr*>(request.data), request.bytes) == 0) return 0;
    if (errno == EINPROGRESS || errno == EINTR) return std::nullopt;
    return -errno;  // EAGAIN too: a Unix socket whose backlog is full does not tell when it has room
  }

  static std::optional<std::int32_t> transfer(const Request& request) {
    if (request.kind == Request::Kind::kSend) {
      return unless_blocked(::send(request.fd, request.data, request.bytes, MSG_NOSIGNAL | MSG_DONTWAIT));
    }
    if (request.kind == Request::Kind::kAccept) {
      return unless_blocked(::accept4(request.fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    }
    return unless_blocked(::recv(request.fd, request.data, request.bytes, MSG_DONTWAIT));
  }

  static std::optional<std::int32_t> next_try(const Request& request, std::uint32_t events) {
    if (request.kind == Request::Kind::kReadable || request.kind == Request::Kind::kWritable) {
      return static_cast<std::int32_t>(events & (EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP));
    }
    if (request.kind != Request::Kind::kConnect) return transfer(request);
    int error = 0;
    socklen_t bytes = sizeof(error);
    if (::getsockopt(request.fd, SOL_SOCKET, SO_ERROR, &error, &bytes) != 0) return -errno;
    return -error;
  }

  int start_in_thread(std::uint32_t slot, const Request& request) {
    if (files_ == nullptr) {
      auto made = FileThreads::create();
      if (!made.ok()) return EAGAIN;
      files_ = *std::move(made);
      epoll_event event{.events = EPOLLIN, .data = {.fd = files_->fd()}};
      if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, files_->fd(), &event) != 0) {
        files_ = nullptr;
        return EAGAIN;
      }
    }
    files_->start(slot, request);
    return 0;
  }

  void ready(int fd, std::uint32_t events) {
    const auto found = watched_.find(fd);
    if (found == watched_.end()) return;
    Watched& watched = found->second;
    const bool ended = (events & (EPOLLERR | EPOLLHUP)) != 0;  // whoever waits finds out by trying
    for (Waiting* place : {&watched.in, &watched.out}) {
      const std::uint32_t event = place == &watched.in ? EPOLLIN : EPOLLOUT;
      if (place->request == nullptr || (!ended && (events & event) == 0)) continue;
      if (const auto result = next_try(*place->request, events)) finish(watched, *place, *result);
    }
    watch(fd, watched);
    drop_if_idle(fd);
  }

  void finish(Watched&, Waiting& place, std::int32_t result) {
    done_.push_back({place.slot, result});
    slots_[place.slot] = nullptr;
    place = {};
  }

  // Tells the kernel what is waited for; an errno when it will not watch this kind of descriptor.
  int watch(int fd, Watched& watched) {
    const std::uint32_t wanted = watched.wanted();
    if (wanted == watched.registered) return 0;
    epoll_event event{.events = wanted, .data = {.fd = fd}};
    const int operation = wanted == 0 ? EPOLL_CTL_DEL : watched.registered == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (::epoll_ctl(epoll_fd_, operation, fd, &event) != 0) return wanted == 0 ? 0 : errno;
    watched.registered = wanted;
    return 0;
  }

  // A descriptor that nobody waits for is forgotten: its number may be another's tomorrow.
  void drop_if_idle(int fd) {
    const auto found = watched_.find(fd);
    if (found != watched_.end() && found->second.wanted() == 0) watched_.erase(found);
  }

  int epoll_fd_;
  bool exact_ = true;
  std::unordered_map<int, Watched> watched_;
  std::vector<const Request*> slots_;  // of what waits
  std::vector<Done> done_;
  std::unique_ptr<FileThreads> files_;  // made with the first file
};

}  // namespace

Result<std::unique_ptr<Driver>> make_epoll_driver() {
  const int fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) return system_error("epoll_create1");
  return std::unique_ptr<Driver>(std::make_unique<EpollDriver>(fd));
}

}  // namespace stem::io
