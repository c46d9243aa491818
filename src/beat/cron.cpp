#include "beat/cron.hpp"

#include <date/date.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <vector>

namespace stem::beat {
namespace {

constexpr std::size_t kLongestText = 512;
constexpr int kMostYears = 60;  // any fitting day comes within 40: a leap day of a given weekday, over 2100

struct FieldKind {
  std::string_view name;
  unsigned low, high;
  std::string_view allowed;
};

constexpr std::array<FieldKind, 6> kFields{{
    {"second", 0, 59, "0-59, *, lists a,b, ranges a-b, steps */n"},
    {"minute", 0, 59, "0-59, *, lists a,b, ranges a-b, steps */n"},
    {"hour", 0, 23, "0-23, *, lists a,b, ranges a-b, steps */n"},
    {"day of month", 1, 31, "1-31, L (the last day), *, lists a,b, ranges a-b, steps */n"},
    {"month", 1, 12, "1-12, JAN-DEC, *, lists a,b, ranges a-b, steps */n"},
    {"day of week", 0, 7,
     "0-7 (0 and 7 are Sunday), SUN-SAT, 5L (the last Friday), 5#2 (the second), *, lists, ranges, steps"},
}};
enum FieldIndex : std::size_t { kSecond, kMinute, kHour, kDay, kMonth, kWeekday };

constexpr std::array<std::string_view, 12> kMonths{"JAN", "FEB", "MAR", "APR", "MAY", "JUN",
                                                   "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"};
constexpr std::array<std::string_view, 7> kWeekdays{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"};

bool same_letters(std::string_view a, std::string_view upper) {
  return std::equal(a.begin(), a.end(), upper.begin(), upper.end(),
                    [](unsigned char x, char y) { return std::toupper(x) == y; });
}

struct Word {
  std::string_view text;
  std::size_t at = 0;  // from the start of the expression
};

std::vector<Word> words_of(std::string_view text) {
  std::vector<Word> words;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] == ' ' || text[i] == '\t') {
      ++i;
      continue;
    }
    const std::size_t end = std::min(text.find_first_of(" \t", i), text.size());
    words.push_back({text.substr(i, end - i), i});
    i = end;
  }
  return words;
}

unsigned days_in(int year, unsigned month) {
  return static_cast<unsigned>((date::year(year) / date::month(month) / date::last).day());
}

}  // namespace

// Reads one expression; every refusal names the field, the place and what is allowed.
class CronParser {
 public:
  explicit CronParser(std::string_view text) : text_(text) {}

  Result<Cron> run() {
    if (text_.size() > kLongestText)
      return Error{Errc::kInvalidArgument, fmt::format("cron: {} characters; at most {}", text_.size(), kLongestText)};
    cron_.text_ = text_;
    const std::vector<Word> words = words_of(text_);
    if (words.size() != 5 && words.size() != 6)
      return Error{Errc::kInvalidArgument,
                   fmt::format("cron \"{}\" has {} field{}; write five (minute hour day month weekday) or six "
                               "(second first)",
                               text_, words.size(), words.size() == 1 ? "" : "s")};
    const std::size_t first = words.size() == 6 ? kSecond : kMinute;
    for (std::size_t i = 0; i < words.size(); ++i) {
      field_ = first + i;
      if (auto good = field(words[i]); !good) return good.error();
    }
    if (!cron_.next_local(946'684'800))  // from 2000 on
      return Error{Errc::kInvalidArgument,
                   fmt::format("cron \"{}\" never comes: no such month has such a day (February has 28 or 29 days, "
                               "April, June, September and November 30)",
                               text_)};
    return std::move(cron_);
  }

 private:
  Result<void> refuse(std::string_view what, std::size_t at) const {
    return Error{Errc::kInvalidArgument, fmt::format("cron \"{}\": {} at character {}: {}; allowed: {}", text_,
                                                     kFields[field_].name, at + 1, what, kFields[field_].allowed)};
  }

