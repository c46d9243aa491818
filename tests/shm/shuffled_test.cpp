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
    for (std::size_t i = 3; i < 32; ++i) {
      const std::uint64_t stride = order[i] - order[i - 1];
      EXPECT_NE(stride, order[i - 1] - order[i - 2]) << "a stride that can be learnt, at " << i;
      EXPECT_NE(stride, order[i - 2] - order[i - 3]) << "one of two in turn, at " << i;
    }
  }
}

}  // namespace
}  // namespace stem::shm
