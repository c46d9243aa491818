// Co<T>: a coroutine that begins when it is awaited, on the awaiting coroutine's thread, and whose value or exception the
// await gives. Whoever holds the object owns the frame.
//
//   stem::Co<std::size_t> copy(stem::File& from, stem::File& to);
//   std::size_t bytes = co_await copy(a, b);
//
// Coroutines call each other without using up the stack, however deep (symmetric transfer).
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace stem {

template <class T = void>
class Co;

namespace co {

class Scope;

// Of this thread: what its coroutines' frames take.
struct FrameUse {
  std::uint64_t frames = 0;  // that are there now
  std::uint64_t bytes = 0;   // of these
  std::uint64_t made = 0;    // ever
};
FrameUse frame_use() noexcept;

void* new_frame(std::size_t bytes);
void delete_frame(void* frame, std::size_t bytes) noexcept;

class PromiseBase {
 public:
  static void* operator new(std::size_t bytes) { return new_frame(bytes); }
  static void operator delete(void* frame, std::size_t bytes) noexcept { delete_frame(frame, bytes); }

  std::suspend_always initial_suspend() const noexcept { return {}; }

  // Set before it begins.
  Scope* scope = nullptr;
  std::coroutine_handle<> continuation = std::noop_coroutine();
};

struct Continue {
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> done) const noexcept {
    return done.promise().continuation;
  }
  void await_resume() const noexcept {}
};

template <class T>
class Promise : public PromiseBase {
 public:
  Co<T> get_return_object() noexcept;
  Continue final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { thrown_ = std::current_exception(); }
  template <class U>
  requires std::is_constructible_v<T, U&&>
  void return_value(U&& value) { value_.emplace(std::forward<U>(value)); }
  T take() {
    if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
    return std::move(*value_);
  }

 private:
  std::optional<T> value_;
  std::exception_ptr thrown_;
};

template <>
class Promise<void> : public PromiseBase {
 public:
  Co<void> get_return_object() noexcept;
  Continue final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { thrown_ = std::current_exception(); }
  void return_void() const noexcept {}
  void take() {
    if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
  }

 private:
  std::exception_ptr thrown_;
};

}  // namespace co

template <class T>
class [[nodiscard]] Co {
 public:
  using promise_type = co::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;
  static_assert(!std::is_reference_v<T>, "a coroutine gives a value: return a pointer instead of a reference");

  Co() noexcept = default;
  Co(Co&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Co& operator=(Co&& other) noexcept {
    if (this != &other) {
      if (handle_) handle_.destroy();
      handle_ = std::exchange(other.handle_, {});
    }
    return *this;
  }
  ~Co() {
    if (handle_) handle_.destroy();
  }

  bool done() const noexcept { return !handle_ || handle_.done(); }

  // Once.
  auto operator co_await() && noexcept { return Awaiter{handle_}; }

  // For whoever begins it by hand (scope.hpp).
  Handle handle() const noexcept { return handle_; }

 private:
  friend promise_type;
  struct Awaiter {
    Handle handle;
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
      handle.promise().scope = awaiting.promise().scope;
      handle.promise().continuation = awaiting;
      return handle;
    }
    T await_resume() { return handle.promise().take(); }
  };

  explicit Co(Handle handle) noexcept : handle_(handle) {}
  Handle handle_;
};

namespace co {

template <class T>
Co<T> Promise<T>::get_return_object() noexcept {
  return Co<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}
inline Co<void> Promise<void>::get_return_object() noexcept {
  return Co<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}

template <class T>
inline constexpr bool is_co = false;
template <class T>
inline constexpr bool is_co<Co<T>> = true;
template <class T>
struct ValueOf;
template <class T>
struct ValueOf<Co<T>> {
  using type = T;
};
template <class C>
using value_of = typename ValueOf<std::remove_cvref_t<C>>::type;

}  // namespace co
}  // namespace stem
