#include "base/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <limits>
#include <optional>
#include <span>

namespace stem::base {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr std::uint64_t kNsPerUs = 1'000;
constexpr std::uint64_t kNsPerMs = 1'000'000;
constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
constexpr std::uint64_t kNsPerMinute = 60 * kNsPerSecond;
constexpr std::uint64_t kNsPerHour = 60 * kNsPerMinute;
constexpr std::uint64_t kNsPerDay = 24 * kNsPerHour;

struct Unit {
  std::string_view name;
  std::uint64_t scale;
};

constexpr std::array<Unit, 7> kDurationUnits{{{"ns", 1},
                                              {"us", kNsPerUs},
                                              {"ms", kNsPerMs},
                                              {"s", kNsPerSecond},
                                              {"m", kNsPerMinute},
                                              {"h", kNsPerHour},
                                              {"d", kNsPerDay}}};

// Lower case; what is read is folded first.
constexpr std::array<Unit, 10> kSizeUnits{{{"", 1},
                                           {"b", 1},
                                           {"kib", 1ULL << 10},
                                           {"mib", 1ULL << 20},
                                           {"gib", 1ULL << 30},
                                           {"tib", 1ULL << 40},
                                           {"kb", 1'000ULL},
                                           {"mb", 1'000'000ULL},
                                           {"gb", 1'000'000'000ULL},
                                           {"tb", 1'000'000'000'000ULL}}};

constexpr std::string_view kDurationForm = "write a number and one of ns, us, ms, s, m, h, d, such as 250ms or 1.5s";
constexpr std::string_view kSizeForm =
    "write bytes, or a number and one of KiB, MiB, GiB, TiB, KB, MB, GB, TB, such as 64KiB";
constexpr std::string_view kRateForm = "write N/s, N/m or N/h with a whole number N, such as 100/s";

// What a person typed may hold anything; a message must stay one readable line.
std::string quoted(std::string_view text) {
  constexpr std::size_t kLongest = 60;
  std::string shown;
  for (const char c : text.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    shown += (byte < 0x20 || byte == 0x7f) ? '?' : c;
  }
  return fmt::format("'{}{}'", shown, text.size() > kLongest ? "..." : "");
}

template <class... Args>
Error refusal(fmt::format_string<Args...> format, Args&&... args) {
  return {Errc::kInvalidArgument, fmt::format(format, std::forward<Args>(args)...)};
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// "12.50" + "ms", not yet interpreted.
struct Quantity {
  std::string_view whole;
  std::string_view fraction;
  std::string_view unit;
};

std::optional<Quantity> split_quantity(std::string_view text) {
  const auto digits = [](std::string_view s) {
    return s.substr(0, static_cast<std::size_t>(std::find_if_not(s.begin(), s.end(), is_digit) - s.begin()));
  };
  Quantity quantity;
  quantity.whole = digits(text);
  if (quantity.whole.empty()) return std::nullopt;
  text.remove_prefix(quantity.whole.size());
  if (!text.empty() && text.front() == '.') {
    text.remove_prefix(1);
    quantity.fraction = digits(text);
    if (quantity.fraction.empty()) return std::nullopt;
    text.remove_prefix(quantity.fraction.size());
  }
  quantity.unit = text;
  return quantity;
}

// Digits as a number, or nothing when they pass 64 bits.
std::optional<std::uint64_t> to_number(std::string_view digits) {
  Wide value = 0;
  for (const char c : digits) {
    value = value * 10 + static_cast<unsigned>(c - '0');
    if (value > std::numeric_limits<std::uint64_t>::max()) return std::nullopt;
  }
  return static_cast<std::uint64_t>(value);
}

// whole.fraction × scale, cut to a whole number; nothing when it passes 64 bits.
std::optional<std::uint64_t> scaled(const Quantity& quantity, std::uint64_t scale) {
  const auto whole = to_number(quantity.whole);
  if (!whole) return std::nullopt;
  Wide value = Wide{*whole} * scale;
  // 18 digits are finer than one part of the largest scale; further ones cannot change the result.
  std::uint64_t part = 0;
  std::uint64_t divisor = 1;
  for (const char c : quantity.fraction.substr(0, 18)) {
    part = part * 10 + static_cast<unsigned>(c - '0');
    divisor *= 10;
  }
  value += Wide{part} * scale / divisor;
  if (value > std::numeric_limits<std::uint64_t>::max()) return std::nullopt;
  return static_cast<std::uint64_t>(value);
}

bool is_zero(const Quantity& quantity) {
  const auto zeros = [](std::string_view s) {
    return std::all_of(s.begin(), s.end(), [](char c) { return c == '0'; });
  };
  return zeros(quantity.whole) && zeros(quantity.fraction);
}

const Unit* find_unit(std::span<const Unit> units, std::string_view name) {
  const auto it = std::find_if(units.begin(), units.end(), [&](const Unit& unit) { return unit.name == name; });
  return it == units.end() ? nullptr : &*it;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// The largest unit that divides the value without a rest.
const Unit& largest_exact(std::span<const Unit> ascending, std::uint64_t value) {
  const Unit* best = &ascending.front();
  for (const Unit& unit : ascending) {
    if (value % unit.scale == 0) best = &unit;
  }
  return *best;
}

// One decimal below ten, none above: about three digits with the unit.
std::string brief(double value) { return value < 9.95 ? fmt::format("{:.1f}", value) : fmt::format("{:.0f}", value); }

// "2m 5s"; the rest is left out when it is zero.
std::string two_units(std::uint64_t ns, const Unit& large, const Unit& small) {
  const std::uint64_t whole = ns / large.scale;
  const std::uint64_t rest = ns % large.scale / small.scale;
  return rest == 0 ? fmt::format("{}{}", whole, large.name)
                   : fmt::format("{}{} {}{}", whole, large.name, rest, small.name);
}

std::string human_positive(std::uint64_t ns) {
  const auto& [nanosecond, us, ms, second, minute, hour, day] = kDurationUnits;
  if (ns < kNsPerUs) return fmt::format("{}ns", ns);
  for (const Unit* unit : {&us, &ms, &second}) {
    const std::uint64_t limit = unit == &second ? 60 : 1'000;
    const double value = static_cast<double>(ns) / static_cast<double>(unit->scale);
    // 999.6us would be rounded to "1000us": the next unit says it better.
    if (value < static_cast<double>(limit) - 0.5) {
      std::string text = brief(value);
      if (text.ends_with(".0")) text.resize(text.size() - 2);
      return text + std::string(unit->name);
    }
  }
  if (ns < kNsPerMinute) return "1m";
  if (ns < kNsPerHour) return two_units(ns, minute, second);
  if (ns < kNsPerDay) return two_units(ns, hour, minute);
  return two_units(ns, day, hour);
}

std::uint64_t magnitude(std::int64_t value) {
  return value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
}

}  // namespace

Result<std::int64_t> parse_duration_ns(std::string_view text) {
  if (text.empty()) return refusal("a duration is empty; {}", kDurationForm);
  if (text.front() == '-') return refusal("{} is negative; a duration is not", quoted(text));
  const auto quantity = split_quantity(text);
  if (!quantity) return refusal("{} is not a duration; {}", quoted(text), kDurationForm);
  if (quantity->unit.empty()) {
    if (is_zero(*quantity)) return std::int64_t{0};
    return refusal("{} has no unit; {}", quoted(text), kDurationForm);
  }
  const Unit* unit = find_unit(kDurationUnits, quantity->unit);
  if (!unit) {
    return refusal("{}: there is no unit of time {}; {}", quoted(text), quoted(quantity->unit), kDurationForm);
  }
  const auto ns = scaled(*quantity, unit->scale);
  if (!ns || *ns > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return refusal("{} is too long; the longest duration is 106751d (292 years)", quoted(text));
  }
  if (*ns == 0 && !is_zero(*quantity)) {
    return refusal("{} is shorter than a nanosecond", quoted(text));
  }
  return static_cast<std::int64_t>(*ns);
}

Result<std::uint64_t> parse_size_bytes(std::string_view text) {
  if (text.empty()) return refusal("a size is empty; {}", kSizeForm);
  if (text.front() == '-') return refusal("{} is negative; a size is not", quoted(text));
  const auto quantity = split_quantity(text);
  if (!quantity) return refusal("{} is not a size; {}", quoted(text), kSizeForm);
  const std::string name = lower(quantity->unit);
  const Unit* unit = find_unit(kSizeUnits, name);
  if (!unit && name.size() == 1 && find_unit(kSizeUnits, name + "ib")) {
    const std::string letter(1, static_cast<char>(std::toupper(name[0])));
    return refusal("{} can mean {}iB (1024) or {}B (1000); write which", quoted(text), letter, letter);
  }
  if (!unit) {
    return refusal("{}: there is no unit of size {}; {}", quoted(text), quoted(quantity->unit), kSizeForm);
  }
  const auto bytes = scaled(*quantity, unit->scale);
  if (!bytes) return refusal("{} is too large; sizes end at 16777215TiB", quoted(text));
  if (*bytes == 0 && !is_zero(*quantity)) return refusal("{} is less than a byte", quoted(text));
  return *bytes;
}

Result<Rate> parse_rate(std::string_view text) {
  const auto slash = text.find('/');
  const std::string_view count_text = text.substr(0, slash);
  const std::string_view period = slash == std::string_view::npos ? "" : text.substr(slash + 1);
  const bool digits = !count_text.empty() && std::all_of(count_text.begin(), count_text.end(), is_digit);
  if (!digits || (period != "s" && period != "m" && period != "h")) {
    return refusal("{} is not a rate; {}", quoted(text), kRateForm);
  }
  const auto count = to_number(count_text);
  if (!count) return refusal("{} is too large a rate", quoted(text));
  if (*count == 0) {
    return refusal("{} would never allow anything; the smallest rate is 1/h", quoted(text));
  }
  const std::uint64_t scale = find_unit(kDurationUnits, period)->scale;
  return Rate{*count, static_cast<std::int64_t>(scale)};
}

Result<std::uint64_t> parse_count(std::string_view text) {
  if (text.empty() || !std::all_of(text.begin(), text.end(), is_digit)) {
    return refusal("{} is not a whole number", quoted(text));
  }
  const auto count = to_number(text);
  if (!count) return refusal("{} is too large a number", quoted(text));
  return *count;
}

std::string write_duration(std::int64_t duration_ns) {
  if (duration_ns == 0) return "0s";
  const std::uint64_t ns = magnitude(duration_ns);
  const Unit& unit = largest_exact(kDurationUnits, ns);
  return fmt::format("{}{}{}", duration_ns < 0 ? "-" : "", ns / unit.scale, unit.name);
}

std::string write_size(std::uint64_t bytes) {
  constexpr std::array<Unit, 5> kNames{
      {{"", 1}, {"KiB", 1ULL << 10}, {"MiB", 1ULL << 20}, {"GiB", 1ULL << 30}, {"TiB", 1ULL << 40}}};
  if (bytes == 0) return "0";
  const Unit& unit = largest_exact(kNames, bytes);
  return fmt::format("{}{}", bytes / unit.scale, unit.name);
}

std::string write_rate(const Rate& rate) {
  const auto period = static_cast<std::uint64_t>(rate.period_ns);
  for (const Unit& unit : kDurationUnits) {
    if (unit.scale == period) return fmt::format("{}/{}", rate.count, unit.name);
  }
  return fmt::format("{}/{}", rate.count, write_duration(rate.period_ns));
}

std::string human_duration(std::int64_t duration_ns) {
  if (duration_ns == 0) return "0s";
  return (duration_ns < 0 ? "-" : "") + human_positive(magnitude(duration_ns));
}

std::string human_size(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 7> kNames{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  std::size_t step = 0;
  // 1023.96 would be shown as "1024": the next unit says it better.
  while (value >= 1023.95 && step + 1 < kNames.size()) {
    value /= 1024;
    ++step;
  }
  return fmt::format("{} {}", step == 0 ? fmt::format("{}", bytes) : fmt::format("{:.1f}", value), kNames[step]);
}

std::string human_count(std::uint64_t count) {
  constexpr std::array<std::string_view, 7> kNames{"", "k", "M", "G", "T", "P", "E"};
  double value = static_cast<double>(count);
  std::size_t step = 0;
  while (value >= (step == 0 ? 1000 : 999.95) && step + 1 < kNames.size()) {
    value /= 1000;
    ++step;
  }
  return step == 0 ? fmt::format("{}", count) : fmt::format("{:.1f}{}", value, kNames[step]);
}

std::string human_relative(std::int64_t from_now_ns) {
  const std::uint64_t ns = magnitude(from_now_ns);
  if (ns < kNsPerMs) return "now";
  const std::string distance = human_positive(ns);
  return from_now_ns < 0 ? distance + " ago" : "in " + distance;
}

}  // namespace stem::base
