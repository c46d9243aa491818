#include "tools/stem/when.hpp"

#include <fmt/format.h>

#include <chrono>
#include <limits>
#include <optional>

#include "base/units.hpp"
#include "tools/stem/terminal.hpp"

namespace stem::cli {
namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;

// Takes what it reads off the front of the text; once something was missing it stays failed.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  int digits(std::size_t count) {
    int value = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (text_.empty() || text_.front() < '0' || text_.front() > '9') return fail();
      value = value * 10 + (text_.front() - '0');
      text_.remove_prefix(1);
    }
    return value;
  }

  bool accept(char c) {
    if (text_.empty() || text_.front() != c) return false;
    text_.remove_prefix(1);
    return true;
  }

  void expect(char c) {
    if (!accept(c)) fail();
  }

  // Digits after the point, as nanoseconds; those past the ninth are dropped.
  std::int64_t fraction_ns() {
    std::int64_t value = 0;
    int count = 0;
    for (; !text_.empty() && text_.front() >= '0' && text_.front() <= '9'; ++count) {
      if (count < 9) value = value * 10 + (text_.front() - '0');
      text_.remove_prefix(1);
    }
    if (count == 0) fail();
    for (; count < 9; ++count) value *= 10;
    return value;
  }

  int fail() {
    failed_ = true;
    return 0;
  }
  [[nodiscard]] bool complete() const { return !failed_ && text_.empty(); }
  [[nodiscard]] bool at_end() const { return text_.empty(); }

 private:
  std::string_view text_;
  bool failed_ = false;
};

// "Z", "+02:00", "-05:30" as seconds east of UTC.
std::int64_t zone_seconds(Reader& reader) {
  if (reader.accept('Z') || reader.accept('z')) return 0;
  const int sign = reader.accept('-') ? -1 : 1;
  if (sign == 1) reader.expect('+');
  const int hours = reader.digits(2);
  reader.expect(':');
  const int minutes = reader.digits(2);
  if (hours > 23 || minutes > 59) reader.fail();
  return sign * (hours * 3600 + minutes * 60);
}

std::optional<std::int64_t> parse_date_time(std::string_view text) {
  using namespace std::chrono;
  Reader reader(text);
  const int y = reader.digits(4);
  reader.expect('-');
  const int m = reader.digits(2);
  reader.expect('-');
  const int d = reader.digits(2);
  const year_month_day date{year(y), month(static_cast<unsigned>(m)), day(static_cast<unsigned>(d))};
  if (!date.ok()) reader.fail();
  std::int64_t seconds = 0;
  std::int64_t fraction = 0;
  if (!reader.at_end()) {
    if (!reader.accept('T') && !reader.accept('t')) reader.expect(' ');
    const int hour = reader.digits(2);
    reader.expect(':');
    const int minute = reader.digits(2);
    reader.expect(':');
    const int second = reader.digits(2);
    if (hour > 23 || minute > 59 || second > 59) reader.fail();
    if (reader.accept('.')) fraction = reader.fraction_ns();
    seconds = hour * 3600 + minute * 60 + second - zone_seconds(reader);
  }
  // Beyond these years nanoseconds do not fit into 64 bits.
  if (!reader.complete() || y < 1678 || y > 2261) return std::nullopt;
  const auto days = sys_days(date).time_since_epoch().count();
  return (static_cast<std::int64_t>(days) * 86'400 + seconds) * kNsPerSecond + fraction;
}

struct Civil {
  std::chrono::year_month_day date;
  std::int64_t seconds;  // of the day
  std::int64_t ns;       // of the second
};

Civil civil(std::int64_t time_ns) {
  using namespace std::chrono;
  const sys_time<nanoseconds> time{nanoseconds(time_ns)};
  const auto day = floor<days>(time);
  const std::int64_t rest = (time - day).count();
  return {year_month_day(day), rest / kNsPerSecond, rest % kNsPerSecond};
}

std::string written(const Civil& at, char between) {
  return fmt::format("{:04}-{:02}-{:02}{}{:02}:{:02}:{:02}", static_cast<int>(at.date.year()),
                     static_cast<unsigned>(at.date.month()), static_cast<unsigned>(at.date.day()), between,
                     at.seconds / 3600, at.seconds / 60 % 60, at.seconds % 60);
}

}  // namespace

Result<std::int64_t> parse_when_ns(std::string_view text, std::int64_t now_ns, Toward toward) {
  if (const auto at = parse_date_time(text)) return *at;
  const auto distance = base::parse_duration_ns(text);
  if (!distance.ok()) {
    return Error{Errc::kInvalidArgument, fmt::format("'{}' is no time; write a duration as 5m, or 2026-01-31T12:00:00Z",
                                                     shortened(printable(text), 60))};
  }
  std::int64_t at = 0;
  if (toward == Toward::kPast ? __builtin_sub_overflow(now_ns, *distance, &at)
                              : __builtin_add_overflow(now_ns, *distance, &at)) {
    return Error{Errc::kInvalidArgument, fmt::format("'{}' is too far away", text)};
  }
  return at;
}

std::string write_time(std::int64_t time_ns) {
  const Civil at = civil(time_ns);
  return fmt::format("{}.{:03}Z", written(at, 'T'), at.ns / 1'000'000);
}

std::string show_time(std::int64_t time_ns, std::int64_t now_ns) {
  std::int64_t distance = 0;
  if (__builtin_sub_overflow(time_ns, now_ns, &distance)) {
    distance = time_ns < now_ns ? std::numeric_limits<std::int64_t>::min() : std::numeric_limits<std::int64_t>::max();
  }
  return fmt::format("{}Z ({})", written(civil(time_ns), ' '), base::human_relative(distance));
}

}  // namespace stem::cli
