#include "beat/scheduler.hpp"

#include <gmock/gmock.h>

#include "tests/beat/beat_host.hpp"

namespace stem::beat::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Kind = BeatEvent::Kind;

class SchedulerTest : public BeatHost {};

TEST_F(SchedulerTest, EveryTickOnce) {
  auto a = beat();
  auto b = beat();
  put(R"({"id":"a","task":"t","spec":"every:100ms"})");
  run({a.get(), b.get()}, kSecondNs);
  EXPECT_THAT(planned(), ElementsAre(100, 200, 300, 400, 500, 600, 700, 800, 900, 1000));
  EXPECT_TRUE(a->scheduler.holding());
  EXPECT_FALSE(b->scheduler.holding());
  const auto stored = store_.find("a");
  EXPECT_EQ(stored->figures.fired, 10u);
  EXPECT_EQ(stored->figures.fired_ns, origin_ns_ + kSecondNs);
  EXPECT_LT(stored->figures.drift_ns, kMs);
  EXPECT_EQ(counter(shm::BeatCounter::kSuccess), 10u);
  EXPECT_EQ(counter(shm::BeatCounter::kLockAcquired), 1u);
  EXPECT_GT(counter(shm::BeatCounter::kLockContended), 0u);
}

TEST_F(SchedulerTest, TheNextHolderGoesOnWhereTheLastOneWasLost) {
  put(R"({"id":"a","task":"t","spec":"every:100ms","misfire":"all"})");
  auto a = beat();
  run({a.get()}, 350 * kMs);
  auto b = beat();
  run({b.get()}, 4 * kSecondNs);  // a stands still, and its time is not over yet
  EXPECT_THAT(planned(), ElementsAre(100, 200, 300));
  run({b.get()}, 2 * kSecondNs);
  EXPECT_TRUE(b->scheduler.holding());
  std::vector<std::int64_t> expected;
  for (int t = 400; t <= 6300; t += 100) expected.push_back(t);
  EXPECT_EQ(planned(), expected);
  // a comes back, and learns that it is late.
  run({a.get(), b.get()}, 200 * kMs);
  EXPECT_FALSE(a->scheduler.holding());
  EXPECT_EQ(counter(shm::BeatCounter::kLockRenewFailed), 1u);
  EXPECT_THAT(planned(), ElementsAre(6400, 6500));
}

TEST_F(SchedulerTest, AReleasedLockIsTakenAtOnce) {
  put(R"({"id":"a","task":"t","spec":"every:100ms"})");
  auto a = beat();
  auto b = beat();
  run({a.get(), b.get()}, 200 * kMs);
  const auto token = a->lock.token();
  a.reset();
  run({b.get()}, 200 * kMs);
  EXPECT_GT(b->lock.token(), token);
  EXPECT_THAT(planned(), ElementsAre(100, 200, 300, 400));
}

// A holder is stopped between its decision and the enqueue, and comes back when the tick was fired by another,
// has run, and is over: the task is no longer there to be met by its unique key.
TEST_F(SchedulerTest, ALateFirerIsRefusedAlsoWhenTheTaskIsOver) {
  put(R"({"id":"a","task":"t","spec":"every:100ms"})");
  auto b = beat();
  const shm::TurnWord seen(segment_->schedule(0).turn.load());
  run({b.get()}, 100 * kMs);
  EXPECT_THAT(planned(), ElementsAre(100));
  PlannedMaker maker(queue_, task_);
  const Entry e = entry(R"({"id":"a","task":"t","spec":"every:100ms"})");
  const auto spec = maker.make({e, origin_ns_ + 100 * kMs, 1}, now_);
  const auto late = worker_->fire_tick(*spec, 0, origin_ns_ + 100 * kMs, seen, now_.monotonic_ns);
  EXPECT_EQ(late.status, engine::TickStatus::kLost);
  EXPECT_THAT(planned(), IsEmpty());
}

TEST_F(SchedulerTest, AFirerThatIsLateForAChangeIsRefused) {
  put(R"({"id":"a","task":"t","spec":"every:100ms"})");
  PlannedMaker maker(queue_, task_);
  const Entry e = entry(R"({"id":"a","task":"t","spec":"every:100ms"})");
  for (const char* change : {"put", "remove", "reuse"}) {
    const shm::TurnWord seen(segment_->schedule(0).turn.load());
    if (change == std::string("put")) put(R"({"id":"a","task":"t","spec":"every:200ms"})");
    if (change == std::string("remove")) (void)store_.remove("a");
    if (change == std::string("reuse")) put(R"({"id":"other","task":"t","spec":"every:100ms"})");
    const auto spec = maker.make({e, origin_ns_ + 100 * kMs, 1}, now_);
    EXPECT_EQ(worker_->fire_tick(*spec, 0, origin_ns_ + 100 * kMs, seen, now_.monotonic_ns).status,
              engine::TickStatus::kLost)
        << change;
  }
  EXPECT_THAT(planned(), IsEmpty());
}

