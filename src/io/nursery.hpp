// Several coroutines at once, and none of them left behind.
//
//   auto [a, b] = co_await stem::when_all(fetch(x), fetch(y));
//   auto first = co_await stem::when_any(ask(host1), ask(host2));          // the others are cancelled
//   auto reply = co_await stem::within(2s, ask(host));                     // its operations end with kTimeout
//   co_await stem::with_nursery([&](stem::Nursery& nursery) -> stem::Co<> {
//     for (...) nursery.start(serve(...));
//   });
//
// Each of these ends when the last of its coroutines has ended. When one throws, or what they all belong to is
// cancelled, the others' operations are called off; then they are waited for, and the exception goes on from here.
// All run on the loop's one thread: between two awaits nobody else runs.
#pragma once

#include <array>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "base/check.hpp"
#include "io/co.hpp"
#include "io/operation.hpp"
#include "io/scope.hpp"

namespace stem {

class Nursery {
 public:
  // For with_nursery().
  explicit Nursery(co::Scope& parent) noexcept : scope_(parent) {}
  // Only a handler that is ended by force comes here with children; they go with it.
  ~Nursery();
  Nursery(const Nursery&) = delete;
  Nursery& operator=(const Nursery&) = delete;

  // Begins it now; it runs beside the caller from its first wait on. What it throws cancels the others.
  void start(Co<void> child);
  std::size_t running() const noexcept { return running_; }
  void cancel() noexcept { scope_.cancel(co::Stop::kCancelled); }
  co::Scope& scope() noexcept { return scope_; }

  // Awaits the last child. For with_nursery().
  auto joined() noexcept {
    struct Join {
      Nursery& nursery;
      bool await_ready() const noexcept { return nursery.running_ == 0; }
      void await_suspend(std::coroutine_handle<> waiting) noexcept { nursery.joining_ = waiting; }
      void await_resume() const noexcept {}
    };
    return Join{*this};
  }
  bool has_thrown() const noexcept { return thrown_ != nullptr; }
  void rethrow_first() {
    if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
  }
  void note_thrown(std::exception_ptr thrown) noexcept {
    if (!thrown_) thrown_ = std::move(thrown);
    cancel();
  }

 private:
  // Runs one child and frees itself.
  struct Child {
    struct promise_type : co::PromiseBase, co::Hook {
      Child get_return_object() noexcept { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
      auto final_suspend() const noexcept {
        struct End {
          bool await_ready() const noexcept { return false; }
          std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> ended) const noexcept {
            return ended.promise().nursery->child_ended(ended);
          }
          void await_resume() const noexcept {}
        };
        return End{};
      }
      void unhandled_exception() noexcept { nursery->note_thrown(std::current_exception()); }
      void return_void() const noexcept {}
      Nursery* nursery = nullptr;
    };
    std::coroutine_handle<promise_type> handle;
  };
  static Child run(Co<void> child);
  std::coroutine_handle<> child_ended(std::coroutine_handle<Child::promise_type> ended) noexcept;

  co::Scope scope_;
  co::Hook children_;  // promises
  std::size_t running_ = 0;
  std::coroutine_handle<> joining_;
  std::exception_ptr thrown_;
};

namespace co {

// Awaits `inner` in another scope than the awaiting coroutine's.
template <class T>
auto in_scope(Scope& scope, Co<T>& inner) noexcept {
  struct Awaiter {
    Scope& scope;
    std::coroutine_handle<Promise<T>> handle;
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiting) noexcept {
      handle.promise().scope = &scope;
      handle.promise().continuation = awaiting;
      return handle;
    }
    T await_resume() { return handle.promise().take(); }
  };
  return Awaiter{scope, inner.handle()};
}

// Cancels a scope at a time, unless it is destroyed before.
class Deadline {
 public:
  Deadline(Scope& scope, std::chrono::nanoseconds time);
  ~Deadline() { loop_.cancel(timer_); }
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