  Result<void> field(const Word& word) {
    const bool star = word.text.front() == '*';
    if (field_ == kMinute) cron_.minute_star_ = star;
    if (field_ == kHour) cron_.hour_star_ = star;
    if (field_ == kDay) cron_.day_star_ = star;
    if (field_ == kWeekday) cron_.weekday_star_ = star;
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i <= word.text.size();) {
      const std::size_t end = std::min(word.text.find(',', i), word.text.size());
      const Word item{word.text.substr(i, end - i), word.at + i};
      if (item.text.empty()) return refuse("a list has an empty place", item.at);
      if (auto good = list_item(item, bits); !good) return good;
      i = end + 1;
    }
    store(bits);
    return {};
  }

  void store(std::uint64_t bits) {
    switch (field_) {
      case kSecond: cron_.seconds_ = bits; break;
      case kMinute: cron_.minutes_ = bits; break;
      case kHour: cron_.hours_ = static_cast<std::uint32_t>(bits); break;
      case kDay: cron_.days_ = static_cast<std::uint32_t>(bits); break;
      case kMonth: cron_.months_ = static_cast<std::uint32_t>(bits); break;
      default: cron_.weekdays_ = static_cast<std::uint32_t>((bits | bits >> 7) & 0x7f); break;  // 7 is Sunday too
    }
  }

  // "*", "a", "a-b", each with "/n"; "L", "5L", "5#2".
  Result<void> list_item(const Word& item, std::uint64_t& bits) {
    bool special = false;
    if (auto good = special_day(item, special); !good || special) return good;
    const FieldKind& kind = kFields[field_];
    const std::size_t slash = item.text.find('/');
    const std::string_view range = item.text.substr(0, slash);
    unsigned low = kind.low;
    unsigned high = field_ == kWeekday ? 6 : kind.high;
    if (range != "*") {
      const std::size_t dash = range.find('-');
      if (auto good = number({range.substr(0, dash), item.at}, low); !good) return good;
      if (dash != std::string_view::npos) {
        if (auto good = number({range.substr(dash + 1), item.at + dash + 1}, high); !good) return good;
        if (high < low && !(field_ == kWeekday && high == 0))
          return refuse(fmt::format("the range {} runs backwards", range), item.at);
        if (high < low) high = 7;  // FRI-SUN
      } else if (slash == std::string_view::npos) {
        high = low;
      }
    }
    unsigned step = 1;
    if (slash != std::string_view::npos) {
      const std::string_view digits = item.text.substr(slash + 1);
      if (!whole_number(digits, step) || step == 0 || step > kind.high)
        return refuse(fmt::format("the step \"{}\" is not a number from 1 to {}", digits, kind.high),
                      item.at + slash + 1);
    }
    for (unsigned value = low; value <= high; value += step) bits |= std::uint64_t{1} << value;
    return {};
  }

  Result<void> special_day(const Word& item, bool& special) {
    const std::string_view text = item.text;
    const std::size_t hash = text.find('#');
    const bool last = text.back() == 'L' || text.back() == 'l';
    if (field_ == kDay && same_letters(text, "L")) {
      special = cron_.last_day_ = true;
      return {};
    }
    if (field_ != kWeekday || (hash == std::string_view::npos && !last)) return {};
    special = true;
    unsigned weekday = 0;
    const std::string_view name = text.substr(0, last ? text.size() - 1 : hash);
    if (name.empty()) return refuse("L stands after the weekday, as 5L", item.at);
    if (auto good = number({name, item.at}, weekday); !good) return good;
    if (last) {
      cron_.last_weekdays_ |= 1u << weekday % 7;
      return {};
    }
    unsigned nth = 0;
    if (!whole_number(text.substr(hash + 1), nth) || nth < 1 || nth > 5)
      return refuse(fmt::format("\"{}\": # is followed by 1 to 5", text), item.at + hash);
    cron_.nth_weekdays_[nth] |= 1u << weekday % 7;
    return {};
  }

  static bool whole_number(std::string_view digits, unsigned& value) {
    if (digits.empty() || digits.size() > 4) return false;
    value = 0;
    for (const char c : digits) {
      if (c < '0' || c > '9') return false;
      value = value * 10 + static_cast<unsigned>(c - '0');
    }
    return true;
  }

  Result<void> number(const Word& word, unsigned& value) const {
    const FieldKind& kind = kFields[field_];
    if (word.text.empty()) return refuse("a number is missing", word.at);
    const auto name_in = [&](const auto& names, unsigned first) {
      for (unsigned i = 0; i < names.size(); ++i) {
        if (!same_letters(word.text, names[i])) continue;
        value = first + i;
        return true;
      }
      return false;
    };
    if ((field_ == kMonth && name_in(kMonths, 1)) || (field_ == kWeekday && name_in(kWeekdays, 0))) return {};
    if (!whole_number(word.text, value))
      return refuse(fmt::format("\"{}\" is not understood", word.text.substr(0, 40)), word.at);
    if (value < kind.low || value > kind.high) return refuse(fmt::format("{} is out of range", word.text), word.at);
    return {};
  }

  std::string_view text_;
  std::size_t field_ = kMinute;
  Cron cron_;
};

