// Dates on the wire: ISO-8601, in microseconds since 1970-01-01 UTC.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace stem::federation {

// "2026-01-31T12:03:04.123Z": three digits of fraction, six when there are microseconds; always UTC. Years outside
// 0000 to 9999 are written as their nearest end.
// The same into memory with room for kIsoTimeBytes; returns the end.
inline constexpr std::size_t kIsoTimeBytes = 27;
char* write_iso_time(char* out, std::int64_t time_us);
void append_iso_time(std::string& out, std::int64_t time_us);
std::string iso_time(std::int64_t time_us);

// Date and time with `T`, `t` or a blank between; seconds and a fraction ('.' or ',', any number of digits, cut to
// microseconds) may be missing; then `Z`, an offset (+02, +0200, +02:00) or nothing, which means UTC.
Result<std::int64_t> parse_iso_time_us(std::string_view text);

}  // namespace stem::federation
