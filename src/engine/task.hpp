// What the engine knows of a task: its id, what a producer asks for, what a worker gets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "shm/control_word.hpp"
#include "shm/limits.hpp"

namespace stem::engine {

inline constexpr std::int64_t kSecondNs = 1'000'000'000;
inline constexpr std::int64_t kDefaultVisibilityNs = 30 * kSecondNs;
inline constexpr std::int64_t kDefaultResultTtlNs = 86'400 * kSecondNs;
inline constexpr std::uint16_t kDefaultMaxRetries = 3;
inline constexpr std::uint32_t kPoisonLimit = 3;

// `by` after `now`; a time beyond all time is the last one there is.
constexpr std::int64_t later_ns(std::int64_t now, std::int64_t by) {
  return now > 0 && by > INT64_MAX - now ? INT64_MAX : now + by;
}

// Names a task for ever: the segment (epoch), the slot, which life of the slot, and which item of a run.
struct TaskId {
  std::uint32_t epoch = 0;
  std::uint64_t handle = 0;  // item (4) | generation (36) | slot (24); item 0 = the slot is one task

  static constexpr int kItemShift = shm::kSlotBits + shm::kGenerationBits;
  static constexpr std::uint64_t kSlotLife = (std::uint64_t{1} << kItemShift) - 1;

  static constexpr TaskId make(std::uint32_t epoch, std::uint32_t slot, std::uint64_t generation,
                               std::uint32_t item = 0) {
    return {epoch, std::uint64_t{item} << kItemShift | generation << shm::kSlotBits | slot};
  }
  constexpr std::uint32_t slot() const { return static_cast<std::uint32_t>(handle) & (shm::kMaxSlots - 1); }
  constexpr std::uint64_t generation() const { return (handle & kSlotLife) >> shm::kSlotBits; }
  constexpr std::uint32_t item() const { return static_cast<std::uint32_t>(handle >> kItemShift); }
  constexpr explicit operator bool() const { return epoch != 0; }
  friend constexpr bool operator==(TaskId, TaskId) = default;
};

// "1f2e3d4c-000000000abc0012": eight and sixteen hexadecimal digits.
std::string to_string(TaskId id);
// False when the text is not an id.
bool parse_task_id(std::string_view text, TaskId& id);

enum class RetryKind : std::uint8_t { kExponential = 0, kLinear = 1, kConstant = 2, kUser = 3 };

struct RetryPolicy {
  RetryKind kind = RetryKind::kExponential;
  std::int64_t base_ns = 2 * kSecondNs;
  std::int64_t max_ns = 300 * kSecondNs;
  friend bool operator==(const RetryPolicy&, const RetryPolicy&) = default;
};

// N per period; count 0 = none.
struct Rate {
  std::uint32_t count = 0;
  std::uint32_t period_s = 0;  // 1, 60 or 3600
  constexpr explicit operator bool() const { return count != 0; }
  friend bool operator==(Rate, Rate) = default;
};

// Everything a producer may ask for beyond the plain path. Kept beside the payload (extension.hpp).
// Texts are opaque to the engine: the front door encodes headers and meta as JSON.
struct TaskExtras {
  std::int64_t expires_ns = 0;  // CLOCK_MONOTONIC; not started after it. 0 = never
  std::int64_t visibility_ns = kDefaultVisibilityNs;
  std::int64_t soft_limit_ns = 0;
  std::int64_t hard_limit_ns = 0;
  std::int64_t result_ttl_ns = kDefaultResultTtlNs;
  RetryPolicy retry;
  std::uint64_t unique_key = 0;    // hash; 0 = not unique
  std::int64_t unique_for_ns = 0;  // 0 = while the task lives
  bool unique_everywhere = false;  // the key means the same on every host: a user's, not the engine's own
  std::uint64_t rate_key = 0;
  Rate rate;
  std::uint64_t group_rate_key = 0;
  Rate group_rate;
  std::uint64_t concurrency_key = 0;
  std::uint32_t concurrency_limit = 0;
  bool limits_fail_closed = false;  // while limits kept with other hosts cannot be asked for, it does not start
  std::uint64_t affinity_key = 0;
  std::uint64_t run_item = 0;  // the engine's own: TaskId::handle of the item of a run that it was
  std::string_view headers;    // JSON object text
  std::string_view meta;       // JSON object text
  std::string_view idempotency_key;
  std::string_view link;        // encoded tasks to enqueue after success
  std::string_view link_error;  // after final failure
  std::string_view retry_for;   // error kinds, comma separated; empty = all
  std::string_view no_retry_for;
  std::string_view origin;  // where the gateway took it over from (its own words); empty = made here
  std::string_view tick;    // the engine's own: a TickNote, of a schedule's tick
};

// A task to enqueue. `queue` and `task` are interned numbers.
struct TaskSpec {
  std::uint32_t queue = 0;
  std::uint32_t task = 0;
  std::uint16_t max_retries = kDefaultMaxRetries;
  std::uint16_t attempt = 0;  // attempts that it has behind it, on another host
  std::uint8_t priority = 0;  // clamped to 0..9
  bool keep_result = false;
  bool auto_renew = true;
  bool in_place = false;    // the payload is a trivially copyable argument
  std::int64_t due_ns = 0;  // CLOCK_MONOTONIC; 0 = at once
  std::span<const std::byte> payload;
  const TaskExtras* extras = nullptr;  // nullptr = the plain path
};

enum class [[nodiscard]] EnqueueStatus : std::uint8_t{
    kOk,
    kFull,       // no slot, the queue is at its maximum length and rejects, or no room for its unique key
    kTooLarge,   // payload beyond kMaxPayloadBytes
    kDuplicate,  // unique and already there; the id is the holder's
    kNoMemory,   // /dev/shm is full
    kDetached,   // this participant was taken for dead; join anew
};
const char* to_string(EnqueueStatus status) noexcept;

struct EnqueueResult {
  EnqueueStatus status = EnqueueStatus::kOk;
  TaskId id;
};

// A claimed task in the hands of a worker. `word` names the grant; every later call names it again.
struct Lease {
  constexpr Lease() = default;
  constexpr Lease(std::uint32_t in_slot, shm::ControlWord held, std::uint32_t of_item = 0)
      : slot(in_slot), item(of_item), word(held) {}
  std::uint32_t slot = 0;
  std::uint32_t item = 0;  // 1..15: this item of the run in `slot`
  shm::ControlWord word;
};

// What a finished task left behind.
enum class OutcomeKind : std::uint8_t { kNone = 0, kSucceeded = 1, kFailed = 2, kCancelled = 3 };

}  // namespace stem::engine
