// Beat across hosts: beat processes with segments of their own over one real Redis, killed, stopped and cut off, with a
// ledger of every tick.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <random>

#include "base/clock.hpp"
#include "beat/scheduler.hpp"
#include "federation/beat_scripts.hpp"
#include "federation/redis_lock.hpp"
#include "federation/shared_board.hpp"
#include "tests/federation/connected.hpp"
#include "tests/federation/hosts.hpp"
#include "tests/federation/redis_cluster.hpp"
#include "tests/support/redis_server.hpp"
#include "tests/support/wait.hpp"

namespace stem::test {
namespace {

using beat::Change;
using beat::Entry;
using federation::Keys;
using federation::PersistentClient;
using federation::SharedSchedules;
using shm::BeatCounter;

constexpr std::int64_t kMs = 1'000'000;

Entry entry_of(const std::string& json) {
  auto parsed = Entry::parse(nlohmann::json::parse(json));
  EXPECT_TRUE(parsed.ok()) << (parsed.ok() ? "" : parsed.error().message);
  return parsed.ok() ? *parsed : Entry();
}

// A task of queue q whose argument is its planned time in ms after the first of its entry's options.
class PlannedMaker final : public beat::TickMaker {
 public:
  explicit PlannedMaker(shm::Segment& segment)
      : queue_(must_queue(segment, "q")), other_(must_queue(segment, "other")), task_(must_task(segment, "count")) {}
  Result<engine::TaskSpec> make(const beat::Tick& tick, const beat::Now&) override {
    if (tick.entry.task == "broken") return Error{Errc::kInvalidArgument, "makes no task"};
    const std::int64_t origin_ns = tick.entry.args.is_number() ? tick.entry.args.get<std::int64_t>() : 0;
    payload_ = "{\"n\":" + std::to_string((tick.planned_ns - origin_ns) / kMs) + "}";
    engine::TaskSpec spec;
    spec.queue = tick.entry.queue == "other" ? other_ : queue_;
    spec.task = task_;
    spec.priority = 3;
    spec.payload = std::as_bytes(std::span(payload_));
    return spec;
  }

 private:
  std::uint32_t queue_, other_, task_;
  std::string payload_;
};

federation::RedisOptions options_of(const std::string& url, bool cluster = false) {
  federation::RedisOptions options;
  options.url = *federation::parse_redis_url(url);
  options.follows_slot = cluster;
  return options;
}

// A beat process of one host.
struct SharedBeat {
  SharedBeat(std::shared_ptr<shm::Segment> segment, std::unique_ptr<PersistentClient> client, const Keys& of,
             std::int64_t ttl_ns, std::shared_ptr<const federation::Signer> signer = nullptr)
      : self(segment, shm::Role::kClient),
        keys(of),
        redis(std::move(client)),
        schedules(*redis, keys),
        lock(*self, *redis, keys, "process-" + std::to_string(::getpid()) + std::to_string(base::monotonic_ns()),
             ttl_ns),
        maker(*segment),
        scheduler(prepared(schedules, *segment, maker, *self, signer), *self, lock,
                  {.tick_ns = 20 * kMs, .tell = [this](const beat::BeatEvent& e) { ++events[e.kind]; }}) {}

  static std::unique_ptr<beat::Board> prepared(SharedSchedules& schedules, shm::Segment& segment, PlannedMaker& maker,
                                               engine::Engine& engine,
                                               std::shared_ptr<const federation::Signer> signer) {
    EXPECT_TRUE(beat::ScheduleStore(engine).prepare_table().ok());
    return std::make_unique<federation::SharedBoard>(
        schedules, segment, maker,
        federation::SharedBoard::Options{.look_ns = 20 * kMs, .host = "host", .signer = std::move(signer)});
  }
  std::int64_t step() { return scheduler.step({base::monotonic_ns(), base::realtime_ns() + lock.ahead_ns()}); }
  [[noreturn]] void run() {
    for (;;) {
      const std::int64_t left_ns = std::min(step() - base::monotonic_ns(), 20 * kMs);
      if (left_ns <= 0) continue;
      const timespec pause{0, left_ns};
      ::nanosleep(&pause, nullptr);
    }
  }

