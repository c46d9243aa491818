#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

#include "run_stem.hpp"
#include "scene.hpp"

namespace stem::cli_test {
namespace {

using ::testing::HasSubstr;

nlohmann::json capacity(std::vector<std::string> args) {
  args.insert(args.begin(), {"capacity", "--json"});
  const Outcome outcome = run_stem(args);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return nlohmann::json::parse(outcome.out);
}

TEST(Capacity, IsRateTimesDurationOverUtilisationAndAQuarter) {
  // 2000/s x 5 ms = 10 busy; / 0.7 x 1.25 = 17.86
  auto answer = capacity({"--rate", "2000/s", "--duration", "5ms"});
  EXPECT_EQ(answer["workers"], 18);
  EXPECT_DOUBLE_EQ(answer["busyWorkers"].get<double>(), 10.0);
  EXPECT_DOUBLE_EQ(answer["capacityPerSecond"].get<double>(), 3600.0);
  EXPECT_FALSE(answer.contains("drainNs"));
  // 90/m x 2 s = 3 busy; / 0.75 x 1.25 = 5 exactly, and not 6
  EXPECT_EQ(capacity({"--rate", "90/m", "--duration", "2s", "--utilisation", "75%"})["workers"], 5);
  EXPECT_EQ(capacity({"--rate", "1/h", "--duration", "1ns"})["workers"], 1);
}

TEST(Capacity, ExactAnswersAreNotRoundedUp) {
  // busy = n, utilisation 1/2: 2.5 n, whole for every even n, whatever the unit
  for (int n = 2; n <= 60; n += 2) {
    const auto answer =
        capacity({"--rate", std::to_string(n * 10) + "/s", "--duration", "0.1s", "--utilisation", "0.5"});
    EXPECT_EQ(answer["workers"], n * 5 / 2) << n;
  }
}

TEST(Capacity, BacklogDrainsWithWhatIsLeftOver) {
  // 3600/s can be done and 2000/s come: 100000 / 1600 = 62.5 s
  const auto answer = capacity({"--rate", "2000/s", "--duration", "5ms", "--backlog", "100000"});
  EXPECT_NEAR(answer["drainNs"].get<double>(), 62.5e9, 1e6);
  const Outcome shown = run_stem({"capacity", "--rate", "2000/s", "--duration", "5ms", "--backlog", "100000"});
  EXPECT_THAT(shown.out, HasSubstr("18"));
  EXPECT_THAT(shown.out, HasSubstr("1m 2s"));
  const auto endless = capacity({"--rate", "1/h", "--duration", "106751d", "--backlog", "18446744073709551615"});
  EXPECT_TRUE(endless["drainNs"].is_null());
}

// Ten tasks of about 20 ms wait, then run: what was not given comes from there.
TEST(Capacity, WhatIsNotGivenIsMeasured) {
  Scene scene;
  const auto segment = scene.segment();
  const Outcome nothing_ran = scene.run({"capacity", "--rate", "5/s", "--over", "1ms"});
  EXPECT_EQ(nothing_ran.exit_code, 70);
  EXPECT_THAT(nothing_ran.err, HasSubstr("--duration"));
  for (int i = 0; i < 10; ++i) (void)scene.enqueue({"nap", "-q", "beds"});
  (void)scene.enqueue({"nap", "-q", "other"});
  auto waiting = scene.run_json({"capacity", "--duration", "20ms", "-q", "beds", "--over", "1ms"});
  EXPECT_EQ(waiting["backlog"], 10);
  EXPECT_EQ(waiting["ratePerSecond"], 0.0) << "nothing came meanwhile";
  EXPECT_EQ(waiting["workers"], 1);
  EXPECT_EQ(waiting["drainNs"], 200'000'000) << "one worker, ten tasks of 20 ms";
  EXPECT_EQ(scene.run_json({"capacity", "--duration", "20ms", "--over", "1ms"})["backlog"], 11);
  {
    const TestWorker worker(segment, "beds", [](const auto&, std::string&) {
      const timespec nap{0, 20'000'000};
      ::nanosleep(&nap, nullptr);
      return End::kSucceed;
    });
    worker.await(10);
  }
  const auto measured = scene.run_json({"capacity", "--rate", "100/s", "--over", "1ms"});
  EXPECT_EQ(measured["durationMeasured"], true);
  EXPECT_EQ(measured["rateMeasured"], false);
  EXPECT_GE(measured["meanDurationNs"].get<std::int64_t>(), 20'000'000);
  EXPECT_GE(measured["workers"].get<int>(), 4) << "100/s × 20 ms = 2 busy; / 0.7 × 1.25 = 3.6";
  // Arrivals: counted while it looks.
  const Outcome shown = scene.shell(
      "stem capacity --over 1s -q beds --json & "
      "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do "
      "stem enqueue nap -q beds; sleep 0.05; done >/dev/null; wait");
  const auto busy = nlohmann::json::parse(shown.out);
  EXPECT_GT(busy["ratePerSecond"].get<double>(), 0.0);
  EXPECT_LE(busy["ratePerSecond"].get<double>(), 20.5);
  EXPECT_EQ(scene.run({"capacity", "-q", "bed", "--over", "1ms"}).exit_code, 1);
  EXPECT_EQ(scene.run({"capacity", "--rate", "1/s", "--duration", "1s", "-q", "beds"}).exit_code, 2);
  EXPECT_EQ(scene.run({"capacity", "--over", "0s"}).exit_code, 2);
}

TEST(Capacity, NonsenseIsRefused) {
  const std::vector<std::vector<std::string>> refused{{"--rate", "5/s", "--duration", "0"},
                                                      {"--rate", "0/s", "--duration", "1s"},
                                                      {"--rate", "5", "--duration", "1s"},
                                                      {"--rate", "5/s", "--duration", "1s", "--utilisation", "0"},
                                                      {"--rate", "5/s", "--duration", "1s", "--utilisation", "1.1"},
                                                      {"--rate", "5/s", "--duration", "1s", "--utilisation", "nan"},
                                                      {"--rate", "5/s", "--duration", "1s", "--utilisation", "%"},
                                                      {"--rate", "5/s", "--duration", "1s", "--backlog", "-1"},
                                                      {"--rate", "18446744073709551615/s", "--duration", "106751d"}};
  for (auto args : refused) {
    args.insert(args.begin(), "capacity");
    const Outcome outcome = run_stem(args);
    EXPECT_EQ(outcome.exit_code, 2) << ::testing::PrintToString(args);
    EXPECT_THAT(outcome.err, HasSubstr("stem: capacity:"));
  }
}

}  // namespace
}  // namespace stem::cli_test