// ---- misfires

TEST_F(SchedulerTest, MisfireOnceFiresTheLatest) {
  put(R"({"id":"a","task":"t","spec":"every:100ms"})");
  pass(1050 * kMs);
  auto a = beat();
  run({a.get()}, 100 * kMs);
  EXPECT_THAT(planned(), ElementsAre(1000, 1100));
  EXPECT_EQ(store_.find("a")->figures.skipped, 9u);
}

TEST_F(SchedulerTest, MisfireAllFiresEachUpToItsMost) {
  put(R"({"id":"a","task":"t","spec":"every:100ms","misfire":"all","misfireMax":4})");
  pass(1050 * kMs);
  auto a = beat();
  run({a.get()}, 100 * kMs);
  EXPECT_THAT(planned(), ElementsAre(700, 800, 900, 1000, 1100));
  EXPECT_EQ(store_.find("a")->figures.skipped, 6u);
}

TEST_F(SchedulerTest, MisfireSkipPassesOverWhatIsOld) {
  put(R"({"id":"a","task":"t","spec":"0 * * * *","misfire":"skip"})");
  put(R"({"id":"b","task":"t","spec":"0 * * * *","misfire":"once"})");
  pass(2 * 3600 * kSecondNs + 120 * kSecondNs);  // two minutes after two o'clock
  auto a = beat();
  run({a.get()}, kSecondNs);
  EXPECT_THAT(planned(), ElementsAre(7'200'000)) << "b's";
  EXPECT_EQ(store_.find("a")->figures.skipped, 2u);
  EXPECT_EQ(store_.find("b")->figures.skipped, 1u);
  run({a.get()}, 3500 * kSecondNs);
  EXPECT_THAT(planned(), ElementsAre(10'800'000, 10'800'000));
}

