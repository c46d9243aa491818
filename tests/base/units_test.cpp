#include "base/units.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace stem::base {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kSecond = 1'000'000'000;

struct DurationCase {
  const char* text;
  std::int64_t ns;
};

class GoodDuration : public ::testing::TestWithParam<DurationCase> {};

TEST_P(GoodDuration, Parses) {
  const auto parsed = parse_duration_ns(GetParam().text);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(*parsed, GetParam().ns);
}

INSTANTIATE_TEST_SUITE_P(
    Units, GoodDuration,
    ::testing::Values(DurationCase{"100ns", 100}, DurationCase{"10us", 10'000}, DurationCase{"250ms", 250'000'000},
                      DurationCase{"5s", 5 * kSecond}, DurationCase{"2m", 120 * kSecond},
                      DurationCase{"1h", 3600 * kSecond}, DurationCase{"7d", 7 * 86'400 * kSecond},
                      DurationCase{"1.5s", 1'500'000'000}, DurationCase{"0.25ms", 250'000}, DurationCase{"1.0ns", 1},
                      DurationCase{"0", 0}, DurationCase{"0s", 0}, DurationCase{"0.0h", 0},
                      DurationCase{"1.9999999999s", 1'999'999'999},
                      DurationCase{"0.3333333333333333333333333s", 333'333'333},
                      DurationCase{"106751d", 106'751LL * 86'400 * kSecond},
                      DurationCase{"9223372036854775807ns", std::numeric_limits<std::int64_t>::max()}));

struct BadCase {
  const char* text;
  const char* says;
};

class BadDuration : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadDuration, IsRefusedWithASentence) {
  const auto parsed = parse_duration_ns(GetParam().text);
  ASSERT_FALSE(parsed.ok()) << *parsed;
  EXPECT_EQ(parsed.error().code, Errc::kInvalidArgument);
  EXPECT_THAT(parsed.error().message, HasSubstr(GetParam().says));
}

INSTANTIATE_TEST_SUITE_P(Units, BadDuration,
                         ::testing::Values(BadCase{"", "empty"}, BadCase{"5", "has no unit"},
                                           BadCase{"-5s", "negative"}, BadCase{"s", "not a duration"},
                                           BadCase{"5 s", "unit of time ' s'"}, BadCase{"5S", "unit of time 'S'"},
                                           BadCase{"5sec", "unit of time 'sec'"},
                                           BadCase{"1h30m", "unit of time 'h30m'"}, BadCase{".5s", "not a duration"},
                                           BadCase{"5.s", "not a duration"}, BadCase{"1.2.3s", "unit of time '.3s'"},
                                           BadCase{"1e3s", "unit of time 'e3s'"},
                                           BadCase{"0x10s", "unit of time 'x10s'"}, BadCase{"+5s", "not a duration"},
                                           BadCase{"106752d", "too long"}, BadCase{"9223372036854775808ns", "too long"},
                                           BadCase{"99999999999999999999999999999999d", "too long"},
                                           BadCase{"0.3ns", "shorter than a nanosecond"},
                                           BadCase{"5\x1b[2Js", "'5?[2Js'"}));

TEST(Units, RefusesAnEmbeddedNul) {
  EXPECT_FALSE(parse_duration_ns(std::string_view("5s\0", 3)).ok());
  EXPECT_FALSE(parse_size_bytes(std::string_view("5\0", 2)).ok());
}

TEST(Units, LongJunkIsCutInTheMessage) {
  const auto parsed = parse_duration_ns(std::string(100'000, 'x'));
  ASSERT_FALSE(parsed.ok());
  EXPECT_LT(parsed.error().message.size(), 300u);
}

TEST(Units, ParsesSizes) {
  EXPECT_EQ(*parse_size_bytes("0"), 0u);
  EXPECT_EQ(*parse_size_bytes("512"), 512u);
  EXPECT_EQ(*parse_size_bytes("512B"), 512u);
  EXPECT_EQ(*parse_size_bytes("64KiB"), 65'536u);
  EXPECT_EQ(*parse_size_bytes("64kib"), 65'536u);
  EXPECT_EQ(*parse_size_bytes("1MiB"), 1u << 20);
  EXPECT_EQ(*parse_size_bytes("1GiB"), 1u << 30);
  EXPECT_EQ(*parse_size_bytes("1MB"), 1'000'000u);
  EXPECT_EQ(*parse_size_bytes("1.5KiB"), 1'536u);
  EXPECT_EQ(*parse_size_bytes("0.1GiB"), 107'374'182u);
  EXPECT_EQ(*parse_size_bytes("18446744073709551615"), std::numeric_limits<std::uint64_t>::max());
}

TEST(Units, RefusesBadSizes) {
  const auto message = [](const char* text) {
    const auto parsed = parse_size_bytes(text);
    return parsed.ok() ? std::string("parsed") : parsed.error().message;
  };
  EXPECT_THAT(message(""), HasSubstr("empty"));
  EXPECT_THAT(message("-1"), HasSubstr("negative"));
  EXPECT_THAT(message("64K"), HasSubstr("KiB (1024) or KB (1000)"));
  EXPECT_THAT(message("64m"), HasSubstr("MiB (1024) or MB (1000)"));
  EXPECT_THAT(message("1XB"), HasSubstr("unit of size 'XB'"));
  EXPECT_THAT(message("GiB"), HasSubstr("not a size"));
  EXPECT_THAT(message("1 GiB"), HasSubstr("unit of size ' GiB'"));
  EXPECT_THAT(message("18446744073709551616"), HasSubstr("too large"));
  EXPECT_THAT(message("16777216TiB"), HasSubstr("too large"));
  EXPECT_THAT(message("0.5B"), HasSubstr("less than a byte"));
}

TEST(Units, ParsesRatesAndNothingElse) {
  EXPECT_EQ(*parse_rate("10/s"), (Rate{10, kSecond}));
  EXPECT_EQ(*parse_rate("100/m"), (Rate{100, 60 * kSecond}));
  EXPECT_EQ(*parse_rate("1/h"), (Rate{1, 3600 * kSecond}));
  for (const char* text : {"", "10", "/s", "10/", "10/d", "10/sec", "10 /s", "10/ s", "1.5/s", "-1/s", "ten/s",
                           "10/s/s", "10/S", "+1/s"}) {
    const auto parsed = parse_rate(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_THAT(parsed.error().message, HasSubstr("N/s, N/m or N/h")) << text;
  }
  EXPECT_THAT(parse_rate("0/s").error().message, HasSubstr("never allow anything"));
  EXPECT_THAT(parse_rate("18446744073709551616/s").error().message, HasSubstr("too large"));
  EXPECT_DOUBLE_EQ(parse_rate("90/m")->per_second(), 1.5);
}

TEST(Units, WhatIsWrittenReadsBack) {
  EXPECT_EQ(write_duration(90 * kSecond), "90s");
  EXPECT_EQ(write_duration(120 * kSecond), "2m");
  EXPECT_EQ(write_duration(1'500'000'000), "1500ms");
  EXPECT_EQ(write_duration(0), "0s");
  EXPECT_EQ(write_size(65'536), "64KiB");
  EXPECT_EQ(write_size(1000), "1000");
  EXPECT_EQ(write_rate({5, 60 * kSecond}), "5/m");
  std::mt19937_64 random(20'240);
  for (int i = 0; i < 2'000; ++i) {
    const std::uint64_t value = random() >> (random() % 64) >> 1;
    EXPECT_EQ(*parse_duration_ns(write_duration(static_cast<std::int64_t>(value))), static_cast<std::int64_t>(value));
    EXPECT_EQ(*parse_size_bytes(write_size(value)), value);
  }
}

TEST(Units, DurationsForPeople) {
  EXPECT_EQ(human_duration(0), "0s");
  EXPECT_EQ(human_duration(845), "845ns");
  EXPECT_EQ(human_duration(1'000), "1us");
  EXPECT_EQ(human_duration(1'540), "1.5us");
  EXPECT_EQ(human_duration(310'000), "310us");
  EXPECT_EQ(human_duration(999'600), "1ms");
  EXPECT_EQ(human_duration(1'500'000'000), "1.5s");
  EXPECT_EQ(human_duration(59 * kSecond), "59s");
  EXPECT_EQ(human_duration(59'800'000'000), "1m");
  EXPECT_EQ(human_duration(125 * kSecond), "2m 5s");
  EXPECT_EQ(human_duration(3600 * kSecond), "1h");
  EXPECT_EQ(human_duration(12'000 * kSecond), "3h 20m");
  EXPECT_EQ(human_duration((7 * 24 + 4) * 3600 * kSecond), "7d 4h");
  EXPECT_EQ(human_duration(-1'500'000'000), "-1.5s");
  EXPECT_EQ(human_duration(std::numeric_limits<std::int64_t>::min()), "-106751d 23h");
}

TEST(Units, SizesAndCountsForPeople) {
  EXPECT_EQ(human_size(0), "0 B");
  EXPECT_EQ(human_size(1023), "1023 B");
  EXPECT_EQ(human_size(1024), "1.0 KiB");
  EXPECT_EQ(human_size((1u << 20) - 1), "1.0 MiB");
  EXPECT_EQ(human_size(3'435'973'837), "3.2 GiB");
  EXPECT_EQ(human_size(std::numeric_limits<std::uint64_t>::max()), "16.0 EiB");
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(1'200), "1.2k");
  EXPECT_EQ(human_count(999'999), "1.0M");
  EXPECT_EQ(human_count(1'234'567), "1.2M");
  EXPECT_EQ(human_count(std::numeric_limits<std::uint64_t>::max()), "18.4E");
}

TEST(Units, RelativeTimes) {
  EXPECT_EQ(human_relative(-12 * kSecond), "12s ago");
  EXPECT_EQ(human_relative(300 * kSecond), "in 5m");
  EXPECT_EQ(human_relative(0), "now");
  EXPECT_EQ(human_relative(-900'000), "now");
  EXPECT_EQ(human_relative(-2'000'000), "2ms ago");
}

// Whatever the bytes, the answer is a number or a short sentence; never a crash, never a
// wrap-around.
TEST(Units, RandomTextNeverSurprises) {
  constexpr std::string_view kAlphabet = "0123456789.-+ smhdnuKkMGiBb/e\0\x1b\xff";
  std::mt19937_64 random(7);
  for (int i = 0; i < 20'000; ++i) {
    std::string text;
    for (auto left = random() % 24; left > 0; --left) text += kAlphabet[random() % kAlphabet.size()];
    if (const auto d = parse_duration_ns(text); d.ok()) {
      EXPECT_GE(*d, 0) << text;
    } else {
      EXPECT_FALSE(d.error().message.empty());
    }
    if (const auto r = parse_rate(text); r.ok()) {
      EXPECT_GE(r->count, 1u) << text;
    }
    if (const auto s = parse_size_bytes(text); !s.ok()) {
      EXPECT_LT(s.error().message.size(), 300u);
    }
  }
}

}  // namespace
}  // namespace stem::base
