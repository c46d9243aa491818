// The gateway's hold on shared limits against a Redis that answers late, or refuses: hours of it in virtual time.
#include "federation/limit_desk.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/keeper.hpp"
#include "federation/limit_scripts.hpp"
#include "tests/federation/scripted_redis.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/scratch.hpp"

namespace stem::test {
namespace {

constexpr std::int64_t kMsNs = 1'000'000;

class LimitDeskTest : public ::testing::Test {
 protected:
  LimitDeskTest()
      : segment(must_create(small_segment(directory))),
        worker(segment, shm::Role::kWorker),
        gateway(segment, shm::Role::kGateway),
        keeper(*worker),
        queue(must_queue(*segment, "q")),
        desk(*gateway, redis, keys, "us", {queue}),
        clocks{base::monotonic_ns(), 1'700'000'000'000'000},
        began_ns(clocks.now_ns) {
    worker->self().row().serves_all.store(1);
    desk.on_ready();
  }

  void put(engine::Rate rate, int tasks) {
    for (int i = 0; i < tasks; ++i) {
      Numbered task(queue, must_task(*segment, "count"), static_cast<std::uint64_t>(i));
      engine::TaskExtras extras;
      extras.rate_key = 5;
      extras.rate = rate;
      task.spec.extras = &extras;
      EXPECT_EQ(worker->enqueue(task.spec, clocks.now_ns).status, engine::EnqueueStatus::kOk);
    }
  }
  // A millisecond at a time; ends every task that starts.
  void pass(std::int64_t ms) {
    for (; ms > 0; --ms) {
      clocks.now_ns += kMsNs;
      clocks.wall_now_us += 1000;
      while (answered_at_ns.size() < redis.sent.size()) answered_at_ns.push_back(clocks.now_ns + delay_ns);
      while (!redis.sent.empty() && answered_at_ns.front() <= clocks.now_ns) answer();
      (void)keeper.step(clocks.now_ns);
      desk.step(clocks);
      work();
    }
  }
  std::uint64_t started = 0;

  ScratchDirectory directory;
  std::shared_ptr<shm::Segment> segment;
  Attached worker, gateway;
  engine::Keeper keeper;
  ScriptedRedis redis;
  federation::Keys keys{"stem"};
  std::uint32_t queue;
  federation::LimitDesk desk;
  federation::Clocks clocks;
  std::int64_t began_ns;
  std::int64_t delay_ns = kMsNs;
  bool refuses = false;

 private:
  void work() {
    engine::Lease lease;
    engine::TaskView view;
    worker->lanes().clear_marks(queue);
    while (worker->claim(queue, &lease, 1, clocks.now_ns) == 1) {
      if (!worker->view(lease, view) || worker->begin(lease, view, clocks.now_ns) != engine::Begin::kStart) continue;
      ++started;
      EXPECT_EQ(worker->succeed(lease, view, {}, clocks.now_ns), engine::Settled::kDone);
    }
  }
  // As kTakeRateScript does.
  void answer() {
    answered_at_ns.pop_front();
    const std::vector<std::string>& argv = redis.sent.front().argv;
    if (refuses) {
      EXPECT_TRUE(redis.fail("EVAL", federation::RedisError::kOutOfMemory));
      return;
    }
    ASSERT_EQ(argv[1], federation::kTakeRateScript);
    const double wanted = std::stod(argv[4]), interval = std::stod(argv[5]), tolerance = std::stod(argv[6]),
                 horizon = std::stod(argv[7]);
    const auto now = static_cast<double>(clocks.now_ns - began_ns) / 1000;
    arrival_us = std::max(arrival_us, now);
    const double at_once = std::floor((now + tolerance - arrival_us) / interval) + 1;
    const double soon = std::floor((now + tolerance + horizon - arrival_us) / interval) + 1;
    const double most = std::max(at_once, std::min(soon, std::max(at_once, 0.0) + std::ceil(horizon / interval / 2)));
    const int n = static_cast<int>(std::max(0.0, std::min(wanted, most)));
    const double us = n == 0 ? std::ceil(arrival_us - tolerance - now - horizon) : arrival_us - now;
    arrival_us += n * interval;
    Shape shape(std::vector<Shape>{n, fmt::format("{:.3f}", us)});
    EXPECT_TRUE(redis.answer("EVAL", shape.reply()));
  }

  std::deque<std::int64_t> answered_at_ns;
  double arrival_us = 0;
};

TEST_F(LimitDeskTest, ASlowRateIsUsedToTheFullThoughRedisIsFar) {
  delay_ns = 12 * kMsNs;
  put({10, 60}, 15);
  pass(200);
  EXPECT_EQ(started, 10u) << "the burst";
  for (std::uint64_t next = 11; next <= 15; ++next) {
    pass(6000);
    EXPECT_EQ(started, next);
  }
}

TEST_F(LimitDeskTest, OneTaskTakesOnePlace) {
  delay_ns = 50 * kMsNs;
  put({10, 60}, 1);
  pass(200);
  EXPECT_EQ(started, 1u);
  pass(1000);
  put({10, 60}, 9);
  pass(500);
  EXPECT_EQ(started, 10u) << "none of the burst was wasted on one that looked often";
}

TEST_F(LimitDeskTest, TasksThatComeAllTheTimeRunAtTheRate) {
  delay_ns = 3 * kMsNs;
  for (int second = 0; second < 10; ++second) {
    put({100, 1}, 200);
    pass(1000);
  }
  EXPECT_GE(started, 100u + 9 * 95);
  EXPECT_LE(started, 100u + 10 * 100 + 1);
}

TEST_F(LimitDeskTest, RefusedTasksFailOpen) {
  refuses = true;
  put({100, 1}, 5);
  pass(100);
  EXPECT_EQ(started, 5u);
  EXPECT_EQ(total(*worker, queue, shm::Counter::kRateDegraded), 5u);
  refuses = false;
  pass(6000);
  put({100, 1}, 5);
  pass(100);
  EXPECT_EQ(started, 10u);
  EXPECT_EQ(total(*worker, queue, shm::Counter::kRateDegraded), 5u) << "it is asked again";
}

}  // namespace
}  // namespace stem::test
