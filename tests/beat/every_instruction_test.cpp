// A beat process killed after every single instruction that changes the segment: every tick becomes one task, every
// entry is the old one or the new one, and nothing is left lying about.
#include "tests/every_instruction/every_instruction.hpp"

#include "tests/beat/beat_host.hpp"

namespace stem::beat::test {
namespace {

using engine::World;
using EveryInstructionOfBeat = engine::EveryInstruction;
using stem::test::Attached;

constexpr std::int64_t kOrigin = 1'767'225'600 * kSecondNs;

Entry every_100ms() { return entry(R"({"id":"a","task":"t","spec":"every:100ms","misfire":"all"})"); }

// A task whose hint was lost is found once those before it are gone.
std::vector<std::int64_t> run_all(World& w) {
  std::vector<std::int64_t> ran;
  for (int round = 0; round < 3; ++round) {
    w.recover();
    for (const std::int64_t planned : drain(*w.self, w.queue, w.now, kOrigin)) ran.push_back(planned);
  }
  std::sort(ran.begin(), ran.end());
  return ran;
}

// What the next beat process makes of what was left behind, at the same time of day.
std::vector<std::int64_t> successor_fires(World& after, std::int64_t realtime_ns) {
  {
    Beat beat(after.segment, after.queue, after.task);
    const Now now{after.now, realtime_ns};
    for (int i = 0; i < 3; ++i) (void)beat.scheduler.step(now);
    EXPECT_TRUE(beat.scheduler.holding());
  }
  return run_all(after);
}

TEST_F(EveryInstructionOfBeat, FiringATick) {
  everywhere(
      [](World& w) {
        ScheduleStore store(*w.self);
        ASSERT_TRUE(store.put(every_100ms(), kOrigin).ok());
      },
      [](World& w, Attached&) {
        auto* beat = new Beat(stem::test::must_attach("test", w.scratch.path()), w.queue, w.task);
        const std::int64_t now = w.now;
        (void)beat->scheduler.step({now, kOrigin + 100 * kMs});  // the first tick, at full speed
        return std::function<void()>([beat, now] { (void)beat->scheduler.step({now, kOrigin + 200 * kMs}); });
      },
      [](World& w, bool) {
        EXPECT_EQ(successor_fires(w, kOrigin + 200 * kMs), (std::vector<std::int64_t>{100, 200}));
        const auto stored = ScheduleStore(*w.self).find("a");
        ASSERT_TRUE(stored);
        EXPECT_EQ(stored->figures.fired_ns, kOrigin + 200 * kMs);
      });
}

// The tasks of the dead one's ticks have run and are over when the successor looks: their unique keys are gone.
TEST_F(EveryInstructionOfBeat, FiringATickWhoseTaskIsOverAtOnce) {
  everywhere(
      [](World& w) {
        ScheduleStore store(*w.self);
        ASSERT_TRUE(store.put(every_100ms(), kOrigin).ok());
      },
      [](World& w, Attached&) {
        auto* beat = new Beat(stem::test::must_attach("test", w.scratch.path()), w.queue, w.task);
        const std::int64_t now = w.now;
        (void)beat->scheduler.step({now, kOrigin});
        return std::function<void()>([beat, now] { (void)beat->scheduler.step({now, kOrigin + 100 * kMs}); });
      },
      [](World& w, bool) {
        auto ran = run_all(w);  // before anybody has recovered the schedule
        const auto later = successor_fires(w, kOrigin + 100 * kMs);
        ran.insert(ran.end(), later.begin(), later.end());
        EXPECT_EQ(ran, (std::vector<std::int64_t>{100}));
      });
}

TEST_F(EveryInstructionOfBeat, PuttingANewEntry) {
  everywhere(
      [](World& w) {
        ASSERT_TRUE(ScheduleStore(*w.self).put(entry(R"({"id":"z","task":"t","spec":"every:1h"})"), kOrigin).ok());
      },
      [](World&, Attached& mine) {
        return std::function<void()>([&mine] { (void)ScheduleStore(*mine).put(every_100ms(), kOrigin); });
      },
      [](World& w, bool finished) {
        ScheduleStore store(*w.self);
        const auto found = store.find("a");
        if (finished) {
          EXPECT_TRUE(found);
        }
        EXPECT_EQ(store.list().size(), found ? 2u : 1u);
        // Whatever was left, the same can be done again.
        ASSERT_TRUE(store.put(every_100ms(), kOrigin).ok());
        EXPECT_EQ(store.list().size(), 2u);
        EXPECT_EQ(successor_fires(w, kOrigin + 100 * kMs), (std::vector<std::int64_t>{100}));
      });
}

TEST_F(EveryInstructionOfBeat, ChangingAnEntry) {
  everywhere([](World& w) { ASSERT_TRUE(ScheduleStore(*w.self).put(every_100ms(), kOrigin).ok()); },
             [](World&, Attached& mine) {
               return std::function<void()>([&mine] {
                 (void)ScheduleStore(*mine).put(entry(R"({"id":"a","task":"t","spec":"every:50ms","misfire":"all"})"),
                                                kOrigin);
               });
             },
             [](World& w, bool finished) {
               const auto found = ScheduleStore(*w.self).find("a");
               ASSERT_TRUE(found) << "neither the old entry nor the new one is there";
               const bool is_new = found->entry.spec.text() == "every:50ms";
               if (finished) {
                 EXPECT_TRUE(is_new);
               }
               const auto fired = successor_fires(w, kOrigin + 100 * kMs);
               EXPECT_EQ(fired, is_new ? (std::vector<std::int64_t>{50, 100}) : (std::vector<std::int64_t>{100}));
             });
}

TEST_F(EveryInstructionOfBeat, RemovingAnEntryAndUsingItsRow) {
  everywhere(
      [](World& w) {
        ASSERT_TRUE(ScheduleStore(*w.self).put(every_100ms(), kOrigin).ok());
        Beat beat(w.segment, w.queue, w.task);
        (void)beat.scheduler.step({w.now, kOrigin + 100 * kMs});
        EXPECT_EQ(drain(*w.self, w.queue, w.now, kOrigin).size(), 1u);
      },
      [](World&, Attached& mine) {
        return std::function<void()>([&mine] {
          ScheduleStore store(*mine);
          (void)store.remove("a");
          (void)store.put(entry(R"({"id":"b","task":"t","spec":"every:100ms","misfire":"all"})"), kOrigin + 100 * kMs);
        });
      },
      [](World& w, bool finished) {
        ScheduleStore store(*w.self);
        const auto all = store.list();
        ASSERT_LE(all.size(), 1u);
        if (finished) {
          ASSERT_EQ(all.size(), 1u);
          EXPECT_EQ(all[0].entry.id, "b");
        }
        const auto fired = successor_fires(w, kOrigin + 200 * kMs);
        EXPECT_EQ(fired, all.empty() ? std::vector<std::int64_t>{} : (std::vector<std::int64_t>{200}));
      });
}

}  // namespace
}  // namespace stem::beat::test
