// The importer against a Redis whose answers are the test's: shapes, errors and orders that a real one would need luck
// or a long time for.
#include "federation/importer.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/control.hpp"
#include "engine/dead_letters.hpp"
#include "engine/query.hpp"
#include "federation/revokes.hpp"
#include "federation/scripts.hpp"
#include "tests/federation/scripted_redis.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/scratch.hpp"

namespace stem::test {
namespace {

using federation::Importer;
using federation::RedisError;
using shm::State;

using Fields = std::vector<Shape>;

class ImporterTest : public ::testing::Test {
 protected:
  ImporterTest()
      : segment(must_create(small_segment(directory))),
        worker(segment, shm::Role::kWorker),
        gateway(segment, shm::Role::kGateway),
        queue(must_queue(*segment, "q")),
        clocks{base::monotonic_ns(), 1'700'000'000'000'000} {
    worker->self().row().serves_all.store(1);
    Importer::Options options;
    options.queue = "q";
    options.consumer = "us";
    options.prefetch_multiplier = 64;
    importer = std::make_unique<Importer>(*gateway, redis, reader, keys, queue, options);
  }
  ~ImporterTest() override { EXPECT_EQ(broken_invariants(*worker), ""); }

  // Groups are there, nothing is pending, and it reads.
  void begin() {
    importer->on_ready(clocks);
    importer->on_reader_ready(clocks);
    for (int lane = 0; lane < federation::kLanes; ++lane) ASSERT_TRUE(redis.answer("XGROUP", "OK"));
    step();
    for (int lane = 0; lane < federation::kLanes; ++lane) ASSERT_TRUE(reader.answer_empty("XPENDING"));
    step();
    ASSERT_EQ(reader.waiting("XREADGROUP"), 1u);
  }
  void step(std::int64_t after_ns = 1'000'000) {
    clocks.now_ns += after_ns;
    clocks.wall_now_us += after_ns / 1000;
    (void)importer->step(clocks);
  }
  // The connection is lost, and the next one is there, on which nobody before us is fenced yet.
  void cut() {
    redis.lose();
    importer->on_lost();
    redis.ready = true;
  }
  // Now they are. Whether what is pending is looked at again.
  bool fence_and_look() {
    importer->on_ready(clocks);
    while (redis.waiting("XGROUP") > 0) (void)redis.answer("XGROUP", "OK");
    step();
    return reader.waiting("XPENDING") == federation::kLanes;
  }
  // An entry of lane 0 comes once more, when it was told nobody how it ended.
  void find_again(const std::string& entry, const Shape& read) {
    ASSERT_TRUE(redis.sent.empty()) << redis.sent.front().argv[0];
    step();
    ASSERT_TRUE(redis.sent.empty()) << redis.sent.front().argv[0];
    ASSERT_TRUE(reader.sent.empty()) << "it reads between two connections";
    ASSERT_TRUE(fence_and_look());
    for (int lane = federation::kLanes - 1; lane > 0; --lane) ASSERT_TRUE(reader.answer_empty("XPENDING"));
    Shape page(std::vector<Shape>{std::vector<Shape>{entry, "us", 5, 1}});
    ASSERT_TRUE(reader.answer("XPENDING", page.reply()));
    ASSERT_TRUE(reader.answer("EVAL", ""));  // it is not too large
    ASSERT_TRUE(give(read));
  }
  bool give(const Shape& entry, int lane = 0) {
    Shape shape(std::vector<Shape>{std::vector<Shape>{keys.stream("q", lane), std::vector<Shape>{entry}}});
    return reader.answer("XREADGROUP", shape.reply());
  }
  // How often a script is under way.
  int scripts(std::string_view script) const {
    return static_cast<int>(std::count_if(redis.sent.begin(), redis.sent.end(),
                                          [script](const auto& sent) { return names(sent, script); }));
  }
  // What a read or a page of pending entries answers with.
  bool give(const std::string& entry, const Fields& fields, int lane = 0) {
    return give(entry_of(entry, fields), lane);
  }
  static Shape entry_of(const std::string& entry, const Fields& fields) {
    return std::vector<Shape>{entry, std::vector<Shape>(fields)};
  }
  static Fields task(const std::string& id) { return {"id", id, "name", "t", "args", "{}"}; }
  // The worker runs whatever there is; returns how many.
  int run_all(bool fail = false) {
    int n = 0;
    engine::Lease lease;
    engine::TaskView view;
    while (worker->claim(queue, &lease, 1, clocks.now_ns) == 1) {
      EXPECT_TRUE(worker->view(lease, view));
      if (worker->begin(lease, view, clocks.now_ns) != engine::Begin::kStart) continue;
      ++n;
      if (fail)
        (void)worker->bury(lease, view, engine::DeadReason::kPermanentFailure, {"broken", "for good"}, clocks.now_ns);
      else
        (void)worker->succeed(lease, view, {}, clocks.now_ns);
    }
    return n;
  }
  static bool names(const ScriptedRedis::Sent& sent, std::string_view word) {
    return std::find(sent.argv.begin(), sent.argv.end(), word) != sent.argv.end();
  }
  bool asks(const ScriptedRedis& connection, std::string_view word) const {
    return std::any_of(connection.sent.begin(), connection.sent.end(),
                       [word](const auto& sent) { return names(sent, word); });
  }

