// What a handler may return besides its value. Throwing means a failed attempt; these say more, without
// an exception:
//
//   worker.on(probe, [](stem::Context&, const Probe& p) -> stem::Outcome<int> {
//     if (busy(p)) return stem::snooze(5ms);
//     return 1;
//   });
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "stem/options.hpp"

namespace stem {

// Made by the functions below; converts to any Outcome.
struct Verdict {
  enum class Kind : std::uint8_t { kRetry, kSnooze, kDiscard, kFail };
  Kind kind = Kind::kRetry;
  std::optional<Duration> delay;
  std::string reason;
};

// Again, after `delay` or else by the task's retry policy; uses an attempt.
inline Verdict retry(std::optional<Duration> delay = {}, std::string why = {}) {
  return {Verdict::Kind::kRetry, delay, std::move(why)};
}
// Later; no attempt used.
inline Verdict snooze(Duration delay) { return {Verdict::Kind::kSnooze, delay, {}}; }
// Nothing to do any more: over, as cancelled.
inline Verdict discard(std::string reason) { return {Verdict::Kind::kDiscard, {}, std::move(reason)}; }
// Failed for good: straight to the dead-letter queue.
inline Verdict fail(std::string reason) { return {Verdict::Kind::kFail, {}, std::move(reason)}; }

template <class R>
class [[nodiscard]] Outcome {
 public:
  Outcome(R value) : value_(std::move(value)) {}
  Outcome(Verdict verdict) : verdict_(std::move(verdict)) {}

  bool has_value() const noexcept { return value_.has_value(); }
  const R& value() const { return *value_; }
  const Verdict& verdict() const noexcept { return verdict_; }

 private:
  std::optional<R> value_;
  Verdict verdict_;
};

template <>
class [[nodiscard]] Outcome<void> {
 public:
  Outcome() = default;  // done
  Outcome(Verdict verdict) : verdict_(std::move(verdict)), done_(false) {}
  bool has_value() const noexcept { return done_; }
  const Verdict& verdict() const noexcept { return verdict_; }

 private:
  Verdict verdict_;
  bool done_ = true;
};

}  // namespace stem
