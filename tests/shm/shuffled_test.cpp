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
    for (std::size_t i = 2; i < 32; ++i)
      EXPECT_NE(order[i] - order[i - 1], order[i - 1] - order[i - 2]) << "a stride that can be learnt, at " << i;
  }
}

}  // namespace
}  // namespace stem::shm