  ScratchDirectory directory;
  std::shared_ptr<shm::Segment> segment;
  Attached worker, gateway;
  std::uint32_t queue;
  federation::Keys keys{"stem"};
  ScriptedRedis redis, reader;
  federation::Clocks clocks;
  std::unique_ptr<Importer> importer;
};

// Between entries of one read nothing else can be: they leave their stream as its beginning. With a gap it can.
TEST_F(ImporterTest, EndsOfOneReadAreToldAsOnePiece) {
  begin();
  const auto read = [this](int from, int to) {
    std::vector<Shape> entries;
    for (int i = from; i < to; ++i) entries.push_back(entry_of(fmt::format("{}-0", i), task(fmt::format("t{}", i))));
    Shape shape(std::vector<Shape>{std::vector<Shape>{keys.stream("q", 0), entries}});
    return reader.answer("XREADGROUP", shape.reply());
  };
  // For each end that is told: the id behind its entries, how many they are, and they.
  const auto told = [this] {
    std::vector<std::string> all;
    step();
    for (const auto& sent : redis.sent) {
      if (!names(sent, federation::kSettleManyScript)) continue;
      const auto behind = std::find(sent.argv.begin(), sent.argv.end(), keys.group("q")) + 3;
      all.push_back(fmt::format("{}", fmt::join(behind, behind + 2 + std::stol(behind[1]), " ")));
    }
    while (redis.waiting("EVAL") > 0) EXPECT_TRUE(redis.answer("EVAL", 1));
    return all;
  };
  using Told = std::vector<std::string>;
  ASSERT_TRUE(read(1, 10));
  EXPECT_EQ(run_all(), 9);
  EXPECT_EQ(told(), Told({"9-1 9 1-0 2-0 3-0 4-0 5-0 6-0 7-0 8-0 9-0"}));
  ASSERT_TRUE(read(11, 14));
  step();
  ASSERT_TRUE(read(15, 18));
  EXPECT_EQ(run_all(), 6);
  EXPECT_EQ(told(), Told({" 6 11-0 12-0 13-0 15-0 16-0 17-0"})) << "another host may have read between them";
  ASSERT_TRUE(read(21, 30));
  step();
  ASSERT_TRUE(read(31, 34));
  EXPECT_EQ(run_all(), 12);
  EXPECT_EQ(told(), Told({"29-1 9 21-0 22-0 23-0 24-0 25-0 26-0 27-0 28-0 29-0", " 3 31-0 32-0 33-0"}));
}

// A task that ends out of its turn is told by itself; those behind it leave as one piece all the same.
TEST_F(ImporterTest, AStragglerDoesNotKeepARunFromLeavingAsOne) {
  begin();
  std::vector<Shape> first, second;
  first.push_back(entry_of("1-0", task("t1")));
  for (int i = 3; i < 8; ++i) second.push_back(entry_of(fmt::format("{}-0", i), task(fmt::format("t{}", i))));
  for (const auto* entries : {&first, &second}) {
    Shape shape(std::vector<Shape>{std::vector<Shape>{keys.stream("q", 0), *entries}});
    ASSERT_TRUE(reader.answer("XREADGROUP", shape.reply()));
    step();
  }
  EXPECT_EQ(run_all(), 6);
  step();
  std::vector<std::string> behind;
  for (const auto& sent : redis.sent)
    if (names(sent, federation::kSettleManyScript))
      behind.push_back(*(std::find(sent.argv.begin(), sent.argv.end(), keys.group("q")) + 3));
  EXPECT_EQ(behind, std::vector<std::string>({"", "7-1"}));
}

// A new connection is there before those of a killed gateway are gone: nothing is told on it until they are.
TEST_F(ImporterTest, NothingIsToldBetweenTwoConnections) {
  begin();
  ASSERT_TRUE(give("1-0", task("a")));
  step();
  redis.lose();
  importer->on_lost();
  redis.sent.clear();
  redis.ready = true;
  EXPECT_EQ(run_all(), 1);
  step();
  EXPECT_TRUE(redis.sent.empty()) << redis.sent.front().argv[0];
  importer->on_ready(clocks);
  step();
  EXPECT_TRUE(asks(redis, federation::kRenewScript)) << "whether it still is ours";
}

// What is no task is told to be none once, after the fence.
TEST_F(ImporterTest, ARefusalWaitsForTheFence) {
  begin();
  cut();
  const Shape unreadable = entry_of("1-0", {"name", "t"});
  ASSERT_TRUE(give(unreadable));
  find_again("1-0", unreadable);
  EXPECT_EQ(scripts(federation::kSettleScript), 1);
  EXPECT_EQ(importer->stats().invalid, 1u) << "counted when it is told";
  EXPECT_EQ(importer->stats().dead, 1u);
}

// Told, and its answer lost: Redis says whether it was carried out.
TEST_F(ImporterTest, ARefusalThatWasLostIsFoundAgain) {
  begin();
  const Shape unreadable = entry_of("1-0", {"name", "t"});
  ASSERT_TRUE(give(unreadable));
  EXPECT_EQ(scripts(federation::kSettleScript), 1);
  step();
  cut();
  ASSERT_TRUE(reader.answer_nothing("XREADGROUP"));
  find_again("1-0", unreadable);
  EXPECT_EQ(scripts(federation::kSettleScript), 1);
}

TEST_F(ImporterTest, ADeletedEntryIsDroppedAfterTheFence) {
  begin();
  cut();
  const Shape deleted = std::vector<Shape>{"1-0", Shape::nil()};
  ASSERT_TRUE(give(deleted));
  find_again("1-0", deleted);
  EXPECT_EQ(redis.waiting("XACK"), 1u);
  EXPECT_EQ(redis.waiting("XDEL"), 1u);
}

TEST_F(ImporterTest, WhichOfTwoEntriesCountsIsAskedAfterTheFence) {
  begin();
  ASSERT_TRUE(give("1-0", task("a")));
  step();
  cut();
  ASSERT_TRUE(give("2-0", task("a")));
  find_again("2-0", entry_of("2-0", task("a")));
  ASSERT_EQ(scripts(federation::kDropSecondScript), 1);
  while (!names(redis.first("EVAL"), federation::kDropSecondScript)) ASSERT_TRUE(redis.answer("EVAL", 1));
  ASSERT_TRUE(redis.answer("EVAL", 1));
  EXPECT_EQ(importer->stats().duplicates, 1u);
  EXPECT_EQ(run_all(), 1);
}

// Revokes are asked for on a connection of their own in a cluster of Redis: their answer comes when this one is not fenced.
TEST_F(ImporterTest, ARevokedTaskEndsAfterTheFence) {
  ScriptedRedis others;
  federation::RevokeDesk desk(others, keys);
  importer->on_revokes(&desk);
  begin();
  ASSERT_TRUE(give("1-0", task("a")));
  step();
  cut();
  ASSERT_TRUE(reader.answer_nothing("XREADGROUP"));
  Shape revoked(std::vector<Shape>{R"({"taskId":"a"})"});
  ASSERT_TRUE(others.answer("HMGET", revoked.reply()));
  find_again("1-0", entry_of("1-0", task("a")));
  ASSERT_TRUE(others.answer("HMGET", revoked.reply()));
  EXPECT_EQ(scripts(federation::kSettleScript), 1);
  EXPECT_EQ(run_all(), 0);
}

// Nor is it asked between two connections whether something is revoked: nothing could be done about it.
TEST_F(ImporterTest, WhetherATaskIsRevokedIsAskedAfterTheFence) {
  ScriptedRedis others;
  federation::RevokeDesk desk(others, keys);
  importer->on_revokes(&desk);
  begin();
  cut();
  ASSERT_TRUE(give("1-0", task("a")));
  EXPECT_TRUE(others.sent.empty());
  find_again("1-0", entry_of("1-0", task("a")));
  Shape not_revoked(std::vector<Shape>{Shape::nil()});
  ASSERT_TRUE(others.answer("HMGET", not_revoked.reply()));
  step();
  EXPECT_EQ(run_all(), 1);
}

// What was read already is a task here whatever the other connection does, and is not delivered once more.
TEST_F(ImporterTest, ATaskThatComesBetweenTwoConnectionsRuns) {
  begin();
  cut();
  ASSERT_TRUE(give("1-0", task("a")));
  EXPECT_EQ(run_all(), 1);
  step();
  EXPECT_TRUE(redis.sent.empty()) << redis.sent.front().argv[0];
  EXPECT_TRUE(reader.sent.empty()) << "it reads between two connections";
  EXPECT_FALSE(fence_and_look());
  EXPECT_EQ(reader.waiting("XREADGROUP"), 1u);
}

// Killed between two commands, its key would be free and the task another's to take over.
TEST_F(ImporterTest, AUniqueKeyIsFreedInTheStepThatEndsItsTask) {
  begin();
  Fields unique = task("some");
  unique.insert(unique.end(), {"meta", R"({"stem.uniqueKey":"00000000000000aa"})"});
  ASSERT_TRUE(give("1-0", unique));
  EXPECT_EQ(run_all(), 1);
  step();
  std::vector<const ScriptedRedis::Sent*> with_key;
  for (const auto& sent : redis.sent)
    if (names(sent, keys.unique("q", "00000000000000aa"))) with_key.push_back(&sent);
  ASSERT_EQ(with_key.size(), 1u);
  EXPECT_TRUE(names(*with_key[0], federation::kSettleScript));
  EXPECT_TRUE(names(*with_key[0], "1-0"));
}

TEST_F(ImporterTest, TimesBeyondAllTimeAreStillTimes) {
  begin();
  Fields never = task("expires-late");
  never.insert(never.end(), {"meta", R"({"stem.expiresAt":"9999-12-31T23:59:59Z"})"});
  ASSERT_TRUE(give("1-0", never));
  EXPECT_EQ(run_all(), 1) << "it does not expire for a long time";
  step();
  Fields late = task("late");
  late.insert(late.end(), {"notBefore", "9999-12-31T23:59:59Z"});
  ASSERT_TRUE(give("2-0", late));
  EXPECT_EQ(run_all(), 0) << "it is not due for a long time";
  EXPECT_EQ(slots_in(*segment, State::kDelayed), 1u);
}

TEST_F(ImporterTest, AHugeVisibilityTimeoutIsALongOne) {
  begin();
  Fields huge = task("huge");
  huge.insert(huge.end(), {"visibilityTimeout", "9223372036854775807", "attempt", "9223372036854775807"});
  ASSERT_TRUE(give("1-0", huge));
  step(60'000'000'000);  // a minute is nothing of it
  EXPECT_FALSE(asks(redis, federation::kRenewManyScript)) << "renewed after a third";
  EXPECT_FALSE(asks(redis, federation::kRenewScript)) << "not overdue";
  EXPECT_EQ(run_all(), 1);
}

TEST_F(ImporterTest, AttemptsOfOtherHostsCountOnce) {
  begin();
  Fields tried = task("tried");
  tried.insert(tried.end(), {"attempt", "2"});
  ASSERT_TRUE(give("1-0", tried));
  EXPECT_EQ(run_all(/*fail=*/true), 1);
  step();
  Shape range(std::vector<Shape>{entry_of("1-0", tried)});
  ASSERT_TRUE(redis.answer("XRANGE", range.reply()));
  ASSERT_TRUE(asks(redis, federation::kSettleScript));
  const auto settle = std::find_if(redis.sent.begin(), redis.sent.end(),
                                   [](const auto& sent) { return names(sent, federation::kSettleScript); });
  EXPECT_NE(settle->argv[9].find("\"attempt\":3"), std::string::npos) << settle->argv[9];
  EXPECT_NE(settle->argv[12].find("\"attempt\":3"), std::string::npos) << settle->argv[12];
}

// Whatever Redis refuses is asked again after a while, not with every turn.
TEST_F(ImporterTest, ARefusalIsNotAskedAgainAtOnce) {
  importer->on_ready(clocks);
  importer->on_reader_ready(clocks);
  for (int lane = 0; lane < federation::kLanes; ++lane) ASSERT_TRUE(redis.fail("XGROUP", RedisError::kMisconfigured));
  step();
  step();
  EXPECT_EQ(redis.waiting("XGROUP"), 0u);
  step(2'000'000'000);
  EXPECT_EQ(redis.waiting("XGROUP"), 10u) << "but then";
  while (redis.waiting("XGROUP") > 0) ASSERT_TRUE(redis.answer("XGROUP", "OK"));
  step();
  while (reader.waiting("XPENDING") > 0) ASSERT_TRUE(reader.answer_empty("XPENDING"));
  step();
  ASSERT_TRUE(reader.fail("XREADGROUP", RedisError::kMisconfigured));
  step();
  EXPECT_EQ(reader.waiting("XREADGROUP"), 0u);
  step(2'000'000'000);
  ASSERT_TRUE(give("1-0", task("a")));
  EXPECT_EQ(run_all(), 1);
  redis.sent.clear();
  step();
  ASSERT_EQ(redis.waiting("EVAL"), 1u);
  ASSERT_TRUE(redis.fail("EVAL", RedisError::kOutOfMemory));
  step();
  EXPECT_EQ(redis.waiting("EVAL"), 0u);
  step(300'000'000);
  EXPECT_TRUE(asks(redis, federation::kSettleManyScript));
}

// What an earlier gateway imported is given up only when every lane said what is ours.
TEST_F(ImporterTest, ALaneThatCannotBeReadGivesNothingUp) {
  {
    engine::Outbox outbox(*gateway);
    engine::TaskSpec spec;
    engine::TaskExtras extras;
    const std::string origin = Importer::origin("q", 3, "1-0", "a");
    extras.origin = origin;
    spec.queue = queue;
    spec.task = must_task(*segment, "t");
    spec.extras = &extras;
    const auto made = outbox.import(spec, clocks.now_ns);
    ASSERT_EQ(made.status, engine::EnqueueStatus::kOk);
    importer->adopt(made.id, extras);
  }
  importer->on_ready(clocks);
  importer->on_reader_ready(clocks);
  for (int lane = 0; lane < federation::kLanes; ++lane) ASSERT_TRUE(redis.answer("XGROUP", "OK"));
  step();
  for (int lane = federation::kLanes - 1; lane >= 0; --lane) {
    if (lane == 3)
      ASSERT_TRUE(reader.fail("XPENDING", RedisError::kNoGroup));
    else
      ASSERT_TRUE(reader.answer_empty("XPENDING"));
  }
  step();
  EXPECT_EQ(importer->stats().fenced, 0u);
  EXPECT_EQ(run_all(), 1);
}

// What an earlier gateway imported has the lease that it asked for, not that of the others.
TEST_F(ImporterTest, AnAdoptedTaskIsRenewedInItsOwnTime) {
  engine::TaskExtras extras;
  const std::string origin = Importer::origin("q", 0, "1-0", "a");
  extras.origin = origin;
  extras.visibility_ns = 1'000'000'000;
  engine::TaskSpec spec;
  spec.queue = queue;
  spec.task = must_task(*segment, "t");
  spec.extras = &extras;
  const auto made = engine::Outbox(*gateway).import(spec, clocks.now_ns);
  ASSERT_EQ(made.status, engine::EnqueueStatus::kOk);
  importer->adopt(made.id, extras);
  importer->on_ready(clocks);
  importer->on_reader_ready(clocks);
  for (int lane = 0; lane < federation::kLanes; ++lane) ASSERT_TRUE(redis.answer("XGROUP", "OK"));
  step();
  Shape pending(std::vector<Shape>{std::vector<Shape>{"1-0", "us", 100, 1}});
  for (int lane = federation::kLanes - 1; lane > 0; --lane) ASSERT_TRUE(reader.answer_empty("XPENDING"));
  ASSERT_TRUE(reader.answer("XPENDING", pending.reply()));
  step();
  while (!names(redis.first("EVAL"), federation::kRenewScript)) ASSERT_TRUE(redis.answer_nothing("EVAL"));
  ASSERT_TRUE(redis.answer("EVAL", 1));
  step(950'000'000);
  EXPECT_EQ(run_all(), 1);
  redis.sent.clear();
  step();
  EXPECT_TRUE(asks(redis, federation::kSettleScript)) << "after nine tenths of its own time it asks";
  EXPECT_FALSE(asks(redis, federation::kSettleManyScript));
}

// A page of pending entries was on its way when Redis heard how one of them ended.
TEST_F(ImporterTest, WhatWasToldMeanwhileIsNotRunAgain) {
  begin();
  ASSERT_TRUE(give("1-0", task("a")));
  ASSERT_EQ(run_all(), 1);
  reader.lose();
  reader.ready = true;
  importer->on_reader_ready(clocks);
  step();
  ASSERT_EQ(reader.waiting("XPENDING"), 10u);
  while (!asks(redis, federation::kSettleManyScript)) redis.sent.pop_front();
  ASSERT_TRUE(redis.answer("EVAL", 1));
  for (int lane = federation::kLanes - 1; lane > 0; --lane) ASSERT_TRUE(reader.answer_empty("XPENDING"));
  Shape page(std::vector<Shape>{std::vector<Shape>{"1-0", "us", 5, 1}});
  ASSERT_TRUE(reader.answer("XPENDING", page.reply()));
  step();
  EXPECT_FALSE(asks(reader, federation::kLookScript)) << "it is over, whatever that page says";
  EXPECT_EQ(run_all(), 0);
}

// The segment was full for longer than the lease: it may be another host's by now.
TEST_F(ImporterTest, WhatWaitedTooLongForRoomIsNotRunUnasked) {
  begin();
  std::vector<engine::TaskId> filler;
  for (;;) {
    engine::TaskSpec spec;
    spec.queue = must_queue(*segment, "other");
    spec.task = must_task(*segment, "t");
    const auto made = worker->enqueue(spec, clocks.now_ns);
    if (made.status != engine::EnqueueStatus::kOk) break;
    filler.push_back(made.id);
  }
  Fields brief = task("a");
  brief.insert(brief.end(), {"visibilityTimeout", "1000"});
  ASSERT_TRUE(give("1-0", brief));
  step();
  EXPECT_EQ(importer->here(), 0u);
  step(2'000'000'000);
  for (const engine::TaskId id : filler) (void)engine::Control(*worker).revoke(id, false, clocks.now_ns);
  step();
  EXPECT_EQ(run_all(), 0);
}

// Hours of other hosts' work at the front of a lane do not hide what a lost host held behind it.
TEST_F(ImporterTest, ALostHostsTaskIsFoundBehindLongOnes) {
  begin();
  std::vector<Shape> busy;
  for (int i = 0; i < 100; ++i)
    busy.push_back(std::vector<Shape>{std::to_string(i + 1) + "-0", "another host", 5'000, 1});
  step(3'000'000'000);
  ASSERT_EQ(redis.waiting("XPENDING"), 10u);
  Shape page(busy);
  ASSERT_TRUE(redis.answer("XPENDING", page.reply()));
  EXPECT_TRUE(asks(redis, "(100-0"));
}

// The reply that gave it to us was lost on the other connection: nobody else would look for it.
TEST_F(ImporterTest, WhatIsOursWithoutOurKnowingComesBack) {
  begin();
  step(3'000'000'000);
  Shape page(std::vector<Shape>{std::vector<Shape>{"7-0", "us", 40'000, 1}});
  ASSERT_TRUE(redis.answer("XPENDING", page.reply()));
  ASSERT_TRUE(asks(redis, federation::kLookScript));
  while (!names(redis.sent.front(), federation::kLookScript)) redis.sent.pop_front();
  Shape range(std::vector<Shape>{entry_of("7-0", task("a"))});
  ASSERT_TRUE(redis.answer("EVAL", ""));
  ASSERT_EQ(redis.waiting("XCLAIM"), 1u);
  ASSERT_TRUE(redis.answer("XCLAIM", range.reply()));
  EXPECT_EQ(run_all(), 1);
}

// Nobody reads it: a reply with it would end the connection, each time.
TEST_F(ImporterTest, WhatIsTooLargeIsRefusedUnread) {
  importer->on_ready(clocks);
  importer->on_reader_ready(clocks);
  while (redis.waiting("XGROUP") > 0) ASSERT_TRUE(redis.answer("XGROUP", "OK"));
  step();
  for (int lane = federation::kLanes - 1; lane > 0; --lane) ASSERT_TRUE(reader.answer_empty("XPENDING"));
  Shape page(std::vector<Shape>{std::vector<Shape>{"7-0", "us", 5, 1}});
  ASSERT_TRUE(reader.answer("XPENDING", page.reply()));
  Shape large(std::vector<Shape>{70'000'000, "a"});
  ASSERT_TRUE(reader.answer("EVAL", large.reply()));
  ASSERT_EQ(scripts(federation::kSettleScript), 1);
  EXPECT_TRUE(asks(redis, keys.result("q", "a"))) << "whoever waits for it hears of it";
  EXPECT_EQ(reader.waiting("XREADGROUP"), 0u);
  step();
  EXPECT_EQ(reader.waiting("XREADGROUP"), 1u) << "and goes on";
  EXPECT_FALSE(asks(reader, "6-18446744073709551615")) << "with what is new";
}

TEST_F(ImporterTest, WhatIsTooLargeIsTakenOverUnread) {
  begin();
  step(3'000'000'000);
  Shape page(std::vector<Shape>{std::vector<Shape>{"7-0", "another host", 40'000, 1}});
  ASSERT_TRUE(redis.answer("XPENDING", page.reply()));
  while (!names(redis.sent.front(), federation::kLookScript)) redis.sent.pop_front();
  Shape large(std::vector<Shape>{70'000'000, ""});
  ASSERT_TRUE(redis.answer("EVAL", large.reply()));
  ASSERT_EQ(redis.waiting("XCLAIM"), 1u);
  EXPECT_TRUE(names(redis.first("XCLAIM"), "JUSTID"));
  Shape ours(std::vector<Shape>{"7-0"});
  ASSERT_TRUE(redis.answer("XCLAIM", ours.reply()));
  EXPECT_EQ(scripts(federation::kSettleScript), 1);
  EXPECT_EQ(importer->stats().reclaimed, 1u);
  EXPECT_EQ(importer->stats().invalid, 1u);
}

// It is another host's, and the worker that was asked to stop died with it: it does not run here once more.
TEST_F(ImporterTest, AFencedTaskDoesNotComeBackWithItsWorkersDeath) {
  begin();
  ASSERT_TRUE(give("1-0", task("a")));
  engine::Lease lease;
  ASSERT_EQ(worker->claim(queue, &lease, 1, clocks.now_ns), 1u);
  step(60'000'000'000);
  ASSERT_TRUE(asks(redis, federation::kRenewScript));
  while (!asks(redis, federation::kRenewScript) || redis.sent.front().argv[1] != federation::kRenewScript)
    redis.sent.pop_front();
  ASSERT_TRUE(redis.answer("EVAL", 0));
  EXPECT_EQ(importer->stats().fenced, 1u);
  ASSERT_EQ(worker->release(lease, clocks.now_ns), engine::Settled::kDone);
  step();
  EXPECT_EQ(run_all(), 0);
}

// It was put back into its lane, and comes to us again before we have heard that it was.
TEST_F(ImporterTest, WhatWasPutBackIsNoDuplicate) {
  begin();
  ASSERT_TRUE(give("1-0", task("a")));
  step();
  ASSERT_TRUE(give("2-0", task("a")));
  step();
  EXPECT_FALSE(asks(redis, "XACK")) << "it may be the only one there is";
  while (!names(redis.sent.front(), federation::kDropSecondScript)) redis.sent.pop_front();
  ASSERT_TRUE(redis.answer("EVAL", 0));
  step();
  step();
  EXPECT_EQ(importer->stats().duplicates, 0u);
  EXPECT_EQ(importer->here(), 1u);
  EXPECT_EQ(run_all(), 1) << "the second one; the first was revoked";
}

// The first one ended while Redis was asked: the command that tells its end knows it.
TEST_F(ImporterTest, AnEndOnItsWayOutlivesTheSecondEntry) {
  begin();
  ASSERT_TRUE(give("1-0", task("a")));
  step();
  ASSERT_TRUE(give("2-0", task("a")));
  EXPECT_EQ(run_all(), 1);
  step();
  while (!names(redis.sent.front(), federation::kDropSecondScript)) redis.sent.pop_front();
  ASSERT_TRUE(asks(redis, federation::kSettleManyScript));
  ASSERT_TRUE(redis.answer("EVAL", 0));
  EXPECT_EQ(importer->here(), 1u);
  EXPECT_EQ(importer->stats().fenced, 0u);
  while (!names(redis.sent.front(), federation::kSettleManyScript)) redis.sent.pop_front();
  ASSERT_TRUE(redis.answer("EVAL", 1));
  EXPECT_EQ(importer->stats().settled, 1u);
  step();
  EXPECT_EQ(importer->here(), 1u) << "the second one";
}

TEST_F(ImporterTest, WhatWasSentTwiceRunsOnce) {
  begin();
  ASSERT_TRUE(give("1-0", task("a")));
  step();
  ASSERT_TRUE(give("2-0", task("a")));
  step();
  while (!names(redis.sent.front(), federation::kDropSecondScript)) redis.sent.pop_front();
  ASSERT_TRUE(redis.answer("EVAL", 1));
  step();
  EXPECT_EQ(importer->stats().duplicates, 1u);
  EXPECT_EQ(run_all(), 1);
}

}  // namespace
}  // namespace stem::test