  Attached self;
  Keys keys;
  std::unique_ptr<PersistentClient> redis;
  SharedSchedules schedules;
  federation::RedisLock lock;
  PlannedMaker maker;
  std::map<beat::BeatEvent::Kind, int> events;
  beat::Scheduler scheduler;
};

// Ends its process at a chosen command: before it is sent, or when it was answered.
class DyingClient final : public PersistentClient {
 public:
  DyingClient(federation::RedisOptions options, int at, bool before)
      : PersistentClient(std::move(options), 1'000 * kMs), at_(at), before_(before) {}
  Result<federation::OwnedReply> ask(const std::vector<std::string_view>& argv) override {
    const bool now = ++asked_ == at_;
    if (now && before_) (void)::raise(SIGKILL);
    auto answer = PersistentClient::ask(argv);
    if (now) (void)::raise(SIGKILL);
    return answer;
  }

 private:
  int at_;
  bool before_;
  int asked_ = 0;
};

constexpr const char* kEvery20 =
    R"({"id":"a","task":"t","queue":"q","spec":"every:20ms","misfire":"all","misfireMax":100000})";

class SharedBeatTest : public ::testing::Test {
 protected:
  explicit SharedBeatTest(RedisServer::Options options = {}, const std::string& cluster_url = "")
      : server(std::move(options)),
        url(cluster_url.empty() ? server.url() : cluster_url),
        keys("stem", /*cluster=*/!cluster_url.empty()) {}

  struct Host {
    ScratchDirectory directory;
    std::shared_ptr<shm::Segment> segment = must_create(small_segment(directory));
  };
  std::unique_ptr<PersistentClient> client() const {
    return std::make_unique<PersistentClient>(options_of(url, keys.cluster()), 500 * kMs);
  }
  std::unique_ptr<SharedBeat> beat(std::int64_t ttl_ns = 5'000 * kMs) {
    return std::make_unique<SharedBeat>(host.segment, client(), keys, ttl_ns);
  }
  Process start(Host& on, std::int64_t ttl_ns) {
    return Process([this, &on, ttl_ns]() -> int {
      SharedBeat beat(must_attach("test", on.directory.path()), client(), keys, ttl_ns);
      beat.run();
    });
  }
  Change put(const std::string& json) {
    const auto change = schedules.put(entry_of(json));
    EXPECT_TRUE(change.ok()) << (change.ok() ? "" : change.error().message);
    return change.ok() ? *change : Change::kNone;
  }
  // What was fired since the last call: taken out of the stream, as a host that runs it would.
  void work() {
    const std::string stream = keys.stream("q", 3);
    const auto entries = redis->ask({"XRANGE", stream, "-", "+"});
    if (!entries.ok()) return;
    for (const OwnedReply& one : entries->elements) {
      std::vector<federation::TextField> fields;
      for (std::size_t i = 0; i + 1 < one.elements[1].elements.size(); i += 2)
        fields.push_back({one.elements[1].elements[i].text, one.elements[1].elements[i + 1].text});
      federation::Envelope envelope;
      ASSERT_TRUE(decode_fields(fields, envelope).ok());
      const auto gone = redis->ask({"XDEL", stream, one.elements[0].text});
      if (!gone.ok()) return;  // once more
      ran.push_back(std::stoll(envelope.args.substr(std::string("{\"n\":").size())));
      EXPECT_TRUE(envelope.id.starts_with("beat:")) << envelope.id;
      EXPECT_EQ(envelope.queue, "q");
      EXPECT_EQ(envelope.priority, 3);
    }
  }
  // More than so many ticks are run from now on.
  bool more_run(std::size_t ticks) {
    const std::size_t before = ran.size();
    return wait_until([&] { return work(), ran.size() > before + ticks; }, kLong);
  }
  std::string lock_owner() {
    const std::string key = keys.lock("beat");
    const auto owner = redis->ask({"GET", key});
    return owner.ok() ? owner->text : std::string();
  }
  static bool owns(const std::string& owner, const Process& process) {
    return owner.starts_with("process-" + std::to_string(process.pid()));
  }
  // Of an entry whose ticks come each `every_ms`: one each, from its first to its last.
  void expect_every_tick_once(std::int64_t every_ms) {
    ASSERT_FALSE(ran.empty());
    std::sort(ran.begin(), ran.end());
    for (std::size_t i = 1; i < ran.size(); ++i)
      ASSERT_EQ(ran[i] - ran[i - 1], every_ms) << "tick " << i << " of " << ran.size();
    const auto stored = *schedules.find("a");
    ASSERT_TRUE(stored.has_value());
    EXPECT_EQ(ran.front(), stored->since_ns / kMs + every_ms) << "the first";
    EXPECT_EQ(ran.back(), stored->figures.fired_ns / kMs) << "the last";
    EXPECT_EQ(stored->figures.fired, ran.size()) << "and counted";
  }
  static std::uint64_t counter(const Host& on, BeatCounter counter) {
    return on.segment->schedules().counters[static_cast<int>(counter)].load();
  }

