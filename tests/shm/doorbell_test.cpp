#include "shm/doorbell.hpp"

#include <gtest/gtest.h>

#include <atomic>

#include "base/clock.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/process.hpp"
#include "tests/support/scratch.hpp"
#include "tests/support/wait.hpp"

namespace stem::shm {
namespace {

class DoorbellTest : public ::testing::Test {
 protected:
  DoorbellTest() : segment(test::must_create(test::small_segment(scratch))), self(test::must_join(segment)) {}
  test::ScratchDirectory scratch;
  std::shared_ptr<Segment> segment;
  std::unique_ptr<Participant> self;
};

TEST_F(DoorbellTest, NobodySleepsNobodyIsRung) {
  EXPECT_FALSE(anyone_sleeps(*segment));
  EXPECT_EQ(wake_workers(*segment, 0, 10), 0u);
}

TEST_F(DoorbellTest, WorkSeenBeforeParkingIsNotSleptOver) {
  EXPECT_EQ(sleep_for_work(*self, 10'000'000'000, [] { return true; }), WakeReason::kWorkSeen);
  EXPECT_FALSE(anyone_sleeps(*segment)) << "the bit is cleared";
}

TEST_F(DoorbellTest, ATimeoutEndsASleep) {
  EXPECT_EQ(sleep_for_work(*self, 1'000'000, [] { return false; }), WakeReason::kTimeout);
  EXPECT_FALSE(anyone_sleeps(*segment));
}

TEST_F(DoorbellTest, ARingBetweenLookAndParkIsNotLost) {
  self->row().serves_all.store(1);
  const auto reason = sleep_for_work(*self, 10'000'000'000, [this] {
    EXPECT_EQ(wake_workers(*segment, 0, 1), 1u);
    return false;  // the work came right after the look
  });
  EXPECT_EQ(reason, WakeReason::kRung);
}

TEST_F(DoorbellTest, OnlyWhoServesTheQueueIsWoken) {
  const auto other = test::must_join(segment);
  segment->subscription(other->index())[0].store(std::uint64_t{1} << 5);
  set_sleep_bit(*self);
  set_sleep_bit(*other);
  EXPECT_EQ(wake_workers(*segment, 4, 10), 0u);
  EXPECT_EQ(wake_workers(*segment, 5, 10), 1u);
  EXPECT_EQ(wake_workers(*segment, 5, 10), 0u) << "woken once";
  self->row().serves_all.store(1);
  EXPECT_EQ(wake_workers(*segment, 4, 10), 1u);
}

TEST_F(DoorbellTest, ExactlyAsManyAsAskedFor) {
  std::vector<std::unique_ptr<Participant>> sleepers;
  for (int i = 0; i < 5; ++i) {
    sleepers.push_back(test::must_join(segment));
    sleepers.back()->row().serves_all.store(1);
    set_sleep_bit(*sleepers.back());
  }
  EXPECT_EQ(wake_workers(*segment, 0, 2), 2u);
  EXPECT_EQ(wake_workers(*segment, 0, 100), 3u);
}

TEST_F(DoorbellTest, AWaiterIsRungForItsOwnTaskOnly) {
  set_waiter_bit(*self, 77);
  const std::uint32_t before = self->row().doorbell.load();
  wake_result_waiters(*segment, 76);
  EXPECT_EQ(self->row().doorbell.load(), before);
  wake_result_waiters(*segment, 77);
  EXPECT_EQ(self->row().doorbell.load(), before + 1);
  clear_waiter_bit(*self);
  EXPECT_FALSE(anyone_awaits(*segment));
}

// Two processes pass one task to and fro; each parks with no timeout to speak of. One lost wake and the
// test stands still, which the deadline shows.
TEST_F(DoorbellTest, NoWakeIsLostBetweenTwoProcesses) {
  constexpr std::uint64_t kRounds = 20'000;
  auto& ball = segment->header().keeper_passes;  // any shared word; nobody keeps here
  const auto play = [&](Segment& s, Participant& p, std::uint64_t parity) {
    auto& word = s.header().keeper_passes;
    p.row().serves_all.store(1);
    for (std::uint64_t turn = parity; turn < 2 * kRounds; turn += 2) {
      while (word.load() != turn) {
        if (sleep_for_work(p, 5'000'000'000, [&] { return word.load() == turn; }) == WakeReason::kTimeout)
          return word.load() == turn ? 3 : 2;
      }
      word.store(turn + 1);
      if (anyone_sleeps(s)) (void)wake_workers(s, 0, 2);
    }
    return 0;
  };
  test::Process child([&] {
    auto mine = test::must_attach("test", scratch.path());
    auto p = test::must_join(mine);
    return play(*mine, *p, 1);
  });
  EXPECT_EQ(play(*segment, *self, 0), 0) << "slept through a wake at turn " << ball.load();
  EXPECT_EQ(child.wait(), 0);
}

}  // namespace
}  // namespace stem::shm
