#include "bench/measure.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace stem::bench {
namespace {

TEST(Percentiles, AreNearestRankOfUnsortedSamples) {
  std::vector<std::uint64_t> ns(1000);
  std::iota(ns.rbegin(), ns.rend(), 1);  // 1000 ... 1
  const Percentiles result = percentiles_of_ns(ns);
  EXPECT_EQ(result.p50_ns, 500);
  EXPECT_EQ(result.p90_ns, 900);
  EXPECT_EQ(result.p99_ns, 990);
  EXPECT_EQ(result.p999_ns, 999);
  EXPECT_EQ(result.max_ns, 1000);
  EXPECT_EQ(result.count, 1000u);
}

TEST(Percentiles, OfOneSampleAreThatSampleAndOfNoneAreZero) {
  std::vector<std::uint64_t> one{42};
  EXPECT_EQ(percentiles_of_ns(one).p50_ns, 42);
  EXPECT_EQ(percentiles_of_ns(one).p999_ns, 42);
  EXPECT_EQ(percentiles_of_ns({}).count, 0u);
}

TEST(Percentiles, OfTicksAreScaledToNanoseconds) {
  std::vector<std::uint64_t> ticks{ticks_of_ns(1e6)};
  EXPECT_NEAR(percentiles_of_ticks(ticks).p50_ns, 1e6, 1);
}

TEST(Clock, TicksRunAtTheMeasuredRate) {
  timespec from{}, to{};
  clock_gettime(CLOCK_MONOTONIC, &from);
  const std::uint64_t start = ticks_now();
  spin_for_ns(20e6);
  const double ns = static_cast<double>(ticks_now() - start) * ns_per_tick();
  clock_gettime(CLOCK_MONOTONIC, &to);
  const double wall_ns =
      static_cast<double>(to.tv_sec - from.tv_sec) * 1e9 + static_cast<double>(to.tv_nsec - from.tv_nsec);
  EXPECT_GE(ns, 20e6 * 0.999);
  EXPECT_LE(ns, wall_ns * 1.01);
}

TEST(Spread, IsMedianLeastAndMost) {
  const Spread odd = spread_of({3.0, 1.0, 2.0});
  EXPECT_EQ(odd.median, 2);
  EXPECT_EQ(odd.min, 1);
  EXPECT_EQ(odd.max, 3);
  EXPECT_EQ(spread_of({4.0, 1.0, 2.0, 3.0}).median, 2.5);
  EXPECT_EQ(spread_of(std::vector<double>{}).count, 0u);
}

TEST(Placement, IsJudgedByTheHandOff) {
  EXPECT_EQ(judge_placement(35), Placement::kSmt);
  EXPECT_EQ(judge_placement(65), Placement::kL3);
  EXPECT_EQ(judge_placement(240), Placement::kFar);
}

TEST(Placement, MovedOnlyWhenTheTwoProbesClearlyDisagree) {
  EXPECT_EQ((Measured{.handoff_before_ns = 60, .handoff_after_ns = 240}).placement(), Placement::kMoved);
  EXPECT_EQ((Measured{.handoff_before_ns = 60, .handoff_after_ns = 70}).placement(), Placement::kL3);
  // On either side of a border, yet close: jitter, not a move.
  EXPECT_EQ((Measured{.handoff_before_ns = 120, .handoff_after_ns = 134}).placement(), Placement::kFar);
}

Measured at(double value, double handoff_ns, double core_loss = 0) {
  return {.value = value,
          .steady = value * 2,
          .handoff_before_ns = handoff_ns,
          .handoff_after_ns = handoff_ns,
          .core_loss = core_loss};
}

TEST(RatioSeries, QuotesTheMedianOfRatiosNotTheRatioOfMedians) {
  RatioSeries series;
  series.add(at(100, 60), at(50, 60));   // 0.5
  series.add(at(20, 240), at(12, 240));  // 0.6
  series.add(at(10, 240), at(7, 240));   // 0.7
  EXPECT_DOUBLE_EQ(series.ratio().median, 0.6);
  EXPECT_DOUBLE_EQ(series.steady_ratio().median, 0.6);
  EXPECT_EQ(series.only(Placement::kFar).samples().size(), 2u);
  EXPECT_DOUBLE_EQ(series.only(Placement::kFar).ratio().median, 0.65);
}

TEST(RatioSeries, LabelsAPairWhoseHalvesSawDifferentPlacements) {
  RatioSeries series;
  series.add(at(100, 60), at(50, 240));
  ASSERT_EQ(series.samples().size(), 1u);
  EXPECT_EQ(series.samples()[0].placement, Placement::kMoved);
}

TEST(RatioSeries, HasNoSteadyRatioWhenOneIsMissing) {
  RatioSeries series;
  series.add(at(100, 60), at(50, 60));
  series.add(at(100, 60), Measured{.value = 50, .handoff_before_ns = 60, .handoff_after_ns = 60});
  EXPECT_EQ(series.steady_ratio().count, 0u);
}

TEST(Alternate, SwapsTheOrderAndRepeatsWhatWasDisturbed) {
  std::string order;
  int disturbances = 2;
  const RatioSeries series = alternate(
      2,
      [&] {
        order += 'f';
        return at(10, 60);
      },
      [&] {
        order += 's';
        return at(5, 60, disturbances-- > 0 ? 0.5 : 0.0);
      });
  EXPECT_EQ(order,
            "fsss"
            "sf");
  EXPECT_EQ(series.disturbed_count(), 0u);
  EXPECT_DOUBLE_EQ(series.ratio().median, 0.5);
}

TEST(Alternate, KeepsAndCountsAPairThatStayedDisturbed) {
  int subject_calls = 0;
  const RatioSeries series = alternate(
      1, [] { return at(10, 60); },
      [&] {
        ++subject_calls;
        return at(5, 60, 0.5);
      });
  EXPECT_EQ(subject_calls, 5);
  EXPECT_EQ(series.disturbed_count(), 1u);
}

TEST(RateMeter, SteadyRateIsNotMovedByAStall) {
  constexpr std::uint64_t kStretches = 21;
  RateMeter meter(kStretches * 100, 100);
  meter.start();
  for (std::uint64_t i = 1; i <= kStretches; ++i) {
    spin_for_ns(i == 10 ? 50e6 : 100e3);
    meter.count(i * 100);
  }
  meter.finish(kStretches * 100);
  EXPECT_LT(meter.per_s(), 100 * kStretches / 52e-3 * 1.01);
  EXPECT_GT(meter.steady_per_s(), meter.per_s() * 5);
  EXPECT_LE(meter.steady_per_s(), 100 / 100e-6 * 1.01);
}

TEST(CoreLoss, SeesTimeNotSpentOnTheCore) {
  const CoreLoss loss;
  timespec rest{0, 20'000'000};
  nanosleep(&rest, nullptr);  // what is measured is being off the core
  EXPECT_GT(loss.share(), 0.5);
}

}  // namespace
}  // namespace stem::bench