  // A holder that dies before it sends each of its first commands, or when it has the answer.
  void kill_holders_at_commands(int last) {
    ASSERT_EQ(put(kEvery20), Change::kCreated);
    int died = 0;
    for (int at = 1; at <= last; ++at) {
      for (const bool before : {true, false}) {
        Process victim([&, this]() -> int {
          SharedBeat beat(must_attach("test", host.directory.path()),
                          std::make_unique<DyingClient>(options_of(url, keys.cluster()), at, before), keys,
                          5'000 * kMs);
          beat.run();
        });
        ASSERT_EQ(victim.wait(), 128 + SIGKILL);
        ++died;
        const std::string key = keys.lock("beat");
        ASSERT_TRUE(redis->ask({"DEL", key}).ok());  // its time is over
        work();
      }
    }
    EXPECT_EQ(died, 2 * last);
    const std::size_t so_far = ran.size();
    EXPECT_GT(so_far, 10u) << "some were killed after a tick";
    const auto final_beat = beat();
    ASSERT_TRUE(wait_until(
        [&] {
          (void)final_beat->step();
          work();
          return ran.size() > so_far + 5;
        },
        kLong));
    expect_every_tick_once(20);
  }

  RedisServer server;
  std::string url;
  Keys keys;
  std::unique_ptr<PersistentClient> redis = client();
  SharedSchedules schedules{*redis, keys};
  Host host, other;
  std::vector<std::int64_t> ran;
};

TEST_F(SharedBeatTest, AHolderKilledAtAnyCommandLosesNoTickAndFiresNoneTwice) { kill_holders_at_commands(12); }

struct OfACluster {
  RedisCluster cluster;
};

// In a cluster a tick is three steps, which lie on two nodes.
class ClusterBeatTest : public OfACluster, public SharedBeatTest {
 protected:
  ClusterBeatTest() : SharedBeatTest({}, cluster.url(0)) {}
  std::string slot_of_schedules() { return cluster.slot_of(keys.schedule_index()); }
  std::string slot_of_queue() { return cluster.slot_of(keys.stream("q", 3)); }
};

TEST_F(ClusterBeatTest, AHolderKilledAtAnyCommandLosesNoTickAndFiresNoneTwice) {
  if (cluster.owner_of(slot_of_schedules()) == cluster.owner_of(slot_of_queue())) cluster.move(slot_of_queue());
  kill_holders_at_commands(24);
}

TEST_F(ClusterBeatTest, TicksGoOnWhileSlotsMove) {
  ASSERT_EQ(put(kEvery20), Change::kCreated);
  Process beats[2] = {start(host, 300 * kMs), start(other, 300 * kMs)};
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(more_run(10)) << "round " << round;
    cluster.move(slot_of_queue());
    ASSERT_TRUE(more_run(10)) << "round " << round;
    cluster.move(slot_of_schedules());
  }
  ASSERT_TRUE(more_run(10));
  for (Process& one : beats) one.kill();
  // What the last one had begun, and not sent.
  ASSERT_TRUE(schedules.send_tick("a").ok());
  work();
  expect_every_tick_once(20);
}

// Whoever was stopped between two steps says them late.
TEST_F(ClusterBeatTest, WhatIsSaidLateIsRefused) {
  ASSERT_EQ(put(kEvery20), Change::kCreated);
  const std::string stream = keys.stream("q", 3), marker = keys.tick("q", "a"), sending = keys.schedule_sending("a"),
                    entry = keys.schedule("a");
  const auto say = [&](const char* token) {
    const auto sent = redis->ask({"EVAL", federation::kSendTickScript, "2", stream, marker, token, "60000", "id", "x"});
    return sent.ok() ? sent->integer : -1;
  };
  EXPECT_EQ(say("7"), 1);
  EXPECT_EQ(say("7"), 0);
  EXPECT_EQ(say("6"), 0);
  EXPECT_EQ(say("8"), 1);
  ASSERT_TRUE(redis->ask({"DEL", stream, marker}).ok());

  // A tick is on its way: no other is begun before it has come.
  ASSERT_TRUE(redis->ask({"SET", stream, "not a stream"}).ok());
  const auto a = beat();
  ASSERT_TRUE(wait_until([&] { return (void)a->step(), redis->ask({"EXISTS", sending})->integer == 1; }, kLong));
  for (int i = 0; i < 10; ++i) (void)a->step();
  EXPECT_EQ((*schedules.find("a"))->figures.fired, 1u);
  ASSERT_TRUE(redis->ask({"DEL", stream}).ok());
  ASSERT_TRUE(wait_until([&] { return (void)a->step(), work(), ran.size() > 5; }, kLong));
  expect_every_tick_once(20);
  const auto crossed_out = redis->ask({"EVAL", federation::kSentTickScript, "2", entry, sending, "7"});
  EXPECT_EQ(crossed_out->integer, 0);
  EXPECT_EQ(redis->ask({"HEXISTS", entry, "sending"})->integer, 0);

  // A removal takes what is on its way along.
  ASSERT_EQ(*schedules.remove("a"), Change::kRemoved);
  EXPECT_EQ(redis->ask({"EXISTS", sending, entry})->integer, 0);
}

TEST_F(ClusterBeatTest, AScheduleWhoseQueueTakesNothingCanBeRemoved) {
  const std::string stream = keys.stream("q", 3), sending = keys.schedule_sending("a"), entry = keys.schedule("a");
  ASSERT_EQ(put(kEvery20), Change::kCreated);
  ASSERT_TRUE(redis->ask({"SET", stream, "not a stream"}).ok());
  const auto a = beat();
  ASSERT_TRUE(wait_until([&] { return (void)a->step(), redis->ask({"EXISTS", sending})->integer == 1; }, kLong));
  const auto removed = schedules.remove("a");
  ASSERT_TRUE(removed.ok()) << removed.error().message;
  EXPECT_EQ(*removed, Change::kRemoved);
  EXPECT_EQ(redis->ask({"EXISTS", sending, entry})->integer, 0);
  // What stands there may be no tick at all.
  ASSERT_EQ(put(kEvery20), Change::kCreated);
  ASSERT_TRUE(redis->ask({"SET", sending, "nonsense"}).ok());
  EXPECT_EQ(*schedules.remove("a"), Change::kRemoved);
  EXPECT_EQ(redis->ask({"EXISTS", sending, entry})->integer, 0);
}

// Whoever writes a number from the end of time into Redis must not have the last word.
TEST_F(ClusterBeatTest, TokensAndMarkersFromTheEndOfTimeAreNotBelieved) {
  const std::string stream = keys.stream("q", 3), marker = keys.tick("q", "a"), entry = keys.schedule("a"),
                    counter = keys.lock_fence("beat");
  const auto say = [&](const char* token) {
    return redis->ask({"EVAL", federation::kSendTickScript, "2", stream, marker, token, "60000", "id", "x"})->integer;
  };
  for (const char* nonsense : {"9e300", "inf", "nan", "x", "-7", "9223372036854775807", "1791200000000000"}) {
    ASSERT_TRUE(redis->ask({"SET", marker, nonsense}).ok());
    EXPECT_EQ(say("1700000000000000"), 1) << nonsense;
    EXPECT_EQ(say("1700000000000000"), 0) << nonsense;
  }
  ASSERT_TRUE(redis->ask({"SET", marker, "1700000600000000"}).ok());
  EXPECT_EQ(say("1700000000000000"), 0) << "a later tick of ten minutes ago is believed";
  ASSERT_TRUE(redis->ask({"DEL", stream, marker}).ok());

  for (const char* nonsense : {"9e300", "inf", "nan", "x", "-7", "9223372036854775807"}) {
    ASSERT_TRUE(redis->ask({"SET", counter, nonsense}).ok());
    const auto holder = beat();
    ASSERT_TRUE(holder->lock.hold(base::monotonic_ns())) << nonsense;
    EXPECT_LT(holder->lock.token(), 9'000'000'000'000'000u) << nonsense;
    EXPECT_GT(holder->lock.token(), 1'700'000'000'000'000u) << nonsense;
    holder->lock.release();
    // A version like that is none: the entry can be written anew.
    ASSERT_EQ(put(kEvery20), Change::kCreated);
    ASSERT_TRUE(redis->ask({"HSET", entry, "version", nonsense, "token", nonsense}).ok());
    EXPECT_EQ(put(kEvery20), Change::kChanged) << nonsense;
    ASSERT_TRUE((*schedules.find("a")).has_value()) << nonsense;
    EXPECT_LT((*schedules.find("a"))->word.bits(), 9'000'000'000'000'000u) << nonsense;
    const auto next = beat();
    const std::size_t so_far = ran.size();
    ASSERT_TRUE(wait_until([&] { return (void)next->step(), work(), ran.size() > so_far; }, kLong)) << nonsense;
    EXPECT_EQ(redis->ask({"HGET", entry, "token"})->text.size(), 16u) << nonsense;
    next->lock.release();
    ASSERT_EQ(*schedules.remove("a"), Change::kRemoved);
    ASSERT_TRUE(redis->ask({"DEL", marker}).ok());
  }
}

TEST_F(SharedBeatTest, TwoHostsFireEachTickOnceWhileTheirHoldersAreKilled) {
  ASSERT_EQ(put(kEvery20), Change::kCreated);
  std::mt19937 random(std::random_device{}());
  Process beats[2] = {start(host, 200 * kMs), start(other, 200 * kMs)};
  int kills = 0;
  const std::int64_t end_ns = base::monotonic_ns() + 5'000 * kMs;
  while (base::monotonic_ns() < end_ns) {
    std::string owner;
    ASSERT_TRUE(wait_until(
        [&] {
          work();
          owner = lock_owner();
          return owns(owner, beats[0]) || owns(owner, beats[1]);
        },
        kLong));
    const std::int64_t kill_ns = base::monotonic_ns() + static_cast<std::int64_t>(random() % (60 * kMs));
    while (base::monotonic_ns() < kill_ns) work();
    const int victim = owns(owner, beats[0]) ? 0 : 1;
    beats[victim].kill();
    ++kills;
    beats[victim] = start(victim == 0 ? host : other, 200 * kMs);
  }
  EXPECT_GT(kills, 5);
  EXPECT_TRUE(more_run(20));
  for (Process& one : beats) one.kill();
  work();
  std::printf("%d kills, %zu ticks\n", kills, ran.size());
  expect_every_tick_once(20);
  EXPECT_GT(counter(host, BeatCounter::kLockContended) + counter(other, BeatCounter::kLockContended), 0u);
  EXPECT_GE(counter(host, BeatCounter::kLockAcquired) + counter(other, BeatCounter::kLockAcquired),
            static_cast<std::uint64_t>(kills));
}

TEST_F(SharedBeatTest, AHolderStoppedBeyondItsTimeIsFenced) {
  ASSERT_EQ(put(kEvery20), Change::kCreated);
  Process beats[2] = {start(host, 200 * kMs), start(other, 200 * kMs)};
  std::mt19937 random(std::random_device{}());
  for (int round = 0; round < 6; ++round) {
    std::string owner;
    ASSERT_TRUE(wait_until(
        [&] {
          work();
          owner = lock_owner();
          return owns(owner, beats[0]) || owns(owner, beats[1]);
        },
        kLong));
    const std::int64_t stop_ns = base::monotonic_ns() + static_cast<std::int64_t>(random() % (50 * kMs));
    while (base::monotonic_ns() < stop_ns) work();
    Process& late = owns(owner, beats[0]) ? beats[0] : beats[1];
    Process& next = owns(owner, beats[0]) ? beats[1] : beats[0];
    late.stop();
    const std::size_t before = ran.size();
    EXPECT_TRUE(wait_until(
        [&] {
          work();
          return owns(lock_owner(), next) && ran.size() > before + 12;
        },
        kLong))
        << "nobody took over";
    late.resume();
    EXPECT_TRUE(more_run(5));
  }
  for (Process& one : beats) one.kill();
  work();
  expect_every_tick_once(20);
  EXPECT_GE(counter(host, BeatCounter::kLockRenewFailed) + counter(other, BeatCounter::kLockRenewFailed), 1u);
}

// Whoever was paused between planning a tick and firing it: the other has fired it, and more.
TEST_F(SharedBeatTest, AnOldPlanIsRefused) {
  ASSERT_EQ(put(kEvery20), Change::kCreated);
  const auto a = beat(), b = beat();
  ASSERT_TRUE(wait_until([&] { return (void)a->step(), a->events[beat::BeatEvent::Kind::kFired] > 2; }, kLong));
  work();
  federation::SharedBoard board(schedules, *host.segment, a->maker, {.look_ns = 0, .host = "late", .signer = nullptr});
  ASSERT_EQ(board.row_total(), 1u);
  const auto planned = board.read(0, board.stamp_of(0));
  ASSERT_TRUE(planned.has_value());
  const std::int64_t at_ns = *planned->next_planned_ns(base::realtime_ns());
  ASSERT_TRUE(wait_until([&] { return (void)a->step(), a->events[beat::BeatEvent::Kind::kFired] > 5; }, kLong));
  using What = beat::FireResult::What;
  const beat::Now now{base::monotonic_ns(), base::realtime_ns()};
  EXPECT_EQ(board.fire(*planned, {planned->entry, at_ns, 1}, now).what, What::kStale);
  ASSERT_EQ(put(R"({"id":"a","task":"t","queue":"q","spec":"every:20ms","misfire":"all","priority":1})"),
            Change::kChanged);
  EXPECT_EQ(board.fire(*planned, {planned->entry, at_ns, 1}, now).what, What::kChanged);
  ASSERT_EQ(*schedules.remove("a"), Change::kRemoved);
  EXPECT_EQ(board.fire(*planned, {planned->entry, at_ns, 1}, now).what, What::kChanged);
  ASSERT_EQ(put(kEvery20), Change::kCreated);
  EXPECT_EQ(board.fire(*planned, {planned->entry, at_ns, 1}, now).what, What::kChanged) << "another of that name";
  EXPECT_EQ(b->events[beat::BeatEvent::Kind::kFired], 0);
}

class DurableBeatTest : public SharedBeatTest {
 protected:
  DurableBeatTest() : SharedBeatTest({.arguments = {"--appendonly", "yes", "--appendfsync", "always"}}) {}
};

TEST_F(DurableBeatTest, RedisKilledAndBackLosesNoTick) {
  ASSERT_EQ(put(kEvery20), Change::kCreated);
  Process beats[2] = {start(host, 300 * kMs), start(other, 300 * kMs)};
  for (int round = 0; round < 4; ++round) {
    ASSERT_TRUE(more_run(20)) << "round " << round;
    server.kill();
    server.restart();
  }
  ASSERT_TRUE(more_run(20));
  for (Process& one : beats) one.kill();
  work();
  // A take-out of ours whose answer was lost is counted by its absence alone: each tick at most once, none between
  // twice; what Redis says of the last is what ran.
  std::sort(ran.begin(), ran.end());
  EXPECT_EQ(std::adjacent_find(ran.begin(), ran.end()), ran.end()) << "twice";
  EXPECT_EQ((*schedules.find("a"))->figures.fired, static_cast<std::uint64_t>((ran.back() - ran.front()) / 20 + 1));
  EXPECT_GE(ran.size() + 4, (*schedules.find("a"))->figures.fired) << "one for each kill may be without an answer";
}

TEST_F(SharedBeatTest, TokensGoUpThoughRedisForgets) {
  const auto a = beat(100 * kMs);
  ASSERT_TRUE(a->lock.hold(base::monotonic_ns()));
  const std::uint64_t first = a->lock.token();
  EXPECT_GT(first, 1'700'000'000'000u) << "not below the server's time";
  ASSERT_TRUE(redis->ask({"FLUSHALL"}).ok());
  const auto b = beat(5'000 * kMs);
  ASSERT_TRUE(b->lock.hold(base::monotonic_ns()));
  EXPECT_GT(b->lock.token(), first);
  ASSERT_TRUE(wait_until([&] { return !a->lock.hold(base::monotonic_ns()); }, kLong)) << "it hears of the other";
  EXPECT_FALSE(a->lock.still_ours());
  b->lock.release();
  ASSERT_TRUE(wait_until([&] { return a->lock.hold(base::monotonic_ns()); }, kLong)) << "free at once";
  EXPECT_GT(a->lock.token(), b->lock.token());
}

TEST_F(SharedBeatTest, EntriesComeChangeAndGo) {
  EXPECT_EQ(put(kEvery20), Change::kCreated);
  EXPECT_EQ(put(kEvery20), Change::kNone);
  const auto first = **schedules.find("a");
  const auto a = beat();
  ASSERT_TRUE(wait_until([&] { return (void)a->step(), a->events[beat::BeatEvent::Kind::kFired] > 1; }, kLong));
  EXPECT_EQ(put(R"({"id":"a","task":"t2","queue":"q","spec":"every:20ms"})"), Change::kChanged);
  auto now = **schedules.find("a");
  EXPECT_EQ(now.since_ns, first.since_ns) << "the same spec goes on";
  EXPECT_GT(now.figures.fired_ns, 0);
  EXPECT_EQ(put(R"({"id":"a","task":"t2","queue":"q","spec":"every:1h"})"), Change::kChanged);
  now = **schedules.find("a");
  EXPECT_GT(now.since_ns, first.since_ns) << "another counts from now";
  EXPECT_EQ(put(R"({"id":"b","task":"t","queue":"q","spec":"every:1s","enabled":false})"), Change::kCreated);
  EXPECT_EQ(schedules.list()->size(), 2u);
  const std::string index = keys.schedule_index();
  EXPECT_EQ(redis->ask({"ZSCORE", index, "b"})->text, "inf");
  EXPECT_EQ(std::stoll(redis->ask({"ZSCORE", index, "a"})->text), now.since_ns / kMs + 3'600'000);
  EXPECT_EQ(*schedules.remove("a"), Change::kRemoved);
  EXPECT_EQ(*schedules.remove("a"), Change::kNone);
  EXPECT_EQ(schedules.list()->size(), 1u);
  const std::string history = keys.schedule_history("a");
  EXPECT_EQ(redis->ask({"EXISTS", history})->integer, 0);
}

TEST_F(SharedBeatTest, WhatHoldsWithinAHostIsRefused) {
  for (const std::string option : {R"("unique":true)", R"("affinityKey":"x")"}) {
    const auto refused = schedules.put(entry_of(R"({"id":"x","task":"t","spec":"every:1s",)" + option + "}"));
    ASSERT_FALSE(refused.ok()) << option;
    EXPECT_NE(refused.error().message.find("within one host"), std::string::npos) << refused.error().message;
  }
  for (const std::string id : {"index", "a:lock", "a:history", "a:sending"})
    EXPECT_FALSE(schedules.put(entry_of(R"({"id":")" + id + R"(","task":"t","spec":"every:1s"})")).ok()) << id;
}

// What others write there holds up nobody.
TEST_F(SharedBeatTest, NonsenseInRedisHoldsUpNoOther) {
  ASSERT_EQ(put(kEvery20), Change::kCreated);
  ASSERT_EQ(put(R"({"id":"blocked","task":"t","queue":"other","spec":"every:20ms"})"), Change::kCreated);
  ASSERT_EQ(put(R"({"id":"broken","task":"broken","queue":"q","spec":"every:20ms"})"), Change::kCreated);
  const std::string stream = keys.stream("other", 3), index = keys.schedule_index(), odd = keys.schedule("odd"),
                    text = keys.schedule("text");
  ASSERT_TRUE(redis->ask({"SET", stream, "not a stream"}).ok());
  ASSERT_TRUE(redis->ask({"HSET", odd, "version", "7", "since", "x", "definition", "{"}).ok());
  ASSERT_TRUE(redis->ask({"SET", text, "not a hash"}).ok());
  ASSERT_TRUE(redis->ask({"ZADD", index, "0", "odd", "0", "text", "0", "gone"}).ok());
  const auto a = beat();
  ASSERT_TRUE(wait_until(
      [&] {
        (void)a->step();
        work();
        return ran.size() > 30;
      },
      kLong));
  EXPECT_GT(a->events[beat::BeatEvent::Kind::kFailed], 1);
  EXPECT_EQ((*schedules.find("blocked"))->figures.fired_ns, 0) << "no marker without its task";
  EXPECT_GT((*schedules.find("broken"))->figures.failed, 0u);
  EXPECT_EQ(schedules.list()->size(), 3u);
  expect_every_tick_once(20);
  ASSERT_TRUE(redis->ask({"DEL", stream}).ok());
  EXPECT_TRUE(wait_until([&] { return (void)a->step(), (*schedules.find("blocked"))->figures.fired > 0; }, kLong))
      << "it goes on when the way is free";
}

// From the tick to a worker: real gateways import, signed or not.
TEST_F(SharedBeatTest, TicksRunOnAHostThatImports) {
  federation::SigningSettings settings;
  settings.keys = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
  settings.active_key = "k1";
  const auto signer = *federation::Signer::create(settings);
  RunLedger ledger(100'000);
  test::Host runs(server.url(), ledger);
  runs.gateway_options().signer = signer;
  runs.start_worker();
  runs.start_gateway();
  const std::string origin = std::to_string(base::realtime_ns() - 1'000 * kMs);
  ASSERT_EQ(put(R"({"id":"a","task":"t","queue":"q","spec":"every:20ms","misfire":"all","args":)" + origin + "}"),
            Change::kCreated);
  SharedBeat beat(host.segment, client(), keys, 5'000 * kMs, signer);
  const auto ran_total = [&] { return ledger.numbers() - ledger.missing(); };
  ASSERT_TRUE(wait_until([&] { return (void)beat.step(), ran_total() >= 20; }, kLong));
  const int fired = beat.events[beat::BeatEvent::Kind::kFired];
  EXPECT_TRUE(wait_until([&] { return ran_total() == static_cast<std::uint64_t>(fired); }, kLong));
  EXPECT_EQ(ledger.extra(), 0u);
  const std::string dead = keys.dead("q");
  EXPECT_EQ(redis->ask({"LLEN", dead})->integer, 0);
}

}  // namespace
}  // namespace stem::test
