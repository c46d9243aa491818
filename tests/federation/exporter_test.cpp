// The exporter against a Redis whose answers come in an order that a real one would need luck for.
#include "federation/exporter.hpp"

#include <gtest/gtest.h>

#include "federation/records.hpp"
#include "tests/federation/scripted_redis.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/scratch.hpp"

namespace stem::test {
namespace {

using federation::Exporter;
using federation::RedisError;
using shm::State;

class ExporterTest : public ::testing::Test {
 protected:
  ExporterTest()
      : segment(must_create(small_segment(directory))),
        producer(segment),
        gateway(segment, shm::Role::kGateway),
        queue(must_queue(*segment, "q")),
        task(must_task(*segment, "t")),
        transcript(*segment),
        clocks{base::monotonic_ns(), 1'700'000'000'000'000} {}

  ~ExporterTest() override { EXPECT_EQ(broken_invariants(*producer), ""); }

  std::unique_ptr<Exporter> make(federation::Policy policy = federation::Policy::kGlobal) {
    Exporter::Options options;
    options.queue = "q";
    options.policy = policy;
    return std::make_unique<Exporter>(*gateway, redis, keys, transcript, queue, options);
  }
  std::string enqueue(std::uint64_t number, bool keep_result = false) {
    Numbered one(queue, task, number);
    one.spec.keep_result = keep_result;
    const auto made = producer->enqueue(one.spec, clocks.now_ns);
    EXPECT_EQ(made.status, engine::EnqueueStatus::kOk);
    return federation::wire_id(transcript.host(), made.id);
  }
  void step(Exporter& exporter, std::int64_t after_ns = 1'000'000) {
    clocks.now_ns += after_ns;
    clocks.wall_now_us += after_ns / 1000;
    (void)exporter.step(clocks);
  }
  // XADD of this task waits for its answer.
  bool sends(const std::string& id) const {
    return std::any_of(redis.sent.begin(), redis.sent.end(), [&](const auto& one) {
      return one.argv[0] == "XADD" && std::find(one.argv.begin(), one.argv.end(), id) != one.argv.end();
    });
  }

  ScratchDirectory directory;
  std::shared_ptr<shm::Segment> segment;
  Attached producer, gateway;
  std::uint32_t queue, task;
  federation::Transcript transcript;
  federation::Keys keys{"stem"};
  ScriptedRedis redis;
  federation::Clocks clocks;
};

// A lost answer is looked for from where it may be, whatever was sent and confirmed meanwhile.
TEST_F(ExporterTest, AnUnfinishedReadBackBeginsWhereItBegan) {
  auto exporter = make();
  exporter->on_ready(clocks);
  (void)enqueue(1);
  step(*exporter);
  ASSERT_TRUE(redis.answer("XADD", "1700000000000-0"));
  const std::string lost = enqueue(2);
  step(*exporter);
  ASSERT_TRUE(sends(lost));
  redis.lose();
  exporter->on_lost();

  redis.ready = true;
  exporter->on_ready(clocks);
  (void)enqueue(3);
  step(*exporter);
  (void)redis.answer("XADD", "1700000009000-0");  // the third; the read-back is not answered yet
  redis.lose();
  exporter->on_lost();

  redis.ready = true;
  exporter->on_ready(clocks);
  ASSERT_GE(redis.sent.size(), 1u);
  const auto& read = redis.sent.front().argv;
  EXPECT_NE(std::find(read.begin(), read.end(), "(1700000000000-0"), read.end())
      << "the lost one is between the first and the third";
  exporter->leave();
}

// Nothing is read back before the connections of a predecessor are fenced: what it wrote may still arrive.
TEST_F(ExporterTest, ReadsBackOnlyWhenItIsTold) {
  auto exporter = make();
  exporter->on_ready(clocks);
  const std::string id = enqueue(1);
  step(*exporter);
  ASSERT_TRUE(sends(id));
  redis.lose();
  exporter->on_lost();
  redis.ready = true;
  step(*exporter);
  EXPECT_TRUE(redis.sent.empty()) << redis.sent.front().argv[0];
  exporter->on_ready(clocks);
  EXPECT_FALSE(redis.sent.empty());
  exporter->leave();
}

// What Redis has never seen must not lie in the outbox while workers here have nothing to do.
TEST_F(ExporterTest, WhatIsRefusedRunsHereWhenThereIsRoom) {
  Attached worker(segment, shm::Role::kWorker);
  worker->self().row().serves_all.store(1);
  auto exporter = make(federation::Policy::kLocalFirst);
  exporter->on_ready(clocks);
  for (std::uint64_t i = 0; i < 10; ++i) (void)enqueue(i);
  step(*exporter);
  ASSERT_EQ(redis.waiting("XADD"), 6u) << "four stay for the worker";
  while (redis.waiting("XADD") > 0) ASSERT_TRUE(redis.fail("XADD", RedisError::kOutOfMemory));
  std::uint64_t ran = 0;
  for (int turn = 0; turn < 4; ++turn) {
    engine::Lease leases[8];
    const std::uint32_t n = worker->claim(queue, leases, 8, clocks.now_ns);
    for (std::uint32_t i = 0; i < n; ++i) {
      engine::TaskView view;
      ASSERT_TRUE(worker->view(leases[i], view));
      ASSERT_EQ(worker->begin(leases[i], view, clocks.now_ns), engine::Begin::kStart);
      ASSERT_EQ(worker->succeed(leases[i], view, {}, clocks.now_ns), engine::Settled::kDone);
    }
    ran += n;
    step(*exporter);
  }
  EXPECT_EQ(ran, 10u);
  EXPECT_EQ(redis.waiting("XADD"), 0u);
  exporter->leave();
}

// While Redis refuses, or has enough to answer, the gateway sleeps.
TEST_F(ExporterTest, WantsNoTurnWhileItCanDoNothing) {
  auto exporter = make();
  EXPECT_FALSE(exporter->wants(clocks.now_ns)) << "before Redis is ready";
  exporter->on_ready(clocks);
  (void)enqueue(1);
  EXPECT_TRUE(exporter->wants(clocks.now_ns));
  step(*exporter);
  ASSERT_TRUE(redis.fail("XADD", RedisError::kOutOfMemory));
  (void)enqueue(2);
  EXPECT_FALSE(exporter->wants(clocks.now_ns)) << "refused";
  step(*exporter);
  EXPECT_FALSE(exporter->wants(clocks.now_ns)) << "for a while";
  step(*exporter, 1'000'000'000);
  EXPECT_EQ(redis.waiting("XADD"), 2u);
  step(*exporter);
  EXPECT_FALSE(exporter->wants(clocks.now_ns)) << "all is taken, whatever the marks say";
  redis.ready = false;
  (void)enqueue(3);
  EXPECT_FALSE(exporter->rings()) << "workers here are rung instead";
  redis.ready = true;
  EXPECT_TRUE(exporter->rings());
  redis.lose();
  exporter->leave();
}

}  // namespace
}  // namespace stem::test
