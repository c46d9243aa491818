// Times as tests write them.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "beat/spec.hpp"

namespace stem::beat::test {

inline Zone zone(std::string_view name) {
  auto found = Zone::find(name);
  EXPECT_TRUE(found.ok()) << (found.ok() ? "" : found.error().message);
  return found.ok() ? *found : Zone();
}

// Nanoseconds of "2026-01-31T12:00:00Z", or of a local time of the zone.
inline std::int64_t at(std::string_view text, const Zone& zone = {}) {
  const auto parsed = parse_time_ns(text, zone);
  EXPECT_TRUE(parsed.ok()) << (parsed.ok() ? "" : parsed.error().message);
  return parsed.ok() ? *parsed : 0;
}

inline Spec spec(std::string_view json_or_text, const Zone& zone = {}) {
  const bool object = json_or_text.starts_with('{');
  auto parsed = object ? Spec::parse(nlohmann::json::parse(json_or_text), zone) : Spec::parse_text(json_or_text);
  EXPECT_TRUE(parsed.ok()) << (parsed.ok() ? "" : parsed.error().message);
  return parsed.ok() ? *parsed : Spec();
}

// The next `count` times after `after`, in UTC without the ".000Z".
inline std::vector<std::string> next_times(const Spec& spec, const Zone& zone, std::string_view after, int count,
                                           std::string_view anchor = "2026-01-01T00:00:00Z") {
  std::vector<std::string> times;
  std::int64_t now = at(after);
  for (int i = 0; i < count; ++i) {
    const auto next = spec.next(now, at(anchor), zone);
    if (!next) break;
    EXPECT_GT(*next, now);
    std::string text = write_utc(*next);
    if (text.ends_with(".000Z")) text.resize(text.size() - 5);
    times.push_back(text);
    now = *next;
  }
  return times;
}

// What a refused spec is told; empty when it was taken.
inline std::string refusal(std::string_view json_or_text) {
  const bool object = json_or_text.starts_with('{');
  const auto parsed = object ? Spec::parse(nlohmann::json::parse(json_or_text), {}) : Spec::parse_text(json_or_text);
  return parsed.ok() ? "" : parsed.error().message;
}

}  // namespace stem::beat::test
