#include "io/operation.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/clock.hpp"
#include "io/due.hpp"

namespace stem::co {

Error errno_error(std::string_view what, std::int32_t result) {
  const Errc code = result == -ENOENT ? Errc::kNotFound : result == -ECANCELED ? Errc::kCancelled : Errc::kSystem;
  return {code, std::string(what) + ": " + std::strerror(-result)};
}

bool Wait::begin(std::coroutine_handle<> waiting, Scope& scope) {
  scope_ = &scope;
  if (scope.stopped() != Stop::kNone) {
    result_ = -ECANCELED;
    return false;
  }
  waiting_ = waiting;
  scope.add(*this);
  scope.root().departed();
  depart(scope.root().loop());
  return true;
}

void Wait::arrive(std::int32_t result) {
  result_ = result;
  remove();
  scope_->root().arrived(waiting_);
}

Error Wait::error(std::string_view what) const {
  if (result_ == -ECANCELED && scope_->stopped() == Stop::kTimeout)
    return {Errc::kTimeout, std::string(what) + ": its time was over"};
  if (result_ == -ECANCELED) return {Errc::kCancelled, std::string(what) + ": cancelled"};
  return errno_error(what, result_);
}

void Operation::depart(io::Loop& loop) {
  id_ = loop.start(request_, [this](std::int32_t result) {
    const bool gives_fd = request_.kind == io::Request::Kind::kOpen || request_.kind == io::Request::Kind::kAccept;
    if (gives_fd && result >= 0 && scope().root().doomed()) ::close(result);  // nobody will take it
    arrive(result);
  });
}

io::WaitsFor Operation::waits_for() const noexcept {
  using What = io::WaitsFor::What;
  const auto what = [this] {
    switch (request_.kind) {
      case io::Request::Kind::kConnect: return What::kConnection;
      case io::Request::Kind::kSend: return What::kSend;
      case io::Request::Kind::kReceive: return What::kReceive;
      case io::Request::Kind::kReadable: return What::kReadable;
      case io::Request::Kind::kWritable: return What::kWritable;
      case io::Request::Kind::kAccept: return What::kAccept;
      case io::Request::Kind::kOpen: return What::kOpen;
      case io::Request::Kind::kRead: return What::kRead;
      case io::Request::Kind::kWrite: return What::kWrite;
      case io::Request::Kind::kStat: return What::kStat;
      case io::Request::Kind::kSync: return What::kSync;
      case io::Request::Kind::kClose: return What::kClose;
      case io::Request::Kind::kFutex: break;
    }
    return What::kOther;
  };
  return {.what = what(), .fd = request_.fd};
}

io::WaitsFor Sleep::waits_for() const noexcept {
  return {.what = io::WaitsFor::What::kTime, .left_ns = std::max<std::int64_t>(0, due_ns_ - base::monotonic_ns())};
}

void Operation::call_off() noexcept { scope().root().loop().cancel(id_); }

void Sleep::depart(io::Loop& loop) {
  timer_ = loop.call_at(due_ns_, [this] { arrive(0); });
}

void Sleep::call_off() noexcept {
  io::Loop& loop = scope().root().loop();
  if (!timer_) return;  // called off before
  loop.cancel(timer_);
  timer_ = {};
  loop.defer([this] { arrive(-ECANCELED); });
}

Result<void> Sleep::await_resume() const {
  if (result_ < 0) return error("sleep");
  return {};
}

void Yield::depart(io::Loop& loop) {
  loop.defer([this] { arrive(0); });
}

Result<void> Yield::await_resume() const {
  if (result_ < 0) return error("yield");
  return {};
}

Result<std::uint32_t> Ready::await_resume() const {
  if (result_ < 0) return error("wait for a descriptor");
  return static_cast<std::uint32_t>(result_);
}

}  // namespace stem::co

namespace stem {

co::Sleep sleep(std::chrono::nanoseconds time) noexcept { return co::Sleep(co::due_in(time)); }

co::Sleep sleep_until(std::chrono::steady_clock::time_point when) noexcept {
  return co::Sleep(std::chrono::duration_cast<std::chrono::nanoseconds>(when.time_since_epoch()).count());
}

}  // namespace stem
