// The exporter against a Redis whose answers come in an order that a real one would need luck for.
#include "federation/exporter.hpp"

#include <gtest/gtest.h>

#include "engine/control.hpp"
#include "federation/ended_log.hpp"
#include "federation/records.hpp"
#include "federation/scripts.hpp"
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

  std::unique_ptr<Exporter> make(federation::Policy policy = federation::Policy::kGlobal,
                                 const std::function<void(Exporter::Options&)>& change = nullptr) {
    Exporter::Options options;
    options.queue = "q";
    options.policy = policy;
    if (change) change(options);
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
  exporter->clear_marks();
  EXPECT_FALSE(exporter->wants(clocks.now_ns)) << "all is taken";
  redis.ready = false;
  (void)enqueue(3);
  EXPECT_FALSE(exporter->rings()) << "workers here are rung instead";
  redis.ready = true;
  EXPECT_TRUE(exporter->rings());
  redis.lose();
  exporter->leave();
}

// ---- what Redis loses after it had it

Shape list(std::vector<Shape> elements) { return Shape(std::move(elements)); }

// The commands that wait for an answer and contain this text.
std::size_t waiting_with(const ScriptedRedis& redis, std::string_view text) {
  return static_cast<std::size_t>(std::count_if(redis.sent.begin(), redis.sent.end(), [&](const auto& one) {
    return std::any_of(one.argv.begin(), one.argv.end(), [&](const std::string& word) { return word == text; });
  }));
}

// Answers that came right before the connection was lost count: nothing is read back.
TEST_F(ExporterTest, WhatWasAnsweredIsNotUncertain) {
  auto exporter = make();
  exporter->on_ready(clocks);
  (void)enqueue(1);
  step(*exporter);
  ASSERT_TRUE(redis.answer("XADD", "1700000000000-5"));
  redis.lose();
  exporter->on_lost();
  EXPECT_EQ(exporter->stats().confirmed, 1u);
  EXPECT_EQ(exporter->on_their_way(), 0u);
  redis.sent.clear();
  redis.ready = true;
  exporter->on_ready(clocks);
  EXPECT_EQ(redis.waiting("EVAL"), 0u) << "nothing to look for";
}

