#include "io/nursery.hpp"

#include "io/due.hpp"

namespace stem {

Nursery::Child Nursery::run(Co<void> child) { co_await std::move(child); }

void Nursery::start(Co<void> child) {
  const Child made = run(std::move(child));
  auto& promise = made.handle.promise();
  promise.scope = &scope_;
  promise.nursery = this;
  promise.insert_before(children_);
  ++running_;
  made.handle.resume();
}

// The frame goes first: whoever joins may destroy the nursery.
std::coroutine_handle<> Nursery::child_ended(std::coroutine_handle<Child::promise_type> ended) noexcept {
  ended.promise().remove();
  ended.destroy();
  if (--running_ == 0 && joining_) return std::exchange(joining_, nullptr);
  return std::noop_coroutine();
}

Nursery::~Nursery() {
  while (!children_.alone()) {
    auto& promise = *static_cast<Child::promise_type*>(children_.next);
    promise.remove();
    std::coroutine_handle<Child::promise_type>::from_promise(promise).destroy();
  }
}

namespace co {

Deadline::Deadline(Scope& scope, std::chrono::nanoseconds time) : loop_(scope.root().loop()) {
  timer_ = loop_.call_at(co::due_in(time), [&scope] { scope.cancel(Stop::kTimeout); });
}

}  // namespace co
}  // namespace stem
