// A coroutine on a loop of its own, for who has none: main(), tests, tools. Not inside a coroutine.
#pragma once

#include <optional>

#include "io/co.hpp"
#include "io/nursery.hpp"

namespace stem {
namespace co {

// Runs `main` to its end on `loop`. What it throws is its own business to catch.
void run_on(io::Loop& loop, Co<void> main);

template <class T>
Co<void> keep_or_throw(Co<T> from, std::optional<Stored<T>>& into, std::exception_ptr& thrown) {
  try {
    co_await keep(std::move(from), into);
  } catch (...) {
    thrown = std::current_exception();
  }
}

}  // namespace co

// Its value, or what it throws.
template <class T>
T run_on(io::Loop& loop, Co<T> main) {
  std::optional<co::Stored<T>> value;
  std::exception_ptr thrown;
  co::run_on(loop, co::keep_or_throw(std::move(main), value, thrown));
  if (thrown) std::rethrow_exception(thrown);
  if constexpr (!std::is_void_v<T>) return std::move(*value);
}

// The loop of this thread that run_blocking() uses; made with the first call. Ends the program when the kernel gives
// neither io_uring nor epoll.
io::Loop& blocking_loop();

template <class T>
T run_blocking(Co<T> main) {
  return run_on(blocking_loop(), std::move(main));
}

}  // namespace stem
