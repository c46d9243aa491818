// Real beat processes: killed and stopped at random, with a ledger of every tick.
#include <gtest/gtest.h>
#include <unistd.h>

#include <random>

#include "base/clock.hpp"
#include "tests/beat/beat_host.hpp"
#include "tests/support/process.hpp"
#include "tests/support/wait.hpp"

namespace stem::beat::test {
namespace {

using stem::test::Process;
using stem::test::wait_until;

class Processes : public BeatHost {
 protected:
  // Fires until it is killed.
  Process start_beat(std::int64_t ttl_ns) {
    return Process([this, ttl_ns] {
      Beat beat(stem::test::must_attach("test", directory_.path()), queue_, task_, ttl_ns, 20 * kMs);
      for (;;) {
        const std::int64_t next_ns = beat.scheduler.step({base::monotonic_ns(), base::realtime_ns()});
        const std::int64_t left_ns = next_ns - base::monotonic_ns();
        if (left_ns > 0) {
          const timespec pause{left_ns / kSecondNs, left_ns % kSecondNs};
          ::nanosleep(&pause, nullptr);
        }
      }
      return 0;
    });
  }
  // Sweeps the dead and runs what was fired, at once: nothing but the schedule's row remembers a tick.
  void work() {
    now_.monotonic_ns = base::monotonic_ns();
    (void)keeping_->sweep_all(now_.monotonic_ns);
    for (const std::int64_t planned : drain(*worker_, queue_, now_.monotonic_ns, origin_ns_)) ran_.push_back(planned);
  }
  std::uint32_t holder() const {
    const shm::BeatLockWord lock(segment_->schedules().lock.load());
    return lock.owner() == 0 ? 0 : segment_->row(lock.owner() - 1).pid;
  }
  // Every multiple of `step` from the first to the last, once each.
  void expect_every_tick_once(std::int64_t step_ms) {
    std::sort(ran_.begin(), ran_.end());
    ASSERT_FALSE(ran_.empty());
    for (std::size_t i = 0; i < ran_.size(); ++i)
      ASSERT_EQ(ran_[i], static_cast<std::int64_t>(i + 1) * step_ms) << "tick " << i << " of " << ran_.size();
  }

  std::vector<std::int64_t> ran_;
};

TEST_F(Processes, TheHolderIsKilledAgainAndAgain) {
  origin_ns_ = base::realtime_ns();
  ASSERT_TRUE(
      store_.put(entry(R"({"id":"a","task":"t","spec":"every:20ms","misfire":"all","misfireMax":100000})"), origin_ns_)
          .ok());
  const auto seed = std::random_device{}();
  std::printf("seed %u\n", seed);
  std::mt19937 random(seed);
  std::vector<Process> beats;
  for (int i = 0; i < 2; ++i) beats.push_back(start_beat(5 * kSecondNs));
  int kills = 0;
  const std::int64_t end_ns = base::monotonic_ns() + 6 * kSecondNs;
  while (base::monotonic_ns() < end_ns) {
    // Some time between a moment and a few ticks after the holder is known: also while it starts, and fires.
    ASSERT_TRUE(wait_until([&] {
      work();
      const std::uint32_t pid = holder();
      return std::any_of(beats.begin(), beats.end(), [&](Process& b) { return b.pid() == static_cast<pid_t>(pid); });
    }));
    const std::int64_t kill_ns = base::monotonic_ns() + static_cast<std::int64_t>(random() % (60 * kMs));
    while (base::monotonic_ns() < kill_ns) work();
    const auto pid = static_cast<pid_t>(holder());
    for (Process& beat : beats) {
      if (beat.pid() != pid) continue;
      beat.kill();
      ++kills;
      beat = start_beat(5 * kSecondNs);
    }
  }
  EXPECT_GT(kills, 20);
  // The last one catches up.
  const std::int64_t last_ms = (base::realtime_ns() - origin_ns_) / kMs / 20 * 20;
  EXPECT_TRUE(wait_until([&] {
    work();
    return std::find(ran_.begin(), ran_.end(), last_ms) != ran_.end();
  }));
  for (Process& beat : beats) beat.kill();
  ASSERT_TRUE(wait_until([&] { return keeping_->sweep_all(base::monotonic_ns()) == 0; }));
  settle();
  work();
  std::printf("%d kills, %zu ticks\n", kills, ran_.size());
  expect_every_tick_once(20);
}

TEST_F(Processes, AHolderThatWasStoppedBeyondItsTimeFiresNothingTwice) {
  origin_ns_ = base::realtime_ns();
  ASSERT_TRUE(
      store_.put(entry(R"({"id":"a","task":"t","spec":"every:20ms","misfire":"all","misfireMax":100000})"), origin_ns_)
          .ok());
  constexpr std::int64_t kTtl = 200 * kMs;
  std::vector<Process> beats;
  for (int i = 0; i < 2; ++i) beats.push_back(start_beat(kTtl));
  std::mt19937 random(7);
  for (int round = 0; round < 6; ++round) {
    ASSERT_TRUE(wait_until([&] {
      work();
      return holder() == static_cast<std::uint32_t>(beats[0].pid()) ||
             holder() == static_cast<std::uint32_t>(beats[1].pid());
    }));
    const std::int64_t stop_ns = base::monotonic_ns() + static_cast<std::int64_t>(random() % (50 * kMs));
    while (base::monotonic_ns() < stop_ns) work();
    Process& late = holder() == static_cast<std::uint32_t>(beats[0].pid()) ? beats[0] : beats[1];
    Process& other = &late == &beats[0] ? beats[1] : beats[0];
    late.stop();
    const std::size_t before = ran_.size();
    EXPECT_TRUE(wait_until([&] {
      work();
      return holder() == static_cast<std::uint32_t>(other.pid()) && ran_.size() > before + 12;
    })) << "nobody took over";
    late.resume();
    const std::size_t resumed = ran_.size();
    EXPECT_TRUE(wait_until([&] {
      work();
      return ran_.size() > resumed + 5;
    }));
  }
  for (Process& beat : beats) beat.kill();
  ASSERT_TRUE(wait_until([&] { return keeping_->sweep_all(base::monotonic_ns()) == 0; }));
  settle();
  work();
  expect_every_tick_once(20);
  EXPECT_GE(counter(shm::BeatCounter::kLockRenewFailed), 1u);
}

}  // namespace
}  // namespace stem::beat::test