Result<Cron> Cron::parse(std::string_view text) { return CronParser(text).run(); }

bool Cron::day_fits(unsigned month, unsigned day, unsigned days_in_month, unsigned weekday) const {
  if ((months_ >> month & 1) == 0) return false;
  const bool by_day = (days_ >> day & 1) != 0 || (last_day_ && day == days_in_month);
  const bool by_weekday = (weekdays_ >> weekday & 1) != 0 ||
                          ((last_weekdays_ >> weekday & 1) != 0 && day + 7 > days_in_month) ||
                          (nth_weekdays_[(day + 6) / 7] >> weekday & 1) != 0;
  return day_star_ || weekday_star_ ? by_day && by_weekday : by_day || by_weekday;
}

// From this second of a day on, the first that fits.
std::optional<std::int64_t> Cron::next_of_day(std::int64_t from_s) const {
  for (std::int64_t hour = from_s / 3600; hour < 24; ++hour) {
    if ((hours_ >> hour & 1) == 0) continue;
    const std::int64_t start = std::max(from_s, hour * 3600);
    for (std::int64_t minute = start / 60 % 60; minute < 60; ++minute) {
      if ((minutes_ >> minute & 1) == 0) continue;
      const std::int64_t at = hour * 3600 + minute * 60;
      const std::int64_t second = std::max<std::int64_t>(0, from_s - at);
      const std::uint64_t left = second < 60 ? seconds_ >> second : 0;
      if (left != 0) return at + second + std::countr_zero(left);
    }
  }
  return std::nullopt;
}

std::optional<std::int64_t> Cron::next_local(std::int64_t local_s) const {
  const std::int64_t start_s = local_s + 1;
  std::int64_t day = start_s / kDay_s - (start_s % kDay_s < 0 ? 1 : 0);
  std::int64_t from_s = start_s - day * kDay_s;
  for (const std::int64_t last = day + kMostYears * 366; day <= last;) {
    const date::year_month_day ymd{date::sys_days(date::days(day))};
    const int year = static_cast<int>(ymd.year());
    const auto month = static_cast<unsigned>(ymd.month());
    const unsigned length = days_in(year, month);
    const auto of_month = static_cast<unsigned>(ymd.day());
    if ((months_ >> month & 1) == 0) {  // on to the next month
      day += length - of_month + 1;
      from_s = 0;
      continue;
    }
    const auto weekday = static_cast<unsigned>(((day + 4) % 7 + 7) % 7);
    if (day_fits(month, of_month, length, weekday)) {
      if (const auto found = next_of_day(from_s)) return day * kDay_s + *found;
    }
    ++day;
    from_s = 0;
  }
  return std::nullopt;
}

}  // namespace stem::beat
