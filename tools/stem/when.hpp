// Points in time as people write and read them. All are nanoseconds of CLOCK_REALTIME.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace stem::cli {

// What a bare duration means: "5m" is five minutes from now for --eta, five minutes ago for --since.
enum class Toward { kPast, kFuture };

// A duration from now, or RFC 3339 as "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.5+02:00", or the date
// alone (midnight UTC).
Result<std::int64_t> parse_when_ns(std::string_view text, std::int64_t now_ns, Toward toward);

// "2026-01-31T12:00:00.123Z": for JSON and for `show` commands.
std::string write_time(std::int64_t time_ns);

// "2026-01-31 12:00:00Z (5m ago)": both, as people want them.
std::string show_time(std::int64_t time_ns, std::int64_t now_ns);

}  // namespace stem::cli