TEST_F(SchedulerTest, ALongOutageCostsNoWalkThroughItsSeconds) {
  put(R"({"id":"a","task":"t","spec":"* * * * * *"})");
  put(R"({"id":"b","task":"t","spec":"every:1ms"})");
  pass(std::int64_t{5} * 365 * 86'400 * kSecondNs);
  auto a = beat();
  (void)a->scheduler.step(now_);
  EXPECT_EQ(planned().size(), 2u);
}

// ---- what entries ask for

TEST_F(SchedulerTest, JitterDelaysNoOther) {
  put(R"({"id":"late","task":"t","spec":"every:1s","jitterMs":900})");
  put(R"({"id":"prompt","task":"t","spec":"every:100ms"})");
  auto a = beat();
  run({a.get()}, kSecondNs);
  EXPECT_THAT(planned(), ElementsAre(100, 200, 300, 400, 500, 600, 700, 800, 900, 1000));
  EXPECT_LT(store_.find("prompt")->figures.drift_ns, kMs);
  run({a.get()}, 900 * kMs);
  const auto late = store_.find("late");
  EXPECT_EQ(late->figures.fired_ns, origin_ns_ + kSecondNs);
  EXPECT_LT(late->figures.drift_ns, kMs) << "jitter is no drift";
  const std::int64_t jitter = late->entry.jitter_of(origin_ns_ + kSecondNs);
  EXPECT_GE(late->figures.fired_at_ns, origin_ns_ + kSecondNs + jitter);
  EXPECT_LT(late->figures.fired_at_ns, origin_ns_ + kSecondNs + jitter + kMs);
  (void)planned();
}

TEST_F(SchedulerTest, RunOnceEndAtAndClocked) {
  put(R"({"id":"once","task":"t","spec":{"kind":"interval","every":"200ms","runOnce":true}})");
  put(R"({"id":"clock","task":"t","spec":{"kind":"clocked","runAt":"2026-01-01T00:00:00.500Z"}})");
  put(R"({"id":"end","task":"t","spec":{"kind":"interval","every":"300ms","endAt":"2026-01-01T00:00:00.700Z"}})");
  auto a = beat();
  run({a.get()}, 3 * kSecondNs);
  EXPECT_THAT(planned(), ElementsAre(200, 300, 500, 600));
  EXPECT_FALSE(store_.find("once")->next_planned_ns(now_.realtime_ns));
}

TEST_F(SchedulerTest, DisabledEntriesRestAndBeginAnew) {
  put(R"({"id":"a","task":"t","spec":"every:100ms","misfire":"all"})");
  auto a = beat();
  run({a.get()}, 250 * kMs);
  put(R"({"id":"a","task":"t","spec":"every:100ms","misfire":"all","enabled":false})");
  run({a.get()}, 1000 * kMs);
  EXPECT_THAT(planned(), ElementsAre(100, 200));
  put(R"({"id":"a","task":"t","spec":"every:100ms","misfire":"all"})");  // at 1250
  run({a.get()}, 1250 * kMs);                                            // looked at within a second
  const auto after = planned();
  ASSERT_FALSE(after.empty());
  EXPECT_EQ(after.front(), 1350) << "what was due while it rested is no misfire";
  EXPECT_EQ(after.back(), 2450);
  EXPECT_EQ(after.size(), 12u);
}

TEST_F(SchedulerTest, AUniqueTaskThatIsStillThereTakesTheTicksPlace) {
  put(R"({"id":"a","task":"t","spec":"every:100ms","unique":true})");
  auto a = beat();
  run({a.get()}, 300 * kMs);
  EXPECT_EQ(planned().size(), 1u);
  EXPECT_EQ(store_.find("a")->figures.deduplicated, 2u);
  run({a.get()}, 100 * kMs);
  EXPECT_EQ(planned().size(), 1u);
}

TEST_F(SchedulerTest, AFullQueueIsTriedAgain) {
  put(R"({"id":"a","task":"t","spec":{"kind":"clocked","runAt":"2026-01-01T00:00:00.100Z"}})");
  segment_->queue(queue_).max_length.store(1);
  ASSERT_EQ(worker_->enqueue(stem::test::Numbered(queue_, task_, 5).spec, now_.monotonic_ns).status,
            engine::EnqueueStatus::kOk);
  auto a = beat();
  run({a.get()}, 400 * kMs);
  EXPECT_GE(store_.find("a")->figures.failed, 2u);
  EXPECT_EQ(planned().size(), 1u) << "the one in the way";
  run({a.get()}, kSecondNs);
  EXPECT_THAT(planned(), ElementsAre(100));
}

TEST_F(SchedulerTest, AnEntryThatMakesNoTaskHoldsUpNoOther) {
  put(R"({"id":"a","task":"t","spec":"every:100ms","broken":1})");
  put(R"({"id":"b","task":"t","spec":"every:100ms"})");
  auto a = beat();
  run({a.get()}, 300 * kMs);
  EXPECT_THAT(planned(), ElementsAre(100, 200, 300));
  EXPECT_EQ(a->events[Kind::kFailed], 3);
  // In the event log, too: failures always, what is due while somebody follows.
  const auto told = [this](shm::EventKind kind) {
    std::vector<std::string> texts;
    for (const shm::ReadEvent& e : shm::EventReader(*segment_, /*from_now=*/false).read())
      if (e.event.kind == kind) texts.push_back(e.text);
    return texts;
  };
  EXPECT_THAT(told(shm::EventKind::kScheduleFailed),
              ElementsAre("a: makes no task", "a: makes no task", "a: makes no task"));
  EXPECT_THAT(told(shm::EventKind::kScheduleDue), ElementsAre());
  shm::follow_events(*segment_, now_.monotonic_ns + kSecondNs);
  run({a.get()}, 100 * kMs);
  EXPECT_THAT(told(shm::EventKind::kScheduleDue), ::testing::UnorderedElementsAre("a", "b"));
}

TEST_F(SchedulerTest, TheWallClockIsSetBackAndForward) {
  put(R"({"id":"a","task":"t","spec":"every:1s"})");
  auto a = beat();
  run({a.get()}, 5 * kSecondNs);
  EXPECT_EQ(planned().size(), 5u);
  now_.realtime_ns -= 86'400 * kSecondNs;  // it was a day ahead
  run({a.get()}, 5 * kSecondNs);
  EXPECT_EQ(planned().size(), 5u) << "ticks go on by the new time";
  now_.realtime_ns += 86'400 * kSecondNs;
  run({a.get()}, 5 * kSecondNs);
  const auto after = planned();
  EXPECT_GE(after.size(), 5u);
  EXPECT_LE(after.size(), 7u) << "a day of misfires is one tick";
}

TEST_F(SchedulerTest, ChangesOfOthersAreSeen) {
  auto a = beat();
  run({a.get()}, 500 * kMs);
  put(R"({"id":"a","task":"t","spec":"every:100ms"})");  // at 500
  run({a.get()}, 1500 * kMs);
  EXPECT_FALSE(planned().empty());
  put(R"({"id":"a","task":"t","spec":"every:1h"})");
  run({a.get()}, 2000 * kMs);
  EXPECT_THAT(planned(), IsEmpty());
  (void)store_.remove("a");
  run({a.get()}, 2 * 3600 * kSecondNs);
  EXPECT_THAT(planned(), IsEmpty());
}

TEST_F(SchedulerTest, ManyEntries) {
  for (int i = 0; i < 500; ++i)
    put("{\"id\":\"e" + std::to_string(i) + "\",\"task\":\"t\",\"spec\":\"every:1s\",\"jitterMs\":500}");
  auto a = beat();
  run({a.get()}, 3600 * kMs);
  EXPECT_EQ(planned().size(), 1500u);
}

}  // namespace
}  // namespace stem::beat::test
