// From a user's lambda, or coroutine, to what a worker runs: decode, call, encode. Not for users.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>

#include "io/run_blocking.hpp"
#include "stem/context.hpp"
#include "stem/outcome.hpp"
#include "stem/task.hpp"

namespace stem {

// Delay before the next attempt; nothing = by the task's own policy. `attempt` counts from 0, `error_kind`
// is the type of what was thrown.
using RetryDelay = std::function<std::optional<Duration>(std::uint32_t attempt, std::string_view error_kind)>;

namespace detail {

// What a handler said, without types.
struct Answer {
  enum class Kind : std::uint8_t { kValue, kVerdict, kBadPayload };
  Kind kind = Kind::kValue;
  std::string result;
  Verdict verdict;
  std::string message;
};

using RawHandler = std::function<Answer(Context&, BytesView payload)>;
// Where a coroutine handler's answer goes when it is over: no frame keeps room for it while the handler waits.
class AnswerTaker {
 public:
  virtual void take(Answer answer) = 0;

 protected:
  ~AnswerTaker() = default;
};
// What it is given stays until the coroutine is over. Without an answer it has thrown.
using RawCoHandler = std::function<Co<void>(Context&, BytesView payload, AnswerTaker& taker)>;

template <class F, class Args>
decltype(auto) call_handler(F& handler, Context& context, const Args& args) {
  if constexpr (std::is_invocable_v<F&, Context&, const Args&>) {
    return handler(context, args);
  } else if constexpr (std::is_same_v<Args, Nothing> && std::is_invocable_v<F&, Context&>) {
    return handler(context);
  } else if constexpr (requires { std::apply(handler, std::tuple_cat(std::tuple<Context&>(context), args)); }) {
    return std::apply([&](const auto&... each) -> decltype(auto) { return handler(context, each...); }, args);
  } else if constexpr (std::is_invocable_v<F&, const Args&>) {
    return handler(args);
  } else {
    static_assert(sizeof(F) == 0,
                  "a handler takes (stem::Context&, const Args&): the arguments of its task and no others");
  }
}

template <class Got, class R>
concept Gives = std::is_same_v<Got, R> || std::is_same_v<Got, Outcome<R>> ||
    (!std::is_void_v<Got> && !std::is_void_v<R> && requires(Got && got) { R{std::forward<Got>(got)}; });

template <class R>
std::string encode_result(const R& value) {
  const auto encoded = Codec<R>::encode(value);
  const BytesView bytes = encoded;
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline Answer bad_payload(const Error& why) { return {Answer::Kind::kBadPayload, {}, {}, why.message}; }

template <class F, class Args>
using CallResult = std::remove_cvref_t<decltype(call_handler(std::declval<F&>(), std::declval<Context&>(),
                                                             std::declval<const Args&>()))>;

template <class F, class T>
inline constexpr bool is_coroutine = co::is_co<CallResult<F, typename T::Args>>;

// `outcome`: an Outcome<R>, or something that makes an R.
template <class R, class Got>
Answer answer_of(Got&& outcome) {
  if constexpr (std::is_same_v<std::remove_cvref_t<Got>, Outcome<R>>) {
    if (!outcome.has_value()) return {Answer::Kind::kVerdict, {}, outcome.verdict(), {}};
    if constexpr (std::is_void_v<R>)
      return {};
    else
      return {Answer::Kind::kValue, encode_result<R>(outcome.value()), {}, {}};
  } else if constexpr (std::is_same_v<std::remove_cvref_t<Got>, R>) {
    return {Answer::Kind::kValue, encode_result<R>(outcome), {}, {}};
  } else {
    return {Answer::Kind::kValue, encode_result<R>(R{std::forward<Got>(outcome)}), {}, {}};
  }
}

// Not in the coroutine itself, whose frame would have room for it.
template <class R, class Got>
void give(AnswerTaker& taker, Got&& outcome) {
  taker.take(answer_of<R>(std::forward<Got>(outcome)));
}

template <class R, class Args, class F>
Co<void> run_coroutine(F& handler, Context& context, BytesView payload, AnswerTaker& taker) {
  using Got = co::value_of<CallResult<F, Args>>;
  static_assert(Gives<Got, R>, "a coroutine handler gives its task's result type R, or stem::Outcome<R>");
  Result<Args> args = Codec<Args>::decode(payload);
  if (!args) {
    taker.take(bad_payload(args.error()));
    co_return;
  }
  const Args& in = *args;
  Co<Got> call = call_handler(handler, context, in);
  if constexpr (std::is_void_v<Got>) {
    co_await std::move(call);
    taker.take({});
  } else {
    give<R>(taker, co_await std::move(call));
  }
}

// The worker keeps the function object for as long as it lives: a coroutine may refer to what its lambda captures.
template <class R, class... A, class F>
RawCoHandler make_co_handler(const Task<R(A...)>&, F handler) {
  using Args = typename Task<R(A...)>::Args;
  auto shared = std::make_shared<F>(std::move(handler));  // a std::function may be moved, a coroutine's captures not
  return [shared](Context& context, BytesView payload, AnswerTaker& taker) {
    return run_coroutine<R, Args, F>(*shared, context, payload, taker);
  };
}

template <class R, class... A, class F>
RawHandler make_handler(const Task<R(A...)>& task, F handler) {
  using Args = typename Task<R(A...)>::Args;
  using Got = CallResult<F, Args>;
  if constexpr (co::is_co<Got>) {  // where there is no worker's loop (test kits): on one of its own, to its end
    return [handler = make_co_handler(task, std::move(handler))](Context& context, BytesView payload) -> Answer {
      struct Keeper final : AnswerTaker {
        Answer answer;
        void take(Answer given) override { answer = std::move(given); }
      } keeper;
      run_blocking(handler(context, payload, keeper));
      return std::move(keeper.answer);
    };
  } else {
    static_assert(Gives<Got, R>, "a handler returns its task's result type R, or stem::Outcome<R>, or a Co of these");
    return [handler = std::move(handler)](Context& context, BytesView payload) mutable -> Answer {
      Result<Args> args = Codec<Args>::decode(payload);
      if (!args) return bad_payload(args.error());
      const Args& in = *args;
      if constexpr (std::is_void_v<Got>) {
        call_handler(handler, context, in);
        return {};
      } else {
        return answer_of<R>(call_handler(handler, context, in));
      }
    };
  }
}

}  // namespace detail
}  // namespace stem
