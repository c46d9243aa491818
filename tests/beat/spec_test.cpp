#include "beat/spec.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/beat/times.hpp"

namespace stem::beat {
namespace {

using test::at;
using test::next_times;
using test::refusal;
using test::spec;
using test::zone;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Interval, CountsFromItsAnchor) {
  EXPECT_THAT(next_times(spec("every:15m"), {}, "2026-01-01T00:00:00Z", 3),
              ElementsAre("2026-01-01T00:15:00", "2026-01-01T00:30:00", "2026-01-01T00:45:00"));
  EXPECT_THAT(next_times(spec("every:20ms"), {}, "2026-01-01T00:00:01Z", 2),
              ElementsAre("2026-01-01T00:00:01.020Z", "2026-01-01T00:00:01.040Z"));
  EXPECT_THAT(next_times(spec("every:7"), {}, "2026-01-01T00:00:00Z", 1), ElementsAre("2026-01-01T00:00:07"))
      << "no unit is seconds";
  EXPECT_THAT(next_times(spec("every:1d"), {}, "2025-12-01T00:00:00Z", 1), ElementsAre("2025-12-02T00:00:00"))
      << "asked before the anchor";
}

TEST(Interval, StartsAndEnds) {
  const Spec bounded =
      spec(R"({"kind":"interval","every":"1h","startAt":"2026-01-01T06:00:00Z","endAt":"2026-01-01T08:00:00Z"})");
  EXPECT_THAT(next_times(bounded, {}, "2026-01-01T00:00:00Z", 9),
              ElementsAre("2026-01-01T06:00:00", "2026-01-01T07:00:00", "2026-01-01T08:00:00"));
  EXPECT_THAT(next_times(spec(R"({"everyMs":1500})"), {}, "2026-01-01T00:00:00Z", 2),
              ElementsAre("2026-01-01T00:00:01.500Z", "2026-01-01T00:00:03"));
}

TEST(Clocked, ComesOnce) {
  const Spec once = spec(R"({"kind":"clocked","runAt":"2026-05-01T10:00:00Z","runOnce":true})");
  EXPECT_THAT(next_times(once, {}, "2026-01-01T00:00:00Z", 3), ElementsAre("2026-05-01T10:00:00"));
  EXPECT_TRUE(once.run_once());
  // Without a distance to UTC it is local time.
  const Zone tokyo = zone("Asia/Tokyo");
  EXPECT_THAT(
      next_times(spec(R"({"kind":"clocked","runAt":"2026-05-01T10:00:00"})", tokyo), tokyo, "2026-01-01T00:00:00Z", 2),
      ElementsAre("2026-05-01T01:00:00"));
}

TEST(Calendar, ListsAndWhatIsLeftOut) {
  EXPECT_THAT(
      next_times(spec(R"({"kind":"calendar","weekdays":["mon","FRI"],"hours":[9,17]})"), {}, "2026-01-01T00:00:00Z", 3),
      ElementsAre("2026-01-02T09:00:00", "2026-01-02T17:00:00", "2026-01-05T09:00:00"));
  EXPECT_THAT(next_times(spec(R"({"kind":"calendar","minutes":[30]})"), {}, "2026-01-01T00:00:00Z", 2),
              ElementsAre("2026-01-01T00:30:00", "2026-01-01T01:30:00"));
  EXPECT_THAT(next_times(spec(R"({"kind":"calendar","months":[7]})"), {}, "2026-01-01T00:00:00Z", 2),
              ElementsAre("2026-07-01T00:00:00", "2027-07-01T00:00:00"));
  EXPECT_THAT(next_times(spec(R"({"kind":"calendar","monthdays":["L"],"hours":[23],"minutes":[59]})"), {},
                         "2026-02-01T00:00:00Z", 1),
              ElementsAre("2026-02-28T23:59:00"));
  EXPECT_THAT(refusal(R"({"kind":"calendar","hours":[24]})"), HasSubstr("24 is out of range"));
  EXPECT_THAT(refusal(R"({"kind":"calendar"})"), HasSubstr("at least one of"));
  EXPECT_THAT(refusal(R"({"kind":"calendar","hours":["*"]})"), HasSubstr("whole numbers or names"));
}

// ---- the sun, against published tables (minutes of local time)

struct Sunlight {
  const char* place;
  double latitude, longitude;
  const char* zone;
  const char* day;  // noon of it, in UTC or near
  const char* sunrise;
  const char* sunset;
};

class Sun : public ::testing::TestWithParam<Sunlight> {};

TEST_P(Sun, RisesAndSetsWithinTwoMinutesOfTheTable) {
  const Sunlight& row = GetParam();
  const Zone here = zone(row.zone);
  const auto found = [&](const char* event) {
    const Spec solar = spec(fmt::format(R"({{"kind":"solar","event":"{}","latitude":{},"longitude":{}}})", event,
                                        row.latitude, row.longitude));
    return solar.next(at(std::string(row.day) + "T00:00:00", here), 0, here).value_or(0);
  };
  constexpr std::int64_t kTwoMinutes = 120 * kSecondNs;
  EXPECT_NEAR(static_cast<double>(found("sunrise")),
              static_cast<double>(at(std::string(row.day) + "T" + row.sunrise + ":30", here)), kTwoMinutes)
      << write_utc(found("sunrise"));
  EXPECT_NEAR(static_cast<double>(found("sunset")),
              static_cast<double>(at(std::string(row.day) + "T" + row.sunset + ":30", here)), kTwoMinutes)
      << write_utc(found("sunset"));
  const std::int64_t noon = found("noon");
  EXPECT_LT(found("sunrise"), noon);
  EXPECT_LT(noon, found("sunset"));
}

INSTANTIATE_TEST_SUITE_P(
    Tables, Sun,
    ::testing::Values(Sunlight{"Berlin", 52.52, 13.405, "Europe/Berlin", "2024-06-21", "04:43", "21:33"},
                      Sunlight{"New York", 40.7128, -74.006, "America/New_York", "2024-12-21", "07:16", "16:31"},
                      Sunlight{"New York", 40.7128, -74.006, "America/New_York", "2024-06-20", "05:24", "20:30"},
                      Sunlight{"Tokyo", 35.6895, 139.6917, "Asia/Tokyo", "2024-01-01", "06:50", "16:38"},
                      Sunlight{"Sydney", -33.8688, 151.2093, "Australia/Sydney", "2023-12-22", "05:41", "20:05"}),
    [](const auto& row) {
      std::string name;
      for (const char c : std::string(row.param.place) + row.param.day)
        if (std::isalnum(static_cast<unsigned char>(c)) != 0) name += c;
      return name;
    });

TEST(Solar, APolarDayOrNightHasNoEvent) {
  const auto tromso = [](const char* event) {
    return spec(fmt::format(R"({{"kind":"solar","event":"{}","latitude":69.6492,"longitude":18.9553}})", event));
  };
  // The sun sets at the end of November and rises again in the middle of January.
  const auto rise = next_times(tromso("sunrise"), {}, "2025-12-01T00:00:00Z", 1);
  ASSERT_EQ(rise.size(), 1u);
  EXPECT_GE(rise[0], "2026-01-14");
  EXPECT_LE(rise[0], "2026-01-17");
  // It does not set from the second half of May to the second half of July.
  const auto set = next_times(tromso("sunset"), {}, "2026-06-01T00:00:00Z", 1);
  ASSERT_EQ(set.size(), 1u);
  EXPECT_GE(set[0], "2026-07-24");
  EXPECT_LE(set[0], "2026-07-28");
  EXPECT_EQ(next_times(tromso("noon"), {}, "2026-06-01T00:00:00Z", 30).size(), 30u);
  EXPECT_TRUE(next_times(spec(R"({"kind":"solar","event":"sunrise","latitude":90,"longitude":0})"), {},
                         "2026-01-01T00:00:00Z", 1)
                  .empty());
}

TEST(Solar, OffsetsMayBeNegative) {
  const auto base = spec(R"({"kind":"solar","event":"sunset","latitude":52.52,"longitude":13.405})");
  const auto before = spec(R"({"kind":"solar","event":"sunset","latitude":52.52,"longitude":13.405,"offset":"-15m"})");
  const std::int64_t from = at("2026-03-01T00:00:00Z");
  EXPECT_EQ(*base.next(from, 0, {}) - *before.next(from, 0, {}), 15 * 60 * kSecondNs);
  EXPECT_EQ(before.text(), "solar sunset 52.52,13.405 -15m");
}

// ---- refusals

TEST(SpecRefusal, SaysWhatWhereAndWhatIsAllowed) {
  EXPECT_EQ(refusal("every:0s"), "the interval \"0s\" is out of range; allowed: 1ms to 3650d");
  EXPECT_THAT(refusal("every:5 parsecs"), HasSubstr("write every:<n>[ms|s|m|h|d]"));
  EXPECT_THAT(refusal("every:"), HasSubstr("every:<n>"));
  EXPECT_THAT(refusal("every:-5s"), HasSubstr("out of range"));
  EXPECT_THAT(refusal("sometimes"), HasSubstr("is no spec"));
  EXPECT_THAT(refusal(R"({"kind":"intervall","every":"5s"})"),
              HasSubstr("\"kind\" is \"intervall\"; allowed: interval, cron, calendar, solar, clocked"));
  EXPECT_THAT(refusal(R"({"kind":"interval","evry":"5s"})"), HasSubstr("unknown key \"evry\""));
  EXPECT_THAT(refusal(R"({"kind":"interval"})"), HasSubstr("\"every\""));
  EXPECT_THAT(refusal(R"({"kind":"interval","every":"5s","everyMs":5})"), HasSubstr("one of"));
  EXPECT_THAT(refusal(R"({"kind":"interval","everyMs":0.5})"), HasSubstr("whole milliseconds"));
  EXPECT_THAT(refusal(R"({"kind":"solar","event":"dusk","latitude":1,"longitude":1})"),
              HasSubstr("allowed: sunrise, sunset, noon"));
  EXPECT_THAT(refusal(R"({"kind":"solar","event":"noon","latitude":91,"longitude":1})"), HasSubstr("-90 to 90"));
  EXPECT_THAT(refusal(R"({"kind":"clocked","runAt":"tomorrow"})"),
              AllOf(HasSubstr("runAt"), HasSubstr("is not a time")));
  EXPECT_THAT(refusal(R"({"kind":"clocked","runAt":"2026-02-30T00:00:00Z"})"), HasSubstr("is not a time"));
  EXPECT_THAT(refusal(R"({"kind":"interval","every":"5s","startAt":"2026-01-02","endAt":"2026-01-01"})"),
              HasSubstr("before"));
  EXPECT_THAT(refusal(R"({"expression":"* * * * *"})"), HasSubstr("no \"kind\""));
}

TEST(Zones, UnknownAndHostileNamesAreRefused) {
  for (const char* name : {"Mars/Olympus", "../../etc/passwd", "/etc/localtime", "Europe/Berlin\n", "Europe"}) {
    const auto found = Zone::find(name);
    ASSERT_FALSE(found.ok()) << name;
    EXPECT_THAT(found.error().message, HasSubstr("IANA name"));
  }
  EXPECT_EQ(zone("").name(), "UTC");
  EXPECT_EQ(zone("America/Argentina/Buenos_Aires").to_local(0), -3 * 3600);
}

TEST(Times, AreReadWithAndWithoutZone) {
  EXPECT_EQ(at("1970-01-01T00:00:01.5Z"), 1'500'000'000);
  EXPECT_EQ(at("2026-01-31T12:00:00+02:00"), at("2026-01-31T10:00:00Z"));
  EXPECT_EQ(at("2026-07-01 12:00", zone("Europe/Berlin")), at("2026-07-01T10:00:00Z"));
  EXPECT_EQ(write_utc(at("2026-01-31T12:00:00.123Z")), "2026-01-31T12:00:00.123Z");
}

}  // namespace
}  // namespace stem::beat
