// A task's descriptor: its name, its arguments and result, its options. Shared by producers and
// workers, made at compile time, registered nowhere:
//
//   inline constexpr stem::Task<Thumb(Resize)> resize{"img.resize", {.queue = "img"}};
#pragma once

#include <cstdint>
#include <string_view>
#include <tuple>
#include <type_traits>

#include "stem/options.hpp"

namespace stem {

struct Nothing {};  // the arguments of Task<R()>

namespace detail {

// FNV-1a, so that a descriptor's key is a compile-time constant.
class KeyHash {
 public:
  constexpr KeyHash& add(std::uint64_t value) {
    for (int i = 0; i < 8; ++i) byte(static_cast<std::uint8_t>(value >> (8 * i)));
    return *this;
  }
  constexpr KeyHash& add(Duration d) { return add(static_cast<std::uint64_t>(d.count())); }
  constexpr KeyHash& add(std::string_view text) {
    for (const char c : text) byte(static_cast<std::uint8_t>(c));
    return add(text.size());
  }
  constexpr std::uint64_t value() const { return hash_; }

 private:
  constexpr void byte(std::uint8_t b) { hash_ = (hash_ ^ b) * 0x100000001b3ull; }
  std::uint64_t hash_ = 0xcbf29ce484222325ull;
};

constexpr std::uint64_t task_key(std::string_view name, const TaskOptions& o, bool typed_result) {
  KeyHash h;
  h.add(name).add(o.queue).add(std::uint64_t(o.max_retries.value_or(-1))).add(std::uint64_t(o.priority));
  h.add(o.visibility_timeout).add(o.soft_time_limit).add(o.hard_time_limit).add(o.rate_limit);
  h.add(o.group_rate_limit).add(o.group_rate_key).add(o.group_rate_key_header);
  h.add(std::uint64_t(o.concurrency_limit)).add(o.concurrency_key).add(o.unique_for);
  h.add(std::uint64_t(o.retry.kind)).add(o.retry.base).add(o.retry.max).add(o.retry_for);
  h.add(o.no_retry_for).add(o.expires).add(o.result_ttl.value_or(Duration(-1)));
  h.add(std::uint64_t(typed_result) | std::uint64_t(o.unique) << 1 | std::uint64_t(o.auto_renew) << 2 |
        std::uint64_t(o.rate_limiter_failure_mode) << 3);
  return h.value();
}

}  // namespace detail

// A descriptor without its types.
struct TaskInfo {
  std::string_view name;
  TaskOptions options;
  bool typed_result = false;  // the result is kept unless the options say otherwise
  std::uint64_t key = 0;      // identifies name and options together

  constexpr TaskInfo(std::string_view task_name, const TaskOptions& task_options, bool has_result)
      : name(task_name),
        options(task_options),
        typed_result(has_result),
        key(detail::task_key(task_name, task_options, has_result)) {}
};

template <class Signature>
class Task;

// R may be void. Zero arguments are Nothing, one is itself, several are a tuple.
template <class R, class... A>
class Task<R(A...)> : public TaskInfo {
 public:
  using Result = R;
  using Args = typename std::conditional_t<
      sizeof...(A) == 0, std::type_identity<Nothing>,
      std::conditional_t<sizeof...(A) == 1, std::tuple_element<0, std::tuple<A..., Nothing>>,
                         std::type_identity<std::tuple<A...>>>>::type;
  static constexpr std::size_t kArity = sizeof...(A);
  static_assert(!(std::is_reference_v<A> || ...), "arguments are stored: give a value type, not a reference");
  static_assert(!std::is_reference_v<R>, "the result is stored: give a value type, not a reference");

  constexpr explicit Task(std::string_view task_name, const TaskOptions& task_options = {})
      : TaskInfo(task_name, task_options, !std::is_void_v<R>) {}
};

}  // namespace stem
