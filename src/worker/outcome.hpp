// What a handler says about its task. An exception out of a handler is a failure too; a crash is a third
// thing and never one of these.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace stem::worker {

class [[nodiscard]] Outcome {
 public:
  enum class Kind : std::uint8_t { kSuccess, kRetry, kSnooze, kFail, kFailPermanently, kDiscard };

  static Outcome success() { return Outcome(Kind::kSuccess); }
  static Outcome success(std::string result) { return Outcome(Kind::kSuccess, std::move(result)); }
  static Outcome success(std::span<const std::byte> result) {
    return success(std::string(reinterpret_cast<const char*>(result.data()), result.size()));
  }
  // Again, by the task's retry policy; uses an attempt.
  static Outcome retry(std::string why = {}) { return Outcome(Kind::kRetry, std::move(why), "retry"); }
  // Again after `delay_ns`; uses an attempt.
  static Outcome retry_after(std::int64_t delay_ns, std::string why = {}) {
    Outcome o = retry(std::move(why));
    o.delay_ns_ = delay_ns;
    return o;
  }
  // Later; no attempt used.
  static Outcome snooze(std::int64_t delay_ns) {
    Outcome o(Kind::kSnooze);
    o.delay_ns_ = delay_ns;
    return o;
  }
  // A failed attempt: retried by policy while attempts are left.
  static Outcome fail(std::string kind, std::string message) {
    return Outcome(Kind::kFail, std::move(message), std::move(kind));
  }
  // Straight to the dead-letter queue.
  static Outcome fail_permanently(std::string kind, std::string message) {
    return Outcome(Kind::kFailPermanently, std::move(message), std::move(kind));
  }
  // Over, as cancelled: nothing to do any more.
  static Outcome discard(std::string reason) { return Outcome(Kind::kDiscard, std::move(reason), "discarded"); }

  Kind kind() const noexcept { return kind_; }
  std::span<const std::byte> result() const noexcept { return std::as_bytes(std::span(text_.data(), text_.size())); }
  std::string_view error_kind() const noexcept { return error_kind_; }
  std::string_view message() const noexcept { return text_; }
  std::int64_t delay_ns() const noexcept { return delay_ns_; }  // -1 = by the policy

 private:
  explicit Outcome(Kind kind, std::string text = {}, std::string error_kind = {})
      : kind_(kind), text_(std::move(text)), error_kind_(std::move(error_kind)) {}

  Kind kind_;
  std::int64_t delay_ns_ = -1;
  std::string text_;  // result, or message
  std::string error_kind_;
};

}  // namespace stem::worker
