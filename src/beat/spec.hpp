// When a schedule fires: what people write, and the next time it means. Pure: no clock; times are nanoseconds of
// CLOCK_REALTIME.
//
//   "every:20ms"                                           a text; no unit is seconds
//   "30 2 * * MON"                                         a text that is no every: is cron
//   {kind: interval, every: 15m | everyMs: 900000, startAt, endAt}
//   {kind: cron, expression: "30 2 * * MON"}
//   {kind: calendar, months, weekdays, monthdays, hours, minutes}    lists; cron by another name
//   {kind: solar, event: sunrise|sunset|noon, latitude, longitude, offset}
//   {kind: clocked, runAt}
// each object with endAt, startAt and runOnce where they make sense.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "beat/cron.hpp"
#include "beat/solar.hpp"
#include "beat/zone.hpp"

namespace stem::beat {

inline constexpr std::int64_t kShortestIntervalNs = 1'000'000;  // 1 ms: planned times are told apart by milliseconds

struct Interval {
  std::int64_t every_ns = 0;
};

struct Solar {
  SolarEvent event = SolarEvent::kNoon;
  double latitude_deg = 0, longitude_deg = 0;
  std::int64_t offset_ns = 0;
};

struct Clocked {
  std::int64_t at_ns = 0;
};

class Spec {
 public:
  // One line that says what is wrong, where, and what is allowed.
  static Result<Spec> parse(const nlohmann::json& written, const Zone& zone);
  static Result<Spec> parse_text(std::string_view text);

  // The first time after `after_ns`; nothing when there is none any more. Intervals without startAt count from
  // `anchor_ns`, the time at which the entry came.
  [[nodiscard]] std::optional<std::int64_t> next(std::int64_t after_ns, std::int64_t anchor_ns, const Zone& zone) const;

  [[nodiscard]] bool run_once() const { return run_once_; }
  // The interval, if it is one: ticks of the same entry are so far apart.
  [[nodiscard]] std::optional<std::int64_t> every_ns() const;
  // For people, in one line: "every:20ms", "30 2 * * MON", "solar sunrise 52.52,13.4 -15m".
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  friend class SpecParser;
  [[nodiscard]] std::optional<std::int64_t> next_of_rule(std::int64_t after_ns, std::int64_t anchor_ns,
                                                         const Zone& zone) const;

  std::variant<Interval, Cron, Solar, Clocked> rule_;
  std::optional<std::int64_t> start_ns_;
  std::int64_t end_ns_ = std::numeric_limits<std::int64_t>::max();
  bool run_once_ = false;
  std::string text_;
};

// The keys that a spec object of a kind may have ("" = all kinds'), for "did you mean".
std::vector<std::string> spec_keys(std::string_view kind);
std::vector<std::string> spec_kinds();

// "2026-01-31T12:00:00Z", "...+02:00", with fractions; without a distance to UTC it is local time of the zone.
Result<std::int64_t> parse_time_ns(std::string_view text, const Zone& zone);
// "2026-01-31T12:00:00.123Z": as planned times are written into a task.
std::string write_utc(std::int64_t time_ns);

// "-15m", "20ms", a number of seconds: a duration with a sign.
Result<std::int64_t> parse_signed_duration_ns(std::string_view text);

// The next time a cron expression means, in a zone whose clocks are set forward and back; see docs/beat.md.
std::optional<std::int64_t> next_cron_s(const Cron& cron, const Zone& zone, std::int64_t after_s);

}  // namespace stem::beat
