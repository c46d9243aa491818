#include "federation/iso_time.hpp"

#include <gtest/gtest.h>

#include <ctime>
#include <string>

#include "base/random.hpp"

namespace stem::federation {
namespace {

std::int64_t parsed(std::string_view text) {
  const auto time_us = parse_iso_time_us(text);
  EXPECT_TRUE(time_us.ok()) << time_us.error().message;
  return time_us.ok() ? *time_us : -1;
}

TEST(IsoTime, IsWrittenWithThreeOrSixDigits) {
  EXPECT_EQ(iso_time(0), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(iso_time(1), "1970-01-01T00:00:00.000001Z");
  EXPECT_EQ(iso_time(-1), "1969-12-31T23:59:59.999999Z");
  EXPECT_EQ(iso_time(1'769'860'984'123'000), "2026-01-31T12:03:04.123Z");
  EXPECT_EQ(iso_time(1'769'860'984'120'000), "2026-01-31T12:03:04.120Z");
  EXPECT_EQ(iso_time(INT64_MAX), "9999-12-31T23:59:59.999999Z");
  EXPECT_EQ(iso_time(INT64_MIN), "0000-01-01T00:00:00.000Z");
}

TEST(IsoTime, ReadsItsManyForms) {
  const std::int64_t moment = 1'769'860'984'000'000;
  for (const char* text :
       {"2026-01-31T12:03:04Z", "2026-01-31T12:03:04", "2026-01-31 12:03:04z", "2026-01-31t12:03:04.0Z",
        "2026-01-31T14:03:04+02:00", "2026-01-31T14:03:04+0200", "2026-01-31T14:03:04+02", "2026-01-31T06:33:04-05:30",
        "2026-02-01T11:02:04.000000000+22:59"}) {
    EXPECT_EQ(parsed(text), moment) << text;
  }
  EXPECT_EQ(parsed("2026-01-31T12:03Z"), moment - 4'000'000);
  EXPECT_EQ(parsed("2026-01-31T12:03:04.5"), moment + 500'000);
  EXPECT_EQ(parsed("2026-01-31T12:03:04,123456789Z"), moment + 123'456) << "cut, not rounded";
  EXPECT_EQ(parsed("2016-12-31T23:59:60Z"), parsed("2017-01-01T00:00:00Z"));
  EXPECT_EQ(parsed("2024-02-29T00:00:00Z"), parsed("2024-02-28T00:00:00Z") + 86'400'000'000);
}

TEST(IsoTime, RefusesTheRest) {
  for (const char* text : {"",
                           "2026",
                           "2026-01-31",
                           "2026-1-31T12:03:04Z",
                           "2026-13-01T00:00:00Z",
                           "2026-00-01T00:00:00Z",
                           "2026-01-32T00:00:00Z",
                           "2026-02-29T00:00:00Z",
                           "1900-02-29T00:00:00Z",
                           "2026-01-31T24:00:00Z",
                           "2026-01-31T12:60:00Z",
                           "2026-01-31T12:00:61Z",
                           "2026-01-31T12:03:04.Z",
                           "2026-01-31T12:03:04+",
                           "2026-01-31T12Z",
                           "2026-01-31T12:03:04+2",
                           "2026-01-31T12:03:04+02:",
                           "2026-01-31T12:03:04+24:00",
                           "2026-01-31T12:03:04ZZ",
                           "2026-01-31T12:03:04Z ",
                           " 2026-01-31T12:03:04Z",
                           "-026-01-31T12:03:04Z",
                           "+12026-01-31T12:03:04Z",
                           "2026-01-31T12:03:+4Z",
                           "1769860984"}) {
    EXPECT_FALSE(parse_iso_time_us(text).ok()) << text;
  }
}

TEST(IsoTime, AgreesWithTheCLibrary) {
  base::Random random(20260131);
  for (int i = 0; i < 100'000; ++i) {
    const auto time_us = static_cast<std::int64_t>(random.below(300'000'000'000'000'000)) - 60'000'000'000'000'000;
    ASSERT_EQ(parsed(iso_time(time_us)), time_us);
    std::time_t seconds = time_us / 1'000'000 - (time_us % 1'000'000 < 0 ? 1 : 0);
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    char text[32];
    const std::size_t size = std::strftime(text, sizeof(text), "-%m-%dT%H:%M:%S.", &parts);
    ASSERT_EQ(iso_time(time_us).substr(4, size), std::string_view(text, size));
  }
}

}  // namespace
}  // namespace stem::federation
