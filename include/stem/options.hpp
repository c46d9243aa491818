// What a task asks for: TaskOptions stand with the task's descriptor and hold for every call,
// EnqueueOptions are one call's. Names and defaults as in the reference; a duration of zero means
// "none" unless the field says otherwise.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stem {

using Duration = std::chrono::nanoseconds;
using std::chrono_literals::operator""h;
using std::chrono_literals::operator""min;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""ns;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""us;

inline constexpr Duration kDefaultVisibilityTimeout = std::chrono::seconds(30);

enum class RetryKind : std::uint8_t {
  kExponential,  // min(base * 2^n, max), less a random 0 to 25 %
  kLinear,       // min(base * (n + 1), max)
  kConstant,     // base
  kUser,         // Worker::retry_delay() gives the function; without one, exponential
};

// What a task with a rate or concurrency limit does while the limit is kept with other hosts and cannot be asked for:
// it goes by this host's own count, or it waits.
enum class LimitFailure : std::uint8_t { kOpen, kClosed };

struct Retry {
  RetryKind kind = RetryKind::kExponential;
  Duration base = std::chrono::seconds(2);
  Duration max = std::chrono::minutes(5);
};

// The texts are not copied: give literals, as in `inline constexpr stem::Task<...>`.
struct TaskOptions {
  std::string_view queue{};          // empty: $STEM_DEFAULT_QUEUE, else "default"
  std::optional<int> max_retries{};  // none: $STEM_DEFAULT_MAX_RETRIES, else 3
  int priority = 0;                  // 0..9, larger first; clamped
  Duration visibility_timeout = kDefaultVisibilityTimeout;
  bool auto_renew = true;  // false: the lease ends by the clock although the worker lives
  Duration soft_time_limit{};
  Duration hard_time_limit{};
  std::string_view rate_limit{};        // "N/s", "N/m", "N/h", per value of the header `tenant`
  std::string_view group_rate_limit{};  // a bucket shared by all tasks with the same group_rate_key
  std::string_view group_rate_key{};
  std::string_view group_rate_key_header = "tenant";
  int concurrency_limit = 0;  // at most this many running at once, per concurrency_key
  std::string_view concurrency_key{};
  LimitFailure rate_limiter_failure_mode = LimitFailure::kOpen;
  bool unique = false;    // a duplicate gets the holder's id and creates nothing
  Duration unique_for{};  // zero: the visibility timeout
  Retry retry{};
  std::string_view retry_for{};  // error kinds, comma separated; empty: all
  std::string_view no_retry_for{};
  Duration expires{};                    // not started later than this after the enqueue
  std::optional<Duration> result_ttl{};  // none: one day for a typed result, nothing kept for void
};

using Headers = std::map<std::string, std::string, std::less<>>;

// A task that follows another; made by stem::link(). Its own options except queue, priority and
// retries are not carried.
struct Link {
  std::string task{};
  std::string queue{};
  std::string payload{};
  int priority = 0;
  std::optional<int> max_retries{};
  bool keep_result = false;
  bool in_place = false;
};

// What is left out is taken from the task.
struct EnqueueOptions {
  Duration delay{};
  std::optional<std::chrono::system_clock::time_point> eta{};  // not together with `delay`
  std::optional<Duration> expires{};
  std::optional<int> priority{};
  std::optional<int> max_retries{};
  std::string queue{};
  Headers headers{};
  std::string meta{};  // a JSON object; keys that start with "stem." are the system's
  std::optional<bool> unique{};
  std::string unique_key{};  // instead of the arguments' hash; implies `unique`
  std::optional<Duration> unique_for{};
  std::string idempotency_key{};
  std::string affinity_key{};
  std::string concurrency_key{};
  std::optional<Duration> result_ttl{};
  std::vector<Link> link{};        // after success
  std::vector<Link> link_error{};  // after final failure
  // How long to wait for room when the queue or the segment is full. None: one second for a queue
  // whose overflow policy is `block`, else not at all.
  std::optional<Duration> full_timeout{};
};

}  // namespace stem
