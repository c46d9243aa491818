#include "tools/stem/when.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace stem::cli {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kNow = 1'769'860'800 * kSecond;  // 2026-01-31T12:00:00Z

std::int64_t when(std::string_view text, Toward toward = Toward::kFuture) {
  const auto parsed = parse_when_ns(text, kNow, toward);
  EXPECT_TRUE(parsed.ok()) << parsed.error().message;
  return parsed.ok() ? *parsed : -1;
}

TEST(When, ADurationCountsFromNow) {
  EXPECT_EQ(when("5m"), kNow + 300 * kSecond);
  EXPECT_EQ(when("5m", Toward::kPast), kNow - 300 * kSecond);
}

TEST(When, ReadsDatesWithZones) {
  EXPECT_EQ(when("2026-01-31T12:00:00Z"), kNow);
  EXPECT_EQ(when("2026-01-31 12:00:00Z"), kNow);
  EXPECT_EQ(when("2026-01-31T14:00:00+02:00"), kNow);
  EXPECT_EQ(when("2026-01-31T06:30:00-05:30"), kNow);
  EXPECT_EQ(when("2026-01-31T12:00:00.25Z"), kNow + kSecond / 4);
  EXPECT_EQ(when("2026-01-31T12:00:00.1234567899Z"), kNow + 123'456'789);
  EXPECT_EQ(when("2026-01-31"), kNow - 12 * 3600 * kSecond);
  EXPECT_EQ(when("1969-12-31T23:59:59Z"), -kSecond);
  EXPECT_EQ(when("2024-02-29"), 1'709'164'800 * kSecond);
}

TEST(When, RefusesWhatIsNoTime) {
  for (const char* text :
       {"", "tomorrow", "2026-02-29", "2026-13-01", "2026-1-31", "2026-01-31T12:00:00", "2026-01-31T24:00:00Z",
        "2026-01-31T12:00Z", "2026-01-31T12:00:00.Z", "2026-01-31T12:00:00+2:00", "2026-01-31T12:00:00Zx", "9999-01-01",
        "2026-01-31T12:00:60Z", "5", "-5m"}) {
    const auto parsed = parse_when_ns(text, kNow, Toward::kFuture);
    EXPECT_FALSE(parsed.ok()) << text;
  }
  EXPECT_FALSE(parse_when_ns("106751d", kNow, Toward::kFuture).ok()) << "past the end of 64 bits";
}

TEST(When, WritesForProgramsAndPeople) {
  EXPECT_EQ(write_time(kNow + 123'456'789), "2026-01-31T12:00:00.123Z");
  EXPECT_EQ(write_time(-1), "1969-12-31T23:59:59.999Z");
  EXPECT_EQ(show_time(kNow - 300 * kSecond, kNow), "2026-01-31 11:55:00Z (5m ago)");
  EXPECT_THAT(show_time(std::numeric_limits<std::int64_t>::min(), kNow), ::testing::HasSubstr("ago"));
}

TEST(When, WhatIsWrittenReadsBack) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 2'000; ++i) {
    const std::int64_t time = static_cast<std::int64_t>(random() % 9'000'000'000'000) * 1'000'000;
    EXPECT_EQ(when(write_time(time)), time);
  }
}

}  // namespace
}  // namespace stem::cli
