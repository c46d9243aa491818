// Cron expressions: five fields (minute hour day-of-month month day-of-week) or six (second first).
//
//   field    values   names      also
//   second   0-59
//   minute   0-59
//   hour     0-23
//   day      1-31                L = the month's last day
//   month    1-12     JAN-DEC
//   weekday  0-7      SUN-SAT    5L = the month's last Friday, 5#2 = its second; 0 and 7 are Sunday
//
// In each: *, lists (a,b), ranges (a-b), steps (*/n, a-b/n, a/n = from a to the end). When neither day nor
// weekday begins with *, one of them is enough; otherwise both must fit, as in cron(8).
//
// Pure: no clock, no zone. docs/beat.md says what happens when clocks are set forward and back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace stem::beat {

inline constexpr std::int64_t kDay_s = 86'400;

class Cron {
 public:
  // One line that says which field is wrong, where, and what is allowed there.
  static Result<Cron> parse(std::string_view text);

  // The first fitting local time after `local_s`; nothing within a lifetime of leap years: never.
  [[nodiscard]] std::optional<std::int64_t> next_local(std::int64_t local_s) const;

  // Hour or minute begins with *: it follows the clock as it is shown, also while an hour is repeated.
  [[nodiscard]] bool follows_clock() const { return hour_star_ || minute_star_; }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  friend class CronParser;
  [[nodiscard]] bool day_fits(unsigned month, unsigned day, unsigned days_in_month, unsigned weekday) const;
  [[nodiscard]] std::optional<std::int64_t> next_of_day(std::int64_t from_s) const;

  std::uint64_t seconds_ = 1, minutes_ = 0;
  std::uint32_t hours_ = 0, days_ = 0, months_ = 0;
  std::uint32_t weekdays_ = 0;       // bit 0 = Sunday
  std::uint32_t last_weekdays_ = 0;  // the same, the month's last
  std::uint32_t nth_weekdays_[6] = {};
  bool last_day_ = false;
  bool minute_star_ = false, hour_star_ = false, day_star_ = false, weekday_star_ = false;
  std::string text_;
};

}  // namespace stem::beat
