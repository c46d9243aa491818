// Scaling by lag, in virtual time.
#include "worker/autoscale.hpp"

#include <gtest/gtest.h>

namespace stem::test {
namespace {

using worker::Autoscale;
constexpr std::int64_t kSecond = 1'000'000'000;

TEST(Autoscale, OffWithoutAMaximum) {
  const Autoscale scale(0, 0);
  EXPECT_FALSE(scale.due(kSecond));
  EXPECT_EQ(scale.next_ns(), INT64_MAX);
}

TEST(Autoscale, GoesUpByOneWithACooldown) {
  Autoscale scale(1, 4);
  EXPECT_EQ(scale.tick(100, 1, 0), 2u);
  EXPECT_FALSE(scale.due(kSecond));
  EXPECT_TRUE(scale.due(2 * kSecond));
  EXPECT_EQ(scale.tick(100, 2, 2 * kSecond), 2u) << "5 s have not passed";
  EXPECT_EQ(scale.tick(100, 2, 5 * kSecond), 3u);
  EXPECT_EQ(scale.tick(2, 3, 10 * kSecond), 3u) << "fewer wait than there are processes";
  EXPECT_EQ(scale.tick(3, 3, 12 * kSecond), 4u);
  EXPECT_EQ(scale.tick(900, 4, 20 * kSecond), 4u) << "the maximum";
}

TEST(Autoscale, GoesDownAfterIdlenessWithACooldown) {
  Autoscale scale(1, 4);
  EXPECT_EQ(scale.tick(1, 3, 0), 3u);
  EXPECT_EQ(scale.tick(0, 3, 28 * kSecond), 3u);
  EXPECT_EQ(scale.tick(0, 3, 30 * kSecond), 2u);
  EXPECT_EQ(scale.tick(0, 2, 38 * kSecond), 2u);
  EXPECT_EQ(scale.tick(0, 2, 40 * kSecond), 1u);
  EXPECT_EQ(scale.tick(0, 1, 60 * kSecond), 1u) << "the minimum";
}

TEST(Autoscale, BringsACountWithinItsBounds) {
  Autoscale scale(2, 4);
  EXPECT_EQ(scale.tick(0, 1, 0), 2u);
  EXPECT_EQ(scale.tick(0, 9, 2 * kSecond), 4u);
}

}  // namespace
}  // namespace stem::test
