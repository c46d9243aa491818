// From a user's lambda to what a worker runs: decode, call, encode. Not for users.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>

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

template <class R, class... A, class F>
RawHandler make_handler(const Task<R(A...)>&, F handler) {
  using Args = typename Task<R(A...)>::Args;
  using Got =
      std::remove_cvref_t<decltype(call_handler(handler, std::declval<Context&>(), std::declval<const Args&>()))>;
  static_assert(Gives<Got, R>, "a handler returns its task's result type R, or stem::Outcome<R>");
  return [handler = std::move(handler)](Context& context, BytesView payload) mutable -> Answer {
    Result<Args> args = Codec<Args>::decode(payload);
    if (!args) return {Answer::Kind::kBadPayload, {}, {}, args.error().message};
    const Args& in = *args;
    if constexpr (std::is_same_v<Got, Outcome<R>>) {
      Got outcome = call_handler(handler, context, in);
      if (!outcome.has_value()) return {Answer::Kind::kVerdict, {}, outcome.verdict(), {}};
      if constexpr (std::is_void_v<R>)
        return {};
      else
        return {Answer::Kind::kValue, encode_result<R>(outcome.value()), {}, {}};
    } else if constexpr (std::is_void_v<R>) {
      call_handler(handler, context, in);
      return {};
    } else if constexpr (std::is_same_v<Got, R>) {
      return {Answer::Kind::kValue, encode_result<R>(call_handler(handler, context, in)), {}, {}};
    } else {
      return {Answer::Kind::kValue, encode_result<R>(R{call_handler(handler, context, in)}), {}, {}};
    }
  };
}

}  // namespace detail
}  // namespace stem
