#include <gmock/gmock.h>

#include "tests/beat/times.hpp"

namespace stem::beat {
namespace {

using test::next_times;
using test::refusal;
using test::spec;
using test::zone;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> in_utc(std::string_view cron, std::string_view after, int count) {
  return next_times(spec(cron), {}, after, count);
}

TEST(Cron, EveryMinuteStepsAndLists) {
  EXPECT_THAT(in_utc("* * * * *", "2026-01-31T23:58:30Z", 3),
              ElementsAre("2026-01-31T23:59:00", "2026-02-01T00:00:00", "2026-02-01T00:01:00"));
  EXPECT_THAT(in_utc("*/20 * * * *", "2026-01-01T00:00:00Z", 3),
              ElementsAre("2026-01-01T00:20:00", "2026-01-01T00:40:00", "2026-01-01T01:00:00"));
  EXPECT_THAT(in_utc("5,50-52 8 * * *", "2026-01-01T08:05:00Z", 4),
              ElementsAre("2026-01-01T08:50:00", "2026-01-01T08:51:00", "2026-01-01T08:52:00", "2026-01-02T08:05:00"));
  EXPECT_THAT(in_utc("40/10 1-5/2 * * *", "2026-01-01T00:00:00Z", 5),
              ElementsAre("2026-01-01T01:40:00", "2026-01-01T01:50:00", "2026-01-01T03:40:00", "2026-01-01T03:50:00",
                          "2026-01-01T05:40:00"));
}

TEST(Cron, SixFieldsBeginWithSeconds) {
  EXPECT_THAT(in_utc("*/30 * * * * *", "2026-01-01T00:00:00Z", 3),
              ElementsAre("2026-01-01T00:00:30", "2026-01-01T00:01:00", "2026-01-01T00:01:30"));
  EXPECT_THAT(in_utc("15 30 4 * * *", "2026-01-01T04:30:15Z", 1), ElementsAre("2026-01-02T04:30:15"));
}

TEST(Cron, NamesOfMonthsAndWeekdays) {
  EXPECT_THAT(in_utc("0 9 * JAN,mar mon-Wed", "2026-01-01T00:00:00Z", 4),
              ElementsAre("2026-01-05T09:00:00", "2026-01-06T09:00:00", "2026-01-07T09:00:00", "2026-01-12T09:00:00"));
  EXPECT_EQ(in_utc("0 0 * * 0", "2026-01-01T00:00:00Z", 3), in_utc("0 0 * * 7", "2026-01-01T00:00:00Z", 3));
  EXPECT_EQ(in_utc("0 0 * * 5-7", "2026-01-01T00:00:00Z", 9), in_utc("0 0 * * FRI-SUN", "2026-01-01T00:00:00Z", 9));
}

TEST(Cron, LastDayLastAndNthWeekday) {
  EXPECT_THAT(in_utc("0 0 L * *", "2028-01-31T00:00:00Z", 3),
              ElementsAre("2028-02-29T00:00:00", "2028-03-31T00:00:00", "2028-04-30T00:00:00"));
  EXPECT_THAT(in_utc("0 0 * * 5L", "2026-01-01T00:00:00Z", 3),
              ElementsAre("2026-01-30T00:00:00", "2026-02-27T00:00:00", "2026-03-27T00:00:00"));
  EXPECT_THAT(in_utc("0 0 * * TUE#2", "2026-01-01T00:00:00Z", 3),
              ElementsAre("2026-01-13T00:00:00", "2026-02-10T00:00:00", "2026-03-10T00:00:00"));
  // Not every month has a fifth.
  EXPECT_THAT(in_utc("0 0 * * MON#5", "2026-01-01T00:00:00Z", 2),
              ElementsAre("2026-03-30T00:00:00", "2026-06-29T00:00:00"));
  EXPECT_THAT(in_utc("0 0 * * 1L,WED#1", "2026-01-01T00:00:00Z", 3),
              ElementsAre("2026-01-07T00:00:00", "2026-01-26T00:00:00", "2026-02-04T00:00:00"));
}

TEST(Cron, DayAndWeekdayBothRestrictedAreAlternatives) {
  // The 13th, and every Friday.
  EXPECT_THAT(in_utc("0 0 13 * FRI", "2026-01-01T00:00:00Z", 5),
              ElementsAre("2026-01-02T00:00:00", "2026-01-09T00:00:00", "2026-01-13T00:00:00", "2026-01-16T00:00:00",
                          "2026-01-23T00:00:00"));
  // One of them begins with a star: both must fit, as in cron(8).
  EXPECT_THAT(in_utc("0 0 */2 * FRI", "2026-01-01T00:00:00Z", 3),
              ElementsAre("2026-01-09T00:00:00", "2026-01-23T00:00:00", "2026-02-13T00:00:00"));
  EXPECT_THAT(in_utc("0 0 13 * *", "2026-01-01T00:00:00Z", 2),
              ElementsAre("2026-01-13T00:00:00", "2026-02-13T00:00:00"));
}

TEST(Cron, RareDates) {
  EXPECT_THAT(in_utc("0 0 29 2 *", "2026-01-01T00:00:00Z", 2),
              ElementsAre("2028-02-29T00:00:00", "2032-02-29T00:00:00"));
  // Over 2100, which has no leap day.
  EXPECT_THAT(in_utc("0 0 29 2 *", "2096-03-01T00:00:00Z", 1), ElementsAre("2104-02-29T00:00:00"));
  EXPECT_THAT(in_utc("0 0 31 * *", "2026-01-31T00:00:00Z", 2),
              ElementsAre("2026-03-31T00:00:00", "2026-05-31T00:00:00"));
}

// ---- clocks set forward and back: Berlin, 2026-03-29 02:00 -> 03:00 and 2026-10-25 03:00 -> 02:00

TEST(CronDst, ATimeThatTheClockSkipsComesAtOnceAndOnce) {
  const Zone berlin = zone("Europe/Berlin");
  EXPECT_THAT(next_times(spec("30 2 * * *"), berlin, "2026-03-27T12:00:00Z", 4),
              ElementsAre("2026-03-28T01:30:00",  // 02:30 +1
                          "2026-03-29T01:00:00",  // 03:00 +2, the first moment after the gap
                          "2026-03-30T00:30:00",  // 02:30 +2
                          "2026-03-31T00:30:00"));
  // Several skipped times are one.
  EXPECT_THAT(next_times(spec("0,15,30,45 2 * * *"), berlin, "2026-03-29T00:00:00Z", 2),
              ElementsAre("2026-03-29T01:00:00", "2026-03-30T00:00:00"));
}

TEST(CronDst, ATimeThatTheClockShowsTwiceComesTheFirstTime) {
  const Zone berlin = zone("Europe/Berlin");
  EXPECT_THAT(next_times(spec("30 2 * * *"), berlin, "2026-10-24T12:00:00Z", 3),
              ElementsAre("2026-10-25T00:30:00",  // 02:30 +2
                          "2026-10-26T01:30:00", "2026-10-27T01:30:00"));
  // Asked between the two.
  EXPECT_THAT(next_times(spec("30 2 * * *"), berlin, "2026-10-25T01:10:00Z", 1), ElementsAre("2026-10-26T01:30:00"));
}

TEST(CronDst, AStarFollowsTheClockAsItIsShown) {
  const Zone berlin = zone("Europe/Berlin");
  // Every half hour of real time, through the gap and through the hour that comes twice.
  EXPECT_THAT(next_times(spec("*/30 * * * *"), berlin, "2026-03-29T00:15:00Z", 4),
              ElementsAre("2026-03-29T00:30:00", "2026-03-29T01:00:00", "2026-03-29T01:30:00", "2026-03-29T02:00:00"));
  EXPECT_THAT(next_times(spec("*/30 * * * *"), berlin, "2026-10-24T23:45:00Z", 5),
              ElementsAre("2026-10-25T00:00:00", "2026-10-25T00:30:00", "2026-10-25T01:00:00", "2026-10-25T01:30:00",
                          "2026-10-25T02:00:00"));
  // The minute is a star: in the gap there is no such hour, in the overlap there are two.
  EXPECT_THAT(next_times(spec("*/20 2 * * *"), berlin, "2026-03-28T23:00:00Z", 1), ElementsAre("2026-03-30T00:00:00"));
  EXPECT_EQ(next_times(spec("*/20 2 * * *"), berlin, "2026-10-24T23:00:00Z", 6).back(), "2026-10-25T01:40:00");
}

TEST(CronDst, HalfHoursAndTheSouth) {
  // Lord Howe: half an hour, 2026-10-04 02:00 -> 02:30.
  EXPECT_THAT(next_times(spec("15 2 * * *"), zone("Australia/Lord_Howe"), "2026-10-03T00:00:00Z", 2),
              ElementsAre("2026-10-03T15:30:00", "2026-10-04T15:15:00"));
  // Midnight that does not exist: Santiago, 2025-09-07 00:00 -> 01:00.
  EXPECT_THAT(next_times(spec("0 0 * * *"), zone("America/Santiago"), "2025-09-06T12:00:00Z", 2),
              ElementsAre("2025-09-07T04:00:00", "2025-09-08T03:00:00"));
}

// ---- refusals: one line; what was wrong, where, and what is allowed

TEST(CronRefusal, NamesFieldPlaceAndWhatIsAllowed) {
  EXPECT_EQ(refusal("0 25 * * *"),
            "cron \"0 25 * * *\": hour at character 3: 25 is out of range; allowed: 0-23, *, lists a,b, ranges a-b, "
            "steps */n");
  EXPECT_THAT(refusal("0 0 * * FRU"),
              AllOf(HasSubstr("day of week at character 9"), HasSubstr("\"FRU\""), HasSubstr("SUN-SAT")));
  EXPECT_THAT(refusal("61 * * * *"), HasSubstr("minute at character 1: 61 is out of range"));
  EXPECT_THAT(refusal("0 0 0 * *"), HasSubstr("day of month"));
  EXPECT_THAT(refusal("0 0 * 13 *"), HasSubstr("month"));
  EXPECT_THAT(refusal("0 0 * * 8"), HasSubstr("day of week"));
  EXPECT_THAT(refusal("5-1 * * * *"), HasSubstr("runs backwards"));
  EXPECT_THAT(refusal("*/0 * * * *"), HasSubstr("step"));
  EXPECT_THAT(refusal("1,,2 * * * *"), HasSubstr("empty place"));
  EXPECT_THAT(refusal("0 0 * * 5#6"), HasSubstr("1 to 5"));
  EXPECT_THAT(refusal("0 0 * * L"), HasSubstr("5L"));
  EXPECT_THAT(refusal("0 0 * *"), HasSubstr("has 4 fields"));
  EXPECT_THAT(refusal("0 0 * * * * *"), HasSubstr("has 7 fields"));
  EXPECT_THAT(refusal("-1 * * * *"), HasSubstr("a number is missing"));
  EXPECT_THAT(refusal("0 0 30 2 *"), HasSubstr("never comes"));
  EXPECT_THAT(refusal(std::string(600, '1')), HasSubstr("no spec"));
}

}  // namespace
}  // namespace stem::beat
