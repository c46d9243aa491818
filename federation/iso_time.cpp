#include "federation/iso_time.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>

namespace stem::federation {
namespace {

constexpr std::int64_t kSecondUs = 1'000'000;
constexpr std::int64_t kDayUs = 86'400 * kSecondUs;

std::int64_t days_since_epoch(int year, unsigned month, unsigned day) {
  return std::chrono::sys_days(std::chrono::year(year) / std::chrono::month(month) / std::chrono::day(day))
      .time_since_epoch()
      .count();
}

// Two or four digits into `out`, without a look at the C library: this runs for every task.
char* put_digits(char* out, unsigned value, int digits) {
  for (int i = digits - 1; i >= 0; --i) {
    out[i] = static_cast<char>('0' + value % 10);
    value /= 10;
  }
  return out + digits;
}

// What is left of the text. Each method takes what it names, or says no and takes nothing.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) {}

  std::optional<int> digits(std::size_t count) {
    if (text_.size() < count) return std::nullopt;
    int value = 0;
    for (const char c : text_.substr(0, count)) {
      if (c < '0' || c > '9') return std::nullopt;
      value = value * 10 + (c - '0');
    }
    text_.remove_prefix(count);
    return value;
  }
  bool take(std::string_view any_of) {
    if (text_.empty()) return false;
    bool any = false;
    for (const char c : any_of) any |= c == text_.front();  // a handful, known where it is called
    if (any) text_.remove_prefix(1);
    return any;
  }
  char front() const { return text_.empty() ? '\0' : text_.front(); }
  bool at_end() const { return text_.empty(); }

 private:
  std::string_view text_;
};

struct Fields {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  std::int64_t fraction_us = 0;
  std::int64_t offset_s = 0;
};

bool read_number(Cursor& in, std::size_t digits, int low, int high, int& out) {
  const auto value = in.digits(digits);
  if (!value || *value < low || *value > high) return false;
  out = *value;
  return true;
}

bool read_fraction(Cursor& in, std::int64_t& out) {
  std::int64_t unit = kSecondUs / 10;
  bool any = false;
  while (const auto digit = in.digits(1)) {
    any = true;
    out += *digit * unit;
    unit /= 10;
  }
  return any;
}

bool read_zone(Cursor& in, std::int64_t& offset_s) {
  if (in.at_end() || in.take("Zz")) return true;
  const bool west = in.front() == '-';
  if (!in.take("+-")) return false;
  int hours = 0;
  int minutes = 0;
  if (!read_number(in, 2, 0, 23, hours)) return false;
  const bool colon = in.take(":");
  if ((colon || !in.at_end()) && !read_number(in, 2, 0, 59, minutes)) return false;
  offset_s = (hours * 60 + minutes) * (west ? -60 : 60);
  return true;
}

bool read_all(Cursor& in, Fields& f) {
  if (!read_number(in, 4, 0, 9999, f.year) || !in.take("-") || !read_number(in, 2, 1, 12, f.month) || !in.take("-") ||
      !read_number(in, 2, 1, 31, f.day) || !in.take("Tt ") || !read_number(in, 2, 0, 23, f.hour) || !in.take(":") ||
      !read_number(in, 2, 0, 59, f.minute)) {
    return false;
  }
  // 60 is a leap second: the next one.
  if (in.take(":") && !read_number(in, 2, 0, 60, f.second)) return false;
  if (in.take(".,") && !read_fraction(in, f.fraction_us)) return false;
  return read_zone(in, f.offset_s) && in.at_end();
}

}  // namespace

char* write_iso_time(char* end, std::int64_t time_us) {
  static const std::int64_t kFirst = days_since_epoch(0, 1, 1) * kDayUs;
  static const std::int64_t kLast = days_since_epoch(10'000, 1, 1) * kDayUs - 1;
  time_us = std::clamp(time_us, kFirst, kLast);
  std::int64_t days = time_us / kDayUs;
  std::int64_t rest_us = time_us % kDayUs;
  if (rest_us < 0) {
    rest_us += kDayUs;
    --days;
  }
  const std::chrono::year_month_day date{std::chrono::sys_days{std::chrono::days{days}}};
  const auto second = static_cast<unsigned>(rest_us / kSecondUs);
  const auto fraction_us = static_cast<unsigned>(rest_us % kSecondUs);
  end = put_digits(end, static_cast<unsigned>(static_cast<int>(date.year())), 4);
  *end++ = '-';
  end = put_digits(end, static_cast<unsigned>(date.month()), 2);
  *end++ = '-';
  end = put_digits(end, static_cast<unsigned>(date.day()), 2);
  *end++ = 'T';
  end = put_digits(end, second / 3600, 2);
  *end++ = ':';
  end = put_digits(end, second / 60 % 60, 2);
  *end++ = ':';
  end = put_digits(end, second % 60, 2);
  *end++ = '.';
  end = fraction_us % 1000 == 0 ? put_digits(end, fraction_us / 1000, 3) : put_digits(end, fraction_us, 6);
  *end++ = 'Z';
  return end;
}

void append_iso_time(std::string& out, std::int64_t time_us) {
  char text[kIsoTimeBytes];
  out.append(text, write_iso_time(text, time_us));
}

std::string iso_time(std::int64_t time_us) {
  std::string out;
  append_iso_time(out, time_us);
  return out;
}

Result<std::int64_t> parse_iso_time_us(std::string_view text) {
  Cursor in(text);
  Fields f;
  const auto wrong = [&](std::string_view why) {
    return Error{Errc::kInvalidArgument, fmt::format("'{:.64}' is not an ISO-8601 time{}", text, why)};
  };
  if (!read_all(in, f)) return wrong(" such as 2026-01-31T12:03:04.123Z");
  const auto last = std::chrono::year_month_day_last(
      std::chrono::year(f.year), std::chrono::month_day_last(std::chrono::month(static_cast<unsigned>(f.month))));
  if (static_cast<unsigned>(f.day) > static_cast<unsigned>(last.day())) return wrong(": the month has no such day");
  const std::int64_t days = days_since_epoch(f.year, static_cast<unsigned>(f.month), static_cast<unsigned>(f.day));
  const std::int64_t seconds = f.hour * 3600 + f.minute * 60 + f.second - f.offset_s;
  return days * kDayUs + seconds * kSecondUs + f.fraction_us;
}

}  // namespace stem::federation
