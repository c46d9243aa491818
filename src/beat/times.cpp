// Points in time and durations as schedules have them.
#include <date/date.h>
#include <fmt/format.h>

#include <cmath>

#include "base/units.hpp"
#include "beat/spec.hpp"

namespace stem::beat {
namespace {

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}
  bool at_end() const { return at_ == text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[at_]; }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  // Exactly so many digits.
  bool digits(int count, int& value) {
    value = 0;
    for (int i = 0; i < count; ++i) {
      if (peek() < '0' || peek() > '9') return false;
      value = value * 10 + (text_[at_++] - '0');
    }
    return true;
  }
  // Up to nine are kept.
  bool fraction(std::int64_t& ns) {
    std::int64_t unit = 100'000'000;
    if (peek() < '0' || peek() > '9') return false;
    for (ns = 0; peek() >= '0' && peek() <= '9'; ++at_, unit /= 10) ns += unit * (text_[at_] - '0');
    return true;
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

struct Written {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  std::int64_t fraction_ns = 0;
  std::optional<int> offset_s;
};

bool read(Reader& in, Written& w) {
  if (!in.digits(4, w.year) || !in.take('-') || !in.digits(2, w.month) || !in.take('-') || !in.digits(2, w.day))
    return false;
  if (in.at_end()) return true;
  if (!in.take('T') && !in.take(' ') && !in.take('t')) return false;
  if (!in.digits(2, w.hour) || !in.take(':') || !in.digits(2, w.minute)) return false;
  if (in.take(':') && !in.digits(2, w.second)) return false;
  if (in.take('.') && !in.fraction(w.fraction_ns)) return false;
  if (in.take('Z') || in.take('z')) {
    w.offset_s = 0;
  } else if (in.peek() == '+' || in.peek() == '-') {
    const int sign = in.peek() == '-' ? -1 : 1;
    int hours = 0;
    int minutes = 0;
    (void)in.take(in.peek());
    if (!in.digits(2, hours) || !in.take(':') || !in.digits(2, minutes) || hours > 15 || minutes > 59) return false;
    w.offset_s = sign * (hours * 3600 + minutes * 60);
  }
  return in.at_end();
}

}  // namespace

Result<std::int64_t> parse_time_ns(std::string_view text, const Zone& zone) {
  const Error refusal{Errc::kInvalidArgument,
                      fmt::format("\"{}\" is not a time; write it as \"2026-01-31T12:00:00Z\", or without the Z in "
                                  "the entry's time zone",
                                  text.substr(0, 60))};
  Reader in(text);
  Written w;
  if (!read(in, w)) return refusal;
  const date::year_month_day ymd{date::year(w.year), date::month(static_cast<unsigned>(w.month)),
                                 date::day(static_cast<unsigned>(w.day))};
  if (!ymd.ok() || w.hour > 23 || w.minute > 59 || w.second > 60 || w.year < 1970 || w.year > 2200) return refusal;
  std::int64_t seconds =
      date::sys_days(ymd).time_since_epoch().count() * std::int64_t{86'400} + w.hour * 3600 + w.minute * 60 + w.second;
  seconds = w.offset_s ? seconds - *w.offset_s : zone.from_local(seconds).utc_s;
  return seconds * kSecondNs + w.fraction_ns;
}

std::string write_utc(std::int64_t time_ns) {
  const std::int64_t seconds = floor_seconds(time_ns);
  const std::int64_t days = seconds / 86'400 - (seconds % 86'400 < 0 ? 1 : 0);
  const std::int64_t of_day = seconds - days * 86'400;
  const date::year_month_day ymd{date::sys_days(date::days(days))};
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", static_cast<int>(ymd.year()),
                     static_cast<unsigned>(ymd.month()), static_cast<unsigned>(ymd.day()), of_day / 3600,
                     of_day / 60 % 60, of_day % 60, (time_ns - seconds * kSecondNs) / 1'000'000);
}

Result<std::int64_t> parse_signed_duration_ns(std::string_view text) {
  const bool negative = text.starts_with('-');
  std::string_view size = negative || text.starts_with('+') ? text.substr(1) : text;
  const bool bare = !size.empty() && size.find_first_not_of("0123456789") == std::string_view::npos;
  const auto parsed = base::parse_duration_ns(bare ? std::string(size) + "s" : std::string(size));
  if (!parsed.ok()) return parsed.error();
  return negative ? -*parsed : *parsed;
}

}  // namespace stem::beat
