// Every instruction of the life of runs: several small tasks under one control word.
#include "tests/every_instruction/every_instruction.hpp"

namespace stem::engine {
namespace {

// Claims up to `most`, and calls `then(number, lease, view)` for each that it started.
template <class Then>
void start_each(World& w, Attached& mine, std::uint32_t most, Then then) {
  Lease leases[kRunItems];
  const std::uint32_t n = mine->claim(w.queue, leases, most, w.now);
  for (std::uint32_t i = 0; i < n; ++i) {
    TaskView view;
    if (mine->view(leases[i], view) && mine->begin(leases[i], view, w.now) == Begin::kStart) then(i, leases[i], view);
  }
}

// Starts the first of a run one after the other, has them over as `end(mine, number, lease, view)` says, and is
// killed after `most` of them.
template <class End>
void killed_after(World& w, std::uint32_t most, End end) {
  test::Process victim([&] {
    auto* mine = new Attached(test::must_attach("test", w.scratch.path()), shm::Role::kWorker);
    start_each(w, *mine, 8, [&](std::uint32_t i, const Lease& lease, TaskView& view) {
      end(*mine, i, lease, view);
      if (i + 1 == most) ::raise(SIGKILL);
    });
    return 0;
  });
  ASSERT_EQ(victim.wait(), 128 + SIGKILL);
}

void add_run(World& w, std::uint64_t first, std::uint64_t count) {
  std::vector<std::unique_ptr<Numbered>> tasks;
  std::vector<TaskSpec> specs;
  for (std::uint64_t i = 0; i < count; ++i) {
    tasks.push_back(std::make_unique<Numbered>(w.queue, w.task, first + i));
    specs.push_back(tasks.back()->spec);
  }
  std::size_t done = 0;
  ASSERT_EQ(w.self->enqueue_many(specs.data(), specs.size(), nullptr, done, w.now), EnqueueStatus::kOk);
  ASSERT_EQ(done, count);
}

// Everything that was enqueued ran exactly once to its acknowledgement, before or after the kill.
void expect_each_acknowledged_once(World& w, std::uint64_t count) {
  const auto seen = w.drain();
  EXPECT_EQ(w.count(Counter::kEnqueued), count);
  EXPECT_EQ(w.count(Counter::kSucceeded), count);
  for (const auto& [number, times] : seen) EXPECT_EQ(times, 1) << "task " << number;
}

TEST_F(EveryInstruction, EnqueueOfARun) {
  everywhere([](World& w) { add_run(w, 1, 5); },
             [](World& w, Attached& mine) {
               (void)mine->enqueue(Numbered(w.queue, w.task, 6).spec, w.now);
               return Work([&w, &mine] {
                 std::vector<std::unique_ptr<Numbered>> tasks;
                 std::vector<TaskSpec> specs;
                 for (std::uint64_t i = 0; i < 5; ++i) {
                   tasks.push_back(std::make_unique<Numbered>(w.queue, w.task, 7 + i));
                   specs.push_back(tasks.back()->spec);
                 }
                 std::size_t done = 0;
                 (void)mine->enqueue_many(specs.data(), specs.size(), nullptr, done, w.now);
               });
             },
             [](World& w, bool finished) {
               const std::uint64_t there = w.count(Counter::kEnqueued);
               EXPECT_TRUE(there == 6 || there == 11) << there;
               if (finished) {
                 EXPECT_EQ(there, 11u);
               }
               expect_each_acknowledged_once(w, there);
             });
}

TEST_F(EveryInstruction, ClaimAndSettleARun) {
  everywhere([](World& w) { add_run(w, 1, 5); },
             [](World& w, Attached& mine) {
               return Work([&w, &mine] {
                 start_each(w, mine, 8, [&](std::uint32_t, const Lease& lease, TaskView& view) {
                   (void)mine->succeed(lease, view, {}, w.now);
                 });
               });
             },
             [](World& w, bool) { expect_each_acknowledged_once(w, 5); });
}

TEST_F(EveryInstruction, ClaimOfLessThanARun) {
  everywhere([](World& w) { add_run(w, 1, 5); },
             [](World& w, Attached& mine) {
               return Work([&w, &mine] {
                 start_each(w, mine, 2, [&](std::uint32_t, const Lease& lease, TaskView& view) {
                   (void)mine->succeed(lease, view, {}, w.now);
                 });
               });
             },
             [](World& w, bool) { expect_each_acknowledged_once(w, 5); });
}

TEST_F(EveryInstruction, RetryOfAnItemOfARun) {
  everywhere([](World& w) { add_run(w, 1, 5); },
             [](World& w, Attached& mine) {
               return Work([&w, &mine] {
                 start_each(w, mine, 8, [&](std::uint32_t i, const Lease& lease, TaskView& view) {
                   bool retried = false;
                   if (i == 2) {
                     (void)mine->fail(lease, view, {"kind", "message"}, 0, w.now, retried);
                   } else {
                     (void)mine->succeed(lease, view, {}, w.now);
                   }
                 });
               });
             },
             [](World& w, bool) { expect_each_acknowledged_once(w, 5); });
}

TEST_F(EveryInstruction, SweepOfARun) {
  everywhere(
      [](World& w) {
        add_run(w, 1, 5);
        // Two are acknowledged, the third runs, two have not been started.
        killed_after(w, 3, [&w](Attached& mine, std::uint32_t i, const Lease& lease, TaskView& view) {
          if (i < 2) (void)mine->succeed(lease, view, {}, w.now);
        });
      },
      [](World& w, Attached& mine) { return Work([&w, &mine] { (void)mine->sweep_all(w.now); }); },
      [](World& w, bool) { expect_each_acknowledged_once(w, 5); });
}

TEST_F(EveryInstruction, ClaimAndSettleARunTogether) {
  everywhere([](World& w) { add_run(w, 1, 5); },
             [](World& w, Attached& mine) {
               return Work([&w, &mine] {
                 start_each(w, mine, 8, [&](std::uint32_t i, const Lease& lease, TaskView& view) {
                   (void)mine->succeed_later(lease, view, w.now);
                   if (i == 1) (void)mine->commit_acks();
                 });
               });
             },
             [](World& w, bool) { expect_each_acknowledged_once(w, 5); });
}

TEST_F(EveryInstruction, SweepOfARunWithItemsOverButNotCommitted) {
  everywhere(
      [](World& w) {
        add_run(w, 1, 6);
        // Two are acknowledged, two more are over, the fifth runs, the last has not been started.
        killed_after(w, 5, [&w](Attached& mine, std::uint32_t i, const Lease& lease, TaskView& view) {
          if (i < 4) (void)mine->succeed_later(lease, view, w.now);
          if (i == 1) (void)mine->commit_acks();
        });
      },
      [](World& w, Attached& mine) {
        return Work([&w, &mine] {
          (void)mine->sweep_all(w.now);
          Lease leases[8];
          (void)mine->claim(w.queue, leases, 8, w.now);  // the next holder counts what was over
        });
      },
      [](World& w, bool) {
        const auto seen = w.drain();
        EXPECT_EQ(w.count(Counter::kSucceeded), 6u);
        for (std::uint64_t number = 1; number <= 4; ++number) EXPECT_EQ(seen.count(number), 0u) << "it was over";
        for (std::uint64_t number = 5; number <= 6; ++number) EXPECT_EQ(seen.count(number), 1u) << number;
      });
}

// A run is another's, or over, by the time at which its first holder commits the ends that it has on record, or ends an
// item by itself: each end is counted once.
TEST_F(EveryInstruction, EndsOfARunThatWasLost) {
  for (const bool over : {false, true})
    for (const bool recorded : {false, true}) {
      SCOPED_TRACE(std::string(over ? "over, " : "taken, ") + (recorded ? "recorded" : "by itself"));
      everywhere([](World& w) { add_run(w, 1, 5); },
                 [over, recorded](World& w, Attached& mine) {
                   auto* second = new Lease;
                   auto* view = new TaskView;
                   start_each(w, mine, 8, [&](std::uint32_t i, const Lease& lease, TaskView& of) {
                     if (i == 0 && recorded) (void)mine->succeed_later(lease, of, w.now);
                     if (i == 1) *second = lease, *view = of;
                   });
                   auto* other = new Attached(test::must_attach("test", w.scratch.path()), shm::Role::kWorker);
                   (void)(*other)->redeliver_held(mine.index(), w.now);
                   start_each(w, *other, 8, [&](std::uint32_t, const Lease& lease, TaskView& of) {
                     if (over) (void)(*other)->succeed(lease, of, {}, w.now);
                   });
                   return Work([&w, &mine, second, view, recorded] {
                     if (recorded)
                       (void)mine->commit_acks();
                     else
                       (void)mine->succeed(*second, *view, {}, w.now);
                   });
                 },
                 [](World& w, bool) { expect_each_acknowledged_once(w, 5); });
    }
}

}  // namespace
}  // namespace stem::engine
