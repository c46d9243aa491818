// What the floors must be on any machine: plausible, complete, and in the order physics demands.
#include "bench/floor.hpp"

#include <gtest/gtest.h>

#include "tests/bench/two_cpus.hpp"

namespace stem::bench {
namespace {

class Handoff : public ::testing::TestWithParam<HandoffKind> {};

TEST_P(Handoff, TakesSomeNanosecondsOneWay) {
  const Percentiles one_way = handoff_percentiles(two_cpus(), 20'000, GetParam());
  EXPECT_EQ(one_way.count, 20'000u);
  EXPECT_GT(one_way.p50_ns, 3);
  EXPECT_LT(one_way.p50_ns, 20'000);
  EXPECT_LE(one_way.p50_ns, one_way.p99_ns);
  EXPECT_LE(one_way.p99_ns, one_way.max_ns);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Handoff,
                         ::testing::Values(HandoffKind::kMessage, HandoffKind::kMessageWithPause, HandoffKind::kFlag));

TEST(Probe, CanBeRepeatedInTheSameProcesses) {
  struct Stage {
    HandoffArea area;
    double one_way_ns[3];
  };
  Shared<Stage> stage;
  run_pair(
      two_cpus(),
      [&] {
        for (double& ns : stage->one_way_ns) ns = probe_lead(stage->area);
      },
      [&] {
        for (int i = 0; i < 3; ++i) probe_follow(stage->area);
      });
  for (const double ns : stage->one_way_ns) EXPECT_GT(ns, 3);
  EXPECT_GT(handoff_one_way_ns(two_cpus()), 3);
}

// The ring throws by itself when the sum of all words is wrong.
TEST(Ring, CarriesEveryMessageAtEveryShape) {
  for (const RingShape shape : {RingShape{64, 1, 20'000}, RingShape{64, 64, 64'000}, RingShape{8192, 64, 500'003}}) {
    const Measured rate = spsc_ring_rate(two_cpus(), shape);
    EXPECT_GT(rate.value, 1e4);
    EXPECT_GT(rate.steady, 1e4);
    EXPECT_LT(rate.steady, 5e9);
    EXPECT_GT(rate.handoff_before_ns, 3);
    EXPECT_GT(rate.handoff_after_ns, 3);
    EXPECT_GE(rate.core_loss, 0);
    EXPECT_LE(rate.core_loss, 1);
  }
}

TEST(FutexWake, CostsMoreThanASystemCallAndFindsTheSleeper) {
  const FutexWake wake = futex_wake_ns(two_cpus(), 20e3, 200);
  EXPECT_GT(wake.one_way.count, 100u);
  EXPECT_EQ(wake.one_way.count, wake.call.count);
  EXPECT_GT(wake.one_way.p50_ns, 200);
  EXPECT_GT(wake.call.p50_ns, 100);
}

TEST(Clocks, ReadingTheKernelClockCostsMoreThanTheCoarseOne) {
  const ClockCost cost = clock_cost_ns(two_cpus());
  EXPECT_GT(cost.tsc_ns, 0.1);
  EXPECT_LT(cost.tsc_ns, 10'000);
  EXPECT_GT(cost.monotonic_ns, cost.monotonic_coarse_ns);
}

TEST(TscOffset, IsWithinItsOwnErrorPlusAMicrosecond) {
  const TscOffset offset = tsc_offset(two_cpus());
  EXPECT_GT(offset.error_ns, 0);
  EXPECT_LT(std::abs(offset.offset_ns), offset.error_ns + 1000);
}

}  // namespace
}  // namespace stem::bench
