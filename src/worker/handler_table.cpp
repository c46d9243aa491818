#include "worker/handler_table.hpp"

#include <memory>

#include "worker/settle.hpp"

namespace stem::worker {
namespace {

co::Tree run(CoHandler& handler, TaskContext& context, std::optional<Outcome>& into) {
  try {
    Co<Outcome> call = handler(context);
    into.emplace(co_await std::move(call));
  } catch (...) {
    into.emplace(outcome_of_exception());
  }
}

}  // namespace

// The function object stands as long as the table: its coroutine refers to it.
CoStart start_of(CoHandler handler) {
  return [shared = std::make_shared<CoHandler>(std::move(handler))](
             TaskContext& context, std::optional<Outcome>& into) { return run(*shared, context, into); };
}

}  // namespace stem::worker
