// Durations, sizes and rates as people write them, and numbers as people read them.
// Every parser takes the whole text or refuses it: junk, a missing unit and overflow are errors of
// Errc::kInvalidArgument whose message quotes the text and says what would have been right.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace stem::base {

// "250ms", "1.5s", "2m", "1h", "7d", "10us", "100ns", "0". Never negative. A fraction is cut to
// whole nanoseconds; what would be cut to nothing is refused.
Result<std::int64_t> parse_duration_ns(std::string_view text);

// "512", "512B", "64KiB", "1.5GiB" (powers of 1024), "1MB" (powers of 1000); letter case is free.
Result<std::uint64_t> parse_size_bytes(std::string_view text);

// At most `count` in every `period_ns`.
struct Rate {
  std::uint64_t count = 0;
  std::int64_t period_ns = 0;

  [[nodiscard]] double per_second() const { return static_cast<double>(count) * 1e9 / static_cast<double>(period_ns); }
  friend bool operator==(const Rate&, const Rate&) = default;
};

// "N/s", "N/m" or "N/h" with N a whole number from 1; nothing else.
Result<Rate> parse_rate(std::string_view text);

// Whole numbers, digits only.
Result<std::uint64_t> parse_count(std::string_view text);

// The shortest exact form, which parse_duration_ns reads back: "1500ms", "2m", "90s".
std::string write_duration(std::int64_t duration_ns);
// The same for sizes: "64KiB", "1GiB", "1000".
std::string write_size(std::uint64_t bytes);
std::string write_rate(const Rate& rate);

// For reading, about three digits: "845ns", "1.5s", "2m 5s", "3h 20m", "7d 4h"; negative with "-".
std::string human_duration(std::int64_t duration_ns);
// "512 B", "1.5 KiB", "3.2 GiB".
std::string human_size(std::uint64_t bytes);
// "999", "1.2k", "45.3M", "2.0G".
std::string human_count(std::uint64_t count);
// Distance from now: "12s ago", "in 5m", "now" (less than a millisecond away). Negative is the
// past.
std::string human_relative(std::int64_t from_now_ns);

}  // namespace stem::base
