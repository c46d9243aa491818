// Ten priorities: larger first, strictly, and yet nothing waits for ever.
#include <algorithm>

#include "virtual_host.hpp"

namespace stem::engine {
namespace {

using Priority = VirtualHost;

TEST_F(Priority, LargerFirstAndInOrderWithinOne) {
  for (std::uint64_t n = 0; n < 50; ++n)
    put(n, [n](TaskSpec& spec) { spec.priority = static_cast<std::uint8_t>(n * 7 % 10); });
  const auto order = drain();
  ASSERT_EQ(order.size(), 50u);
  for (std::size_t i = 1; i < order.size(); ++i) {
    const auto before = order[i - 1] * 7 % 10, after = order[i] * 7 % 10;
    ASSERT_GE(before, after) << "at " << i;
    if (before == after) {
      ASSERT_LT(order[i - 1], order[i]);
    }
  }
}

TEST_F(Priority, BeyondNineIsNine) {
  const TaskId id = put(1, [](TaskSpec& spec) { spec.priority = 255; });
  EXPECT_EQ(Query(*producer_).task(id)->priority, 9u);
  put(2, [](TaskSpec& spec) { spec.priority = 9; });
  EXPECT_EQ(drain(), (std::vector<std::uint64_t>{1, 2})) << "one lane";
}

TEST_F(Priority, AQueueMayCountTheOtherWay) {
  Control::Limits limits;
  limits.lowest_first = 1;
  Control(*producer_).set_limits(queue_, limits);
  for (std::uint64_t n = 0; n < 10; ++n) put(n, [n](TaskSpec& spec) { spec.priority = static_cast<std::uint8_t>(n); });
  const auto order = drain();
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_F(Priority, ABatchOfClaimsIsStrictToo) {
  for (std::uint64_t n = 0; n < 40; ++n)
    put(n, [n](TaskSpec& spec) { spec.priority = static_cast<std::uint8_t>(n % 10); });
  // A claim may end with its lane; never does it take a task while a more urgent one is left.
  Lease leases[16];
  for (int done = 0; done < 40;) {
    const std::uint32_t n = worker_->claim(queue_, leases, 16, now_);
    ASSERT_GT(n, 0u);
    for (std::uint32_t i = 0; i < n; ++i, ++done) {
      TaskView view;
      ASSERT_TRUE(worker_->view(leases[i], view));
      EXPECT_EQ(view.priority, 9 - done / 4);
      EXPECT_EQ(worker_->succeed(leases[i], view, {}, now_), Settled::kDone);
    }
  }
}

TEST_F(Priority, ALateUrgentTaskOvertakesTheBacklog) {
  for (std::uint64_t n = 0; n < 200; ++n) put(n);
  ASSERT_TRUE(start());
  put(1000, [](TaskSpec& spec) { spec.priority = 1; });
  auto next = start();
  ASSERT_TRUE(next);
  EXPECT_EQ(next->number(), 1000u);
}

// Urgent work comes as fast as it is done, for ever: what is less urgent still gets its turn.
TEST_F(Priority, NothingStarves) {
  for (std::uint64_t p = 0; p < 9; ++p)
    put(1000 + p, [p](TaskSpec& spec) { spec.priority = static_cast<std::uint8_t>(p); });
  int waiting = 9;
  std::uint64_t rounds = 0;
  for (; waiting > 0 && rounds < 20'000; ++rounds) {
    put(rounds % 1000, [](TaskSpec& spec) { spec.priority = 9; });
    auto task = start();
    ASSERT_TRUE(task);
    if (task->number() >= 1000) --waiting;
    EXPECT_EQ(succeed(*task), Settled::kDone);
    now_ += kMillisecondNs;
  }
  EXPECT_EQ(waiting, 0);
  EXPECT_GT(rounds, 800u) << "and yet the urgent came first until the others had waited long";
  (void)drain();
}

TEST_F(Priority, NothingStarvesWithLargeBatchesEither) {
  put(1000);
  std::uint64_t rounds = 0;
  bool seen = false;
  for (; !seen && rounds < 1000; ++rounds) {
    for (std::uint64_t n = 0; n < 16; ++n) put(n, [](TaskSpec& spec) { spec.priority = 9; });
    Lease leases[16];
    const std::uint32_t n = worker_->claim(queue_, leases, 16, now_);
    for (std::uint32_t i = 0; i < n; ++i) {
      TaskView view;
      ASSERT_TRUE(worker_->view(leases[i], view));
      seen |= test::number_of(view) == 1000;
      EXPECT_EQ(worker_->succeed(leases[i], view, {}, now_), Settled::kDone);
    }
    now_ += 10 * kMillisecondNs;
  }
  EXPECT_TRUE(seen);
  (void)drain();
}

TEST_F(Priority, AgeingDoesNotTurnTheOrderOverWhileNobodyWaitsLong) {
  for (std::uint64_t n = 0; n < 500; ++n) put(n, [n](TaskSpec& spec) { spec.priority = n % 2 == 0 ? 9 : 0; });
  const auto order = drain();  // within one instant
  EXPECT_TRUE(std::is_partitioned(order.begin(), order.end(), [](std::uint64_t n) { return n % 2 == 0; }));
}

}  // namespace
}  // namespace stem::engine
