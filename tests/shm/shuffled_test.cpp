#include "shm/shuffled.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace stem::shm {
namespace {

TEST(Shuffled, GivesEachOnceByNoStrideThatCanBeLearnt) {
  for (const std::uint64_t count : {0u, 1u, 5u, 31u, 32u, 33u, 100u}) {
    std::vector<int> times(count);
    std::vector<std::uint64_t> order;
    shuffled(count, [&](std::uint64_t i) {
      ASSERT_LT(i, count);
      ++times[i];
      order.push_back(i);
    });
    EXPECT_EQ(times, std::vector<int>(count, 1));
    if (count < 32) continue;  // a few have no room for an order
    const auto stride = [&](std::size_t i) { return order[i] - order[i - 1]; };
    for (std::size_t i = 4; i < 32; ++i) {
      EXPECT_NE(stride(i), stride(i - 1)) << "a stride that can be learnt, at " << i;
      EXPECT_FALSE(stride(i) == stride(i - 2) && stride(i - 1) == stride(i - 3)) << "two in turn, at " << i;
    }
  }
}

}  // namespace
}  // namespace stem::shm
