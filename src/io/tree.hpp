// The outermost coroutine of a Root: notes its end there, and leaves its frame to whoever began it.
#pragma once

#include <coroutine>
#include <exception>

#include "io/co.hpp"
#include "io/scope.hpp"

namespace stem::co {

struct Tree {
  struct promise_type : PromiseBase {
    Tree get_return_object() noexcept { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always final_suspend() const noexcept {
      scope->root().note_end();
      return {};
    }
    void unhandled_exception() const noexcept { std::terminate(); }  // its body catches everything
    void return_void() const noexcept {}
  };
  std::coroutine_handle<promise_type> handle;
};

}  // namespace stem::co