TEST_F(ExporterTest, AnAwaitedTaskThatRedisLostIsSentAgain) {
  auto exporter = make();
  exporter->on_ready(clocks);
  const std::string id = enqueue(1, /*keep_result=*/true);
  step(*exporter);
  ASSERT_TRUE(redis.answer("XADD", "1700000000000-5"));
  step(*exporter);
  ASSERT_EQ(waiting_with(redis, std::string(federation::kResultsScript)), 1u);
  ASSERT_TRUE(redis.answer("EVAL", list({Shape::nil()}).reply()));
  step(*exporter, 10'000'000);
  ASSERT_TRUE(redis.answer("EVAL", list({Shape::nil()}).reply()));
  EXPECT_EQ(waiting_with(redis, std::string(federation::kGoneScript)), 0u) << "it has only just left";

  step(*exporter, 40'000'000'000);  // long awaited
  ASSERT_TRUE(redis.answer("EVAL", list({Shape::nil()}).reply()));
  ASSERT_EQ(waiting_with(redis, "1700000000000-5"), 1u);
  ASSERT_TRUE(redis.answer("EVAL", list({0}).reply()));  // still in its stream
  step(*exporter, 40'000'000'000);
  ASSERT_TRUE(redis.answer("EVAL", list({Shape::nil()}).reply()));
  ASSERT_TRUE(redis.answer("EVAL", list({1}).reply()));  // gone
  step(*exporter);
  ASSERT_EQ(waiting_with(redis, "(1700000000000-5"), 1u) << "somebody may have put it back behind its place";
  ASSERT_TRUE(redis.answer("EVAL", list({"", list({}), list({})}).reply()));
  ASSERT_TRUE(redis.answer("EVAL", list({"-", list({}), 0}).reply()));  // nor has it ended
  ASSERT_TRUE(redis.answer("EVAL", list({0}).reply()));                 // nor is there a result
  step(*exporter);
  EXPECT_TRUE(sends(id));
  EXPECT_EQ(exporter->stats().lost, 1u);
  redis.lose();
  exporter->leave();
}

TEST_F(ExporterTest, AnAwaitedTaskThatWasPutBackIsNotSentAgain) {
  auto exporter = make();
  exporter->on_ready(clocks);
  const std::string id = enqueue(1, /*keep_result=*/true);
  step(*exporter);
  ASSERT_TRUE(redis.answer("XADD", "1700000000000-5"));
  step(*exporter, 40'000'000'000);
  ASSERT_TRUE(redis.answer("EVAL", list({Shape::nil()}).reply()));
  ASSERT_TRUE(redis.answer("EVAL", list({1}).reply()));
  step(*exporter);
  ASSERT_TRUE(redis.answer("EVAL", list({"", list({Shape(id)}), list({Shape("1700000000050-0")})}).reply()));
  step(*exporter);
  EXPECT_FALSE(sends(id));
  EXPECT_EQ(exporter->awaited(), 1u);
  EXPECT_EQ(exporter->stats().lost, 0u);
  redis.lose();
  exporter->leave();
}

// Half a day later its result may have come and gone: it must not run once more.
TEST_F(ExporterTest, AnEndThatNobodyKeptIsAFailureAndNoSecondRun) {
  auto exporter = make();
  exporter->on_ready(clocks);
  const std::string id = enqueue(1, /*keep_result=*/true);
  step(*exporter);
  ASSERT_TRUE(redis.answer("XADD", "1700000000000-5"));
  step(*exporter, 13ll * 3600 * 1'000'000'000);
  ASSERT_TRUE(redis.answer("EVAL", list({Shape::nil()}).reply()));
  ASSERT_TRUE(redis.answer("EVAL", list({1}).reply()));
  step(*exporter);
  ASSERT_TRUE(redis.answer("EVAL", list({"", list({}), list({})}).reply()));
  ASSERT_TRUE(redis.answer("EVAL", list({"-", list({}), 0}).reply()));  // nor has it ended
  ASSERT_TRUE(redis.answer("EVAL", list({0}).reply()));                 // nor is there a result
  step(*exporter);
  EXPECT_FALSE(sends(id));
  EXPECT_EQ(exporter->awaited() + exporter->on_their_way(), 0u);
}

// The answer to its XADD was lost, and it is over: that it has ended is all that Redis knows, and enough.
TEST_F(ExporterTest, WhatEndedWhileTheAnswerWasLostIsNotSentAgain) {
  auto exporter = make();
  exporter->on_ready(clocks);
  const std::string let_go = enqueue(1), unknown = enqueue(2);
  step(*exporter);
  redis.lose();
  redis.sent.clear();
  redis.ready = true;
  exporter->on_lost();
  exporter->on_ready(clocks);
  ASSERT_TRUE(redis.answer("EVAL", list({"", list({}), list({})}).reply()));
  ASSERT_EQ(redis.first("EVAL").argv[1], federation::kEndedScript);
  ASSERT_EQ(redis.first("EVAL").argv[3], "stem:ended:q");
  // Two pages: it is among others on the last one, and something that is not ours is passed over.
  std::string others, with_it;
  for (int i = 0; i < 100; ++i) federation::append_mark(others, "other-" + std::to_string(i));
  with_it = others;
  federation::append_mark(with_it, let_go);
  ASSERT_TRUE(redis.answer("EVAL", list({"(1700000000000-2", list({others, "no mark"}), 1}).reply()));
  ASSERT_EQ(redis.first("EVAL").argv[4], "(1700000000000-2");
  ASSERT_TRUE(redis.answer("EVAL", list({"(1700000000000-3", list({with_it}), 0}).reply()));
  ASSERT_EQ(redis.first("EVAL").argv[1], federation::kHaveResultScript);
  ASSERT_TRUE(redis.answer("EVAL", list({0, 0}).reply()));
  step(*exporter);
  EXPECT_FALSE(sends(let_go));
  EXPECT_TRUE(sends(unknown));
  EXPECT_EQ(exporter->stats().recovered, 1u);
  EXPECT_EQ(exporter->stats().resent, 1u);
  redis.lose();
  exporter->leave();
}

// What is found where it was sent, and is gone before the recovery is over, is not judged by what was read before.
TEST_F(ExporterTest, WhatIsUncertainAgainHasARecoveryOfItsOwn) {
  auto exporter = make();
  exporter->on_ready(clocks);
  const std::string awaited = enqueue(1, /*keep_result=*/true), other = enqueue(2);
  step(*exporter);
  redis.lose();
  redis.sent.clear();
  redis.ready = true;
  exporter->on_lost();
  exporter->on_ready(clocks);
  ASSERT_TRUE(redis.answer("EVAL", list({"", list({awaited}), list({"1700000000000-5"})}).reply()));
  ASSERT_EQ(redis.waiting("EVAL"), 1u);
  ASSERT_EQ(redis.first("EVAL").argv[1], federation::kEndedScript) << "the other may have ended";
  step(*exporter, 40'000'000'000);
  std::rotate(redis.sent.begin(), redis.sent.begin() + 1, redis.sent.end());  // its answer is the last
  ASSERT_EQ(redis.first("EVAL").argv[1], federation::kResultsScript);
  ASSERT_TRUE(redis.answer("EVAL", list({Shape::nil()}).reply()));
  std::rotate(redis.sent.begin(), redis.sent.end() - 1, redis.sent.end());
  ASSERT_EQ(redis.first("EVAL").argv[1], federation::kGoneScript);
  ASSERT_TRUE(redis.answer("EVAL", list({1}).reply()));
  ASSERT_EQ(redis.first("EVAL").argv[1], federation::kEndedScript);
  ASSERT_TRUE(redis.answer("EVAL", list({"-", list({}), 0}).reply()));
  ASSERT_EQ(redis.first("EVAL").argv[1], federation::kHaveResultScript);
  EXPECT_EQ(redis.first("EVAL").argv[2], "1") << "of the other alone";
  EXPECT_EQ(redis.first("EVAL").argv[3], keys.result("q", other));
  redis.lose();
  exporter->leave();
}

// A recovery that the server refuses begins again after a while, not with each turn; and while it lasts, and there is
// no room beside it, nobody here is told to wait for us.
TEST_F(ExporterTest, ARecoveryThatIsRefusedIsNeitherHurriedNorWaitedFor) {
  auto exporter = make(federation::Policy::kGlobal, [](Exporter::Options& options) {
    options.window = 1;
    options.unique_keys = federation::UniqueKeys::kFailOpen;
  });
  exporter->on_ready(clocks);
  (void)enqueue(1);
  step(*exporter);
  const auto shared_until_ns = [&] {
    return shm::KeysShared::unpack(segment->queue(queue).keys_shared.load()).until_ns;
  };
  EXPECT_GT(shared_until_ns(), clocks.now_ns);
  redis.lose();
  redis.sent.clear();
  redis.ready = true;
  exporter->on_lost();
  exporter->on_ready(clocks);
  ASSERT_TRUE(redis.fail("EVAL", RedisError::kOther));
  step(*exporter);
  EXPECT_EQ(redis.waiting("EVAL"), 0u);
  step(*exporter, 250'000'000);
  ASSERT_EQ(redis.waiting("EVAL"), 1u);
  for (int i = 0; i < 40; ++i) step(*exporter, 100'000'000);
  EXPECT_LT(shared_until_ns(), clocks.now_ns);
  redis.lose();
  exporter->leave();
}

// Who found nothing a moment ago looks again soon, and does not sleep until somebody rings.
TEST_F(ExporterTest, WhatComesAfterAVainLookIsLookedForSoon) {
  auto exporter = make();
  exporter->on_ready(clocks);
  Numbered gone(queue, task, 1);
  const auto made = producer->enqueue(gone.spec, clocks.now_ns);
  (void)engine::Control(*producer).revoke(made.id, /*terminate=*/false, clocks.now_ns);
  step(*exporter);  // finds its hint, and no task
  (void)enqueue(2);
  exporter->clear_marks();
  EXPECT_FALSE(exporter->wants(clocks.now_ns));
  EXPECT_LE(exporter->wants_at_ns(clocks.now_ns), clocks.now_ns + 2'000'000);
  exporter->leave();
}

// Whoever looked in vain and then goes to sleep is not rung for what came in between.
TEST_F(ExporterTest, WhatComesBetweenTheLastLookAndTheSleepIsSeen) {
  auto exporter = make();
  exporter->on_ready(clocks);
  step(*exporter);
  exporter->clear_marks();
  EXPECT_FALSE(exporter->wants(clocks.now_ns));
  enqueue(1);
  EXPECT_TRUE(exporter->wants(clocks.now_ns));
  step(*exporter);
  exporter->clear_marks();
  EXPECT_FALSE(exporter->wants(clocks.now_ns)) << "it is on its way";
  redis.lose();
  exporter->leave();
}

// A fail-over to a replica that was behind: what was let go is counted, the new end of the stream is the end.
TEST_F(ExporterTest, EntriesThatRedisTookBackAreCounted) {
  auto exporter = make();
  exporter->on_ready(clocks);
  for (std::uint64_t i = 0; i < 3; ++i) (void)enqueue(i);
  step(*exporter);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(redis.answer("XADD", "170000000000" + std::to_string(i) + "-0"));
  redis.lose();
  exporter->on_lost();
  redis.ready = true;
  exporter->on_ready(clocks);
  ASSERT_TRUE(redis.answer("XINFO", list({"length", 1, "last-generated-id", "1700000000000-0"}).reply()));
  EXPECT_EQ(exporter->stats().let_go, 2u);
  const std::string lost = enqueue(4);
  step(*exporter);
  ASSERT_TRUE(sends(lost));
  redis.lose();
  exporter->on_lost();
  redis.ready = true;
  exporter->on_ready(clocks);
  EXPECT_EQ(waiting_with(redis, "(1700000000000-0"), 1u) << "the lost one is behind the new end";
  exporter->leave();
}

TEST_F(ExporterTest, HeldUntilDoneATaskIsLetGoWithItsEnd) {
  auto exporter = make(federation::Policy::kGlobal, [](auto& options) { options.hold = federation::Hold::kUntilDone; });
  exporter->on_ready(clocks);
  (void)enqueue(1);
  step(*exporter);
  ASSERT_TRUE(redis.answer("XADD", "1700000000000-5"));
  step(*exporter);
  EXPECT_EQ(exporter->awaited(), 1u);
  ASSERT_TRUE(redis.answer("EVAL", list({R"({"id":"x","state":"succeeded"})"}).reply()));
  EXPECT_EQ(exporter->awaited(), 0u);
  EXPECT_EQ(gateway->lanes().queued(queue), 0u);
}

TEST_F(ExporterTest, ATaskStaysUntilEnoughReplicasHaveIt) {
  auto exporter = make(federation::Policy::kGlobal, [](auto& options) { options.replicas = 2; });
  exporter->on_ready(clocks);
  (void)enqueue(1);
  step(*exporter);
  ASSERT_TRUE(redis.answer("XADD", "1700000000000-5"));
  ASSERT_TRUE(redis.answer("WAIT", 1));
  EXPECT_EQ(exporter->on_their_way(), 1u) << "one is not two";
  step(*exporter);
  ASSERT_EQ(redis.waiting("XADD"), 0u) << "it is not sent twice";
  ASSERT_TRUE(redis.answer("WAIT", 2));
  EXPECT_EQ(exporter->on_their_way(), 0u);
  EXPECT_EQ(exporter->stats().confirmed, 1u);
}

// WAIT counts what its connection wrote; after a new one that is nothing.
TEST_F(ExporterTest, WhatIsFoundWrittenIsWaitedForBehindAWriteOfItsConnection) {
  auto exporter = make(federation::Policy::kGlobal, [](auto& options) { options.replicas = 1; });
  exporter->on_ready(clocks);
  const std::string id = enqueue(1);
  step(*exporter);
  ASSERT_TRUE(redis.answer("XADD", "1700000000000-5"));
  redis.lose();  // the WAIT
  exporter->on_lost();
  redis.ready = true;
  exporter->on_ready(clocks);
  EXPECT_EQ(redis.first("EVAL").argv.back(), "(1700000000000-4") << "it is read back from where it is";
  ASSERT_TRUE(redis.answer("EVAL", list({"", list({Shape(id)}), list({Shape("1700000000000-5")})}).reply()));
  EXPECT_EQ(exporter->on_their_way(), 1u);
  step(*exporter);
  ASSERT_GE(redis.sent.size(), 2u);
  EXPECT_EQ(redis.sent[redis.sent.size() - 2].argv[0], "SET");
  EXPECT_EQ(redis.sent.back().argv[0], "WAIT");
  ASSERT_TRUE(redis.answer("WAIT", 1));
  EXPECT_EQ(exporter->on_their_way(), 0u);
}

}  // namespace
}  // namespace stem::test
