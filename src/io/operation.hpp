// What a coroutine waits for: one operation of its loop. The awaiter is the operation; it lives in the coroutine's frame
// and allocates nothing.
//
// Every one of them ends early, with an Error of kCancelled or kTimeout, when its scope is cancelled, and does not begin
// in a scope that is. One that the kernel has finished meanwhile tells what it did.
#pragma once

#include <chrono>
#include <coroutine>
#include <cstdint>

#include "base/result.hpp"
#include "io/loop.hpp"
#include "io/scope.hpp"

namespace stem {
namespace co {

// The part that sleeps, yields and kernel operations share.
class Wait : public Waiter {
 public:
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> waiting) {
    return begin(waiting, *waiting.promise().scope);
  }

 protected:
  Wait() = default;
  ~Wait() = default;
  // Starts it; arrive() comes later, from the loop.
  virtual void depart(io::Loop& loop) = 0;
  // The last thing: this may be gone when it returns.
  void arrive(std::int32_t result);
  Scope& scope() const noexcept { return *scope_; }

  std::int32_t result_ = 0;  // a count or 0, or minus an errno

  // Why result_ < 0, after `what` was tried.
  Error error(std::string_view what) const;

 private:
  bool begin(std::coroutine_handle<> waiting, Scope& scope);

  Scope* scope_ = nullptr;
  std::coroutine_handle<> waiting_;
};

class Operation : public Wait {
 public:
  void call_off() noexcept final;
  io::WaitsFor waits_for() const noexcept final;

 protected:
  explicit Operation(const io::Request& request) noexcept : request_(request) {}
  ~Operation() = default;
  void depart(io::Loop& loop) override;

  io::Request request_;

 private:
  io::OperationId id_;
};

class Sleep final : public Wait {
 public:
  explicit Sleep(std::int64_t due_ns) noexcept : due_ns_(due_ns) {}
  Result<void> await_resume() const;
  void call_off() noexcept override;
  io::WaitsFor waits_for() const noexcept override;

 private:
  void depart(io::Loop& loop) override;
  std::int64_t due_ns_;
  io::TimerId timer_;
};

class Yield final : public Wait {
 public:
  Result<void> await_resume() const;
  void call_off() noexcept override {}  // it comes at once
  io::WaitsFor waits_for() const noexcept override { return {}; }

 private:
  void depart(io::Loop& loop) override;
};

class Ready final : public Operation {
 public:
  Ready(io::Request::Kind kind, int fd) noexcept : Operation({.kind = kind, .fd = fd}) {}
  Result<std::uint32_t> await_resume() const;  // the mask
};

// The scope of the coroutine that asks. Does not suspend.
struct Here {
  Scope* scope = nullptr;
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> asking) noexcept {
    scope = asking.promise().scope;
    return false;
  }
  Scope& await_resume() const noexcept { return *scope; }
};

// An Error for minus an errno.
Error errno_error(std::string_view what, std::int32_t result);

}  // namespace co

// To a fraction of a millisecond; not at all when `time` is zero or less.
co::Sleep sleep(std::chrono::nanoseconds time) noexcept;
co::Sleep sleep_until(std::chrono::steady_clock::time_point when) noexcept;
// Lets everything run that is ready. Long computations should, now and then: nobody else runs meanwhile.
inline co::Yield yield() noexcept { return {}; }
// Readiness of a descriptor of your own (an eventfd, a library's socket).
inline co::Ready readable(int fd) noexcept { return {io::Request::Kind::kReadable, fd}; }
inline co::Ready writable(int fd) noexcept { return {io::Request::Kind::kWritable, fd}; }

}  // namespace stem
