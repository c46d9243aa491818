#include "io/loop.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <atomic>

#include "base/check.hpp"
#include "base/clock.hpp"
#include "base/log.hpp"

namespace stem::io {
namespace {

void announce_epoll(const Error& why) {
  static std::atomic<bool> said{false};
  if (!said.exchange(true, std::memory_order_relaxed)) {
    log::info("io_uring is not to be had; using epoll", {{"reason", why.message}});
  }
}

}  // namespace

Result<std::unique_ptr<Loop>> Loop::create(std::optional<Backend> backend) {
  if (backend != Backend::kEpoll) {
    auto driver = make_uring_driver();
    if (driver.ok()) return std::unique_ptr<Loop>(new Loop(*std::move(driver), Backend::kUring));
    if (backend == Backend::kUring) return driver.error();
    announce_epoll(driver.error());
  }
  auto driver = make_epoll_driver();
  if (!driver.ok()) return driver.error();
  return std::unique_ptr<Loop>(new Loop(*std::move(driver), Backend::kEpoll));
}

Loop::~Loop() { abandon(); }

void Loop::abandon() {
  // Callbacks own buffers and descriptors, so none may go before the kernel is done with its operation; and what
  // they own may call cancel() as it goes, which must still find everything in its place.
  for (std::uint32_t slot = 0; slot < operations_.size(); ++slot) {
    if (operations_[slot].under_way) driver_->cancel(slot);
  }
  while (under_way_ > 0 && driver_->wait(kForever, done_).ok()) {
    for (const Done& done : done_) finish(done.slot);
    done_.clear();
  }
  // The same for what only waits to be called.
  while (!deferred_.empty() || !before_wait_.empty() || !timers_.empty()) {
    std::exchange(deferred_, {}).clear();
    std::exchange(before_wait_, {}).clear();
    std::exchange(timers_, {}).clear();
  }
}

Result<int> Loop::open_socket(int domain) const {
  // io_uring would answer EAGAIN for a non-blocking socket instead of waiting; epoll must never block.
  const int mode = backend_ == Backend::kEpoll ? SOCK_NONBLOCK : 0;
  const int fd = ::socket(domain, SOCK_STREAM | SOCK_CLOEXEC | mode, 0);
  if (fd < 0) return system_error("socket");
  return fd;
}

OperationId Loop::start(const Request& request, Completion done) {
  std::uint32_t slot = 0;
  if (free_.empty()) {
    slot = static_cast<std::uint32_t>(operations_.size());
    operations_.emplace_back();
  } else {
    slot = free_.back();
    free_.pop_back();
  }
  Operation& operation = operations_[slot];
  operation.request = request;
  operation.done = std::move(done);
  operation.under_way = true;
  ++under_way_;
  driver_->start(slot, operation.request);
  return {slot, operation.life};
}

OperationId Loop::connect(int fd, const sockaddr_storage& address, socklen_t address_bytes, Completion done) {
  auto kept = std::make_unique<sockaddr_storage>(address);
  const Request request{.kind = Request::Kind::kConnect, .fd = fd, .data = kept.get(), .bytes = address_bytes};
  // Shared: a std::function must be copyable.
  std::shared_ptr<sockaddr_storage> owner = std::move(kept);
  return start(request, [owner = std::move(owner), done = std::move(done)](std::int32_t result) { done(result); });
}

OperationId Loop::send(int fd, std::string_view bytes, Completion done) {
  constexpr std::size_t kMost = 1u << 30;  // a count must fit the result; the rest is the next send's
  return start({.kind = Request::Kind::kSend,
                .fd = fd,
                .data = const_cast<char*>(bytes.data()),
                .bytes = static_cast<std::uint32_t>(std::min(bytes.size(), kMost))},
               std::move(done));
}

OperationId Loop::receive(int fd, std::span<char> buffer, Completion done) {
  constexpr std::size_t kMost = 1u << 30;
  return start({.kind = Request::Kind::kReceive,
                .fd = fd,
                .data = buffer.data(),
                .bytes = static_cast<std::uint32_t>(std::min(buffer.size(), kMost))},
               std::move(done));
}

OperationId Loop::wait_readable(int fd, Completion done) {
  return start({.kind = Request::Kind::kReadable, .fd = fd}, std::move(done));
}

OperationId Loop::wait_futex(std::atomic<std::uint32_t>& word, std::uint32_t seen, Completion done) {
  STEM_CHECK(can_wait_futex());
  return start({.kind = Request::Kind::kFutex, .data = &word, .bytes = seen}, std::move(done));
}

void Loop::cancel(OperationId operation) {
  if (!operation || operation.slot >= operations_.size()) return;
  const Operation& there = operations_[operation.slot];
  if (there.under_way && there.life == operation.life) driver_->cancel(operation.slot);
}

// Frees the slot; what is left of the operation is its callback.
Completion Loop::finish(std::uint32_t slot) {
  STEM_CHECK(slot < operations_.size() && operations_[slot].under_way);
  Operation& operation = operations_[slot];
  Completion done = std::move(operation.done);
  operation.done = nullptr;
  operation.under_way = false;
  if (++operation.life == 0) operation.life = 1;
  free_.push_back(slot);
  --under_way_;
  return done;
}

TimerId Loop::call_at(std::int64_t due_ns, std::function<void()> callback) {
  const TimerId timer{due_ns, ++timer_number_};
  timers_.emplace(timer, std::move(callback));
  return timer;
}

void Loop::cancel(TimerId timer) { timers_.erase(timer); }

void Loop::defer(std::function<void()> callback) { deferred_.push_back(std::move(callback)); }

void Loop::before_wait(std::function<void()> callback) { before_wait_.push_back(std::move(callback)); }

std::uint32_t Loop::run_deferred() {
  // What these defer comes with the next turn: a callback that defers itself must not starve the sockets.
  auto now = std::exchange(deferred_, {});
  for (auto& callback : now) callback();
  return static_cast<std::uint32_t>(now.size());
}

std::uint32_t Loop::fire_timers() {
  if (timers_.empty()) return 0;
  const std::int64_t now_ns = base::monotonic_ns();
  const std::uint64_t newest = timer_number_;  // a timer set by a timer waits for the next turn
  std::uint32_t fired = 0;
  for (auto first = timers_.begin(); first != timers_.end() && first->first.due_ns <= now_ns;) {
    if (first->first.number > newest) {
      ++first;
      continue;
    }
    const TimerId timer = first->first;
    const auto callback = std::move(timers_.extract(first).mapped());
    callback();
    ++fired;
    first = timers_.upper_bound(timer);  // the callback may have cancelled any
  }
  return fired;
}

std::int64_t Loop::wait_ns(std::int64_t timeout_ns) const {
  if (!deferred_.empty()) return 0;
  if (timers_.empty()) return timeout_ns;
  const std::int64_t next_ns = std::max<std::int64_t>(timers_.begin()->first.due_ns - base::monotonic_ns(), 0);
  return timeout_ns < 0 ? next_ns : std::min(timeout_ns, next_ns);
}

Result<std::uint32_t> Loop::run_once(std::int64_t timeout_ns) {
  std::uint32_t called = run_deferred();
  for (auto& callback : std::exchange(before_wait_, {})) callback();
  // Whoever called us is glad of what has been done already, and waits another time.
  const auto waited = driver_->wait(called > 0 ? 0 : wait_ns(timeout_ns), done_);
  if (!waited.ok()) return waited.error();
  for (const Done& done : done_) {
    const Completion callback = finish(done.slot);
    callback(done.result);
    ++called;
  }
  done_.clear();
  // After the completions: a watchdog must see the reply that was there when it came due.
  return called + fire_timers();
}

}  // namespace stem::io