 private:
  io::Loop& loop_;
  io::TimerId timer_;
};

template <class T>
using Stored = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

template <class T>
Co<void> keep(Co<T> from, std::optional<Stored<T>>& into) {
  if constexpr (std::is_void_v<T>) {
    co_await std::move(from);
    into.emplace();
  } else {
    into.emplace(co_await std::move(from));
  }
}

template <class T>
Co<void> keep_first(Co<T> from, std::size_t index, std::optional<std::pair<std::size_t, Stored<T>>>& into,
                    Nursery& nursery) {
  std::optional<Stored<T>> value;
  co_await keep(std::move(from), value);
  if (into || nursery.has_thrown()) co_return;  // after an exception it is one of those that were cancelled
  into.emplace(index, std::move(*value));
  nursery.cancel();
}

}  // namespace co

// `body` takes Nursery& and returns Co<>; it is one of those that are cancelled when a child throws. Children outlive
// what is local to it: what they share, and the lambdas they are made by, belong outside.
template <class Body>
Co<void> with_nursery(Body body) {
  Co<void> running;
  Nursery nursery(co_await co::Here{});
  try {
    running = body(nursery);
    co_await co::in_scope(nursery.scope(), running);
  } catch (...) {
    nursery.note_thrown(std::current_exception());
  }
  co_await nursery.joined();
  nursery.rethrow_first();
}

// A value for each, in their order; std::monostate for void.
template <class... T>
Co<std::tuple<co::Stored<T>...>> when_all(Co<T>... each) {
  std::tuple<std::optional<co::Stored<T>>...> values;
  {
    Nursery nursery(co_await co::Here{});
    std::apply([&](auto&... value) { (nursery.start(co::keep<T>(std::move(each), value)), ...); }, values);
    co_await nursery.joined();
    nursery.rethrow_first();
  }
  co_return std::apply([](auto&... value) { return std::tuple<co::Stored<T>...>(std::move(*value)...); }, values);
}

template <class T>
Co<std::vector<co::Stored<T>>> when_all(std::vector<Co<T>> each) {
  std::vector<std::optional<co::Stored<T>>> values(each.size());
  {
    Nursery nursery(co_await co::Here{});
    for (std::size_t i = 0; i < each.size(); ++i) nursery.start(co::keep<T>(std::move(each[i]), values[i]));
    co_await nursery.joined();
    nursery.rethrow_first();
  }
  std::vector<co::Stored<T>> all;
  all.reserve(values.size());
  for (auto& value : values) all.push_back(std::move(*value));
  co_return all;
}

// The number of the first that ended, and its value. `each` is not empty.
template <class T>
Co<std::pair<std::size_t, co::Stored<T>>> when_any(std::vector<Co<T>> each) {
  STEM_CHECK(!each.empty());
  std::optional<std::pair<std::size_t, co::Stored<T>>> first;
  {
    Nursery nursery(co_await co::Here{});
    for (std::size_t i = 0; i < each.size(); ++i)
      nursery.start(co::keep_first<T>(std::move(each[i]), i, first, nursery));
    co_await nursery.joined();
    if (!first) nursery.rethrow_first();
  }
  co_return std::move(*first);
}
template <class T, class... More>
requires(std::is_same_v<T, More>&&...) Co<std::pair<std::size_t, co::Stored<T>>> when_any(Co<T> one, Co<More>... more) {
  std::vector<Co<T>> each;
  each.push_back(std::move(one));
  (each.push_back(std::move(more)), ...);
  return when_any(std::move(each));
}

// What is not over after `time` is told to end: its operations give kTimeout.
template <class T>
Co<T> within(std::chrono::nanoseconds time, Co<T> inner) {
  co::Scope scope(co_await co::Here{});
  const co::Deadline deadline(scope, time);
  co_return co_await co::in_scope(scope, inner);
}

// Out of reach of what cancels the rest: for putting things in order at the end. Only a hard time limit ends it.
template <class T>
Co<T> shielded(Co<T> inner) {
  co::Scope scope(co_await co::Here{}, co::Scope::Kind::kShielded);
  co_return co_await co::in_scope(scope, inner);
}

}  // namespace stem
