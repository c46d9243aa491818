// A process killed after every single instruction that changes the segment: what it leaves behind must be
// recovered completely, with every task and every count accounted for.
#include <gtest/gtest.h>
#include <signal.h>

#include <cstring>
#include <map>
#include <set>

#include "engine/control.hpp"
#include "engine/dead_letters.hpp"
#include "engine/links.hpp"
#include "engine/query.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/process.hpp"
#include "tests/support/scratch.hpp"
#include "tests/support/stepper.hpp"
#include "tests/support/wait.hpp"

namespace stem::engine {
namespace {

using shm::Counter;
using shm::State;
using test::Attached;
using test::Numbered;
using test::ScratchDirectory;

constexpr std::int64_t kSecond = 1'000'000'000;

// A segment with one queue, as a test process sees it.
struct World {
  World(std::shared_ptr<shm::Segment> attached, const ScratchDirectory& directory)
      : scratch(directory),
        segment(std::move(attached)),
        queue(test::must_queue(*segment, "q")),
        task(test::must_task(*segment, "t")),
        self(segment, shm::Role::kTool) {}

  EnqueueStatus add(std::uint64_t number) { return self->enqueue(Numbered(queue, task, number).spec, now).status; }

  // What a keeper does, until nothing is left to do.
  void recover() {
    ASSERT_TRUE(test::wait_until([this] {
      (void)self->sweep_all(now);
      for (std::uint32_t i = 0; i < segment->geometry().participant_count; ++i)
        if (i != self.index() && shm::row_state(segment->row(i).status.load()) != shm::RowState::kFree) return false;
      return true;
    }));
    Keeper keeper(*self);
    keeper.hold(now);
    keeper.patrol_all(now);
    std::uint64_t cursor = 0, freed = 0;
    while (!self->blocks().patrol(cursor, 64, freed)) {
    }
  }

  // Runs everything, delayed or not; how often each number came.
  std::map<std::uint64_t, int> drain() {
    std::map<std::uint64_t, int> seen;
    Keeper keeper(*self);
    for (int idle = 0; idle < 3; ++idle) {
      now += 1000 * kSecond;
      keeper.hold(now);
      keeper.patrol_all(now);
      Lease lease;
      while (self->claim(queue, &lease, 1, now) == 1) {
        idle = 0;
        TaskView view;
        if (!self->view(lease, view)) {
          ADD_FAILURE() << "a task that makes no sense";
          continue;
        }
        std::uint64_t number = ~0ull;
        if (view.payload.size() >= sizeof number) std::memcpy(&number, view.payload.data(), sizeof number);
        ++seen[number];
        EXPECT_EQ(self->begin(lease, view, now), Begin::kStart);
        EXPECT_EQ(self->succeed(lease, view, {}, now), Settled::kDone);
      }
    }
    return seen;
  }

  std::uint64_t count(Counter counter) { return test::total(*self, queue, counter); }

  const ScratchDirectory& scratch;
  std::shared_ptr<shm::Segment> segment;
  std::uint32_t queue, task;
  Attached self;
  std::int64_t now = base::monotonic_ns();
};

class EveryInstruction : public ::testing::Test {
 protected:
  using Work = std::function<void()>;

  // In a fresh world, after `setup`, a child steps through `work`. Each state that it leaves behind is
  // recovered by a process that knows nothing of it, and then judged by `check`.
  void everywhere(const std::function<void(World&)>& setup, const std::function<Work(World&, Attached&)>& work,
                  const std::function<void(World&, bool finished)>& check) {
    ScratchDirectory scratch;
    shm::SegmentOptions options = test::small_segment(scratch);
    options.slot_count = 64;
    options.participant_count = 6;
    options.queue_count = 2;
    options.task_count = 2;
    options.block_bytes = 16ull << 20;
    World world(test::must_create(options), scratch);
    setup(world);
    std::uint64_t points = 0;
    const std::uint64_t steps =
        test::Stepper(world.segment)
            .walk(
                [&] {
                  auto* mine = new Attached(test::must_attach("test", scratch.path()), shm::Role::kWorker);
                  return work(world, *mine);
                },
                [&](const std::string& name, std::uint64_t change, bool finished) {
                  SCOPED_TRACE("killed after change " + std::to_string(change) + (finished ? " (the end)" : ""));
                  World after(test::must_attach(name, scratch.path()), scratch);
                  after.recover();
                  EXPECT_EQ(test::unsettled(*after.self), "");
                  check(after, finished);
                  EXPECT_EQ(test::unsettled(*after.self), "");
                  ++points;
                  return !HasFailure();
                });
    RecordProperty("kill_points", std::to_string(points));
    RecordProperty("instructions", std::to_string(steps));
    std::printf("%llu instructions, killed at %llu of them\n", static_cast<unsigned long long>(steps),
                static_cast<unsigned long long>(points));
    EXPECT_GT(points, 5u) << "the stepper saw nothing";
  }
};

TEST_F(EveryInstruction, Enqueue) {
  everywhere([](World& w) { ASSERT_EQ(w.add(1), EnqueueStatus::kOk); },
             [](World& w, Attached& mine) {
               (void)mine->enqueue(Numbered(w.queue, w.task, 2).spec, w.now);
               return Work([&w, &mine] { (void)mine->enqueue(Numbered(w.queue, w.task, 3).spec, w.now); });
             },
             [](World& w, bool finished) {
               const auto seen = w.drain();
               EXPECT_EQ(seen.count(1), 1u);
               EXPECT_EQ(seen.count(2), 1u);
               if (finished) {
                 EXPECT_EQ(seen.count(3), 1u);
               }
               for (const auto& [number, times] : seen) EXPECT_EQ(times, 1) << number;
               EXPECT_EQ(w.count(Counter::kEnqueued), seen.size());
               EXPECT_EQ(w.count(Counter::kSucceeded), seen.size());
             });
}

TEST_F(EveryInstruction, EnqueueOfABatch) {
  everywhere([](World&) {},
             [](World& w, Attached& mine) {
               (void)mine->enqueue(Numbered(w.queue, w.task, 1).spec, w.now);
               return Work([&w, &mine] {
                 const Numbered a(w.queue, w.task, 2), b(w.queue, w.task, 3), c(w.queue, w.task, 4);
                 const TaskSpec specs[] = {a.spec, b.spec, c.spec};
                 std::size_t done = 0;
                 (void)mine->enqueue_many(specs, 3, nullptr, done, w.now);
               });
             },
             [](World& w, bool finished) {
               const auto seen = w.drain();
               EXPECT_EQ(seen.count(1), 1u);
               if (finished) {
                 EXPECT_EQ(seen.size(), 4u);
               }
               for (const auto& [number, times] : seen) EXPECT_EQ(times, 1) << number;
               EXPECT_EQ(w.count(Counter::kEnqueued), seen.size());
             });
}

TEST_F(EveryInstruction, ClaimAndSucceed) {
  everywhere(
      [](World& w) {
        ASSERT_EQ(w.add(1), EnqueueStatus::kOk);
        ASSERT_EQ(w.add(2), EnqueueStatus::kOk);
      },
      [](World& w, Attached& mine) {
        const auto one = [&w, &mine] {
          Lease lease;
          TaskView view;
          if (mine->claim(w.queue, &lease, 1, w.now) != 1 || !mine->view(lease, view)) return;
          if (mine->begin(lease, view, w.now) != Begin::kStart) return;
          (void)mine->succeed(lease, view, {}, w.now);
        };
        one();
        return Work(one);
      },
      [](World& w, bool finished) {
        const auto seen = w.drain();
        EXPECT_EQ(seen.count(1), 0u) << "the first had been acknowledged";
        if (finished) {
          EXPECT_EQ(seen.size(), 0u);
        }
        EXPECT_EQ(w.count(Counter::kSucceeded), 2u);
        EXPECT_EQ(w.count(Counter::kEnqueued), 2u);
      });
}

TEST_F(EveryInstruction, SucceedWithBlocksResultAndLinks) {
  everywhere(
      [](World& w) {
        const std::uint64_t child_number = 77;
        TaskSpec child;
        child.queue = w.queue;
        child.task = w.task;
        child.payload = std::as_bytes(std::span(&child_number, 1));
        std::string links;
        append_link(links, child);
        TaskExtras extras;
        extras.link = links;
        std::vector<std::uint64_t> payload(100, 1);
        TaskSpec spec;
        spec.queue = w.queue;
        spec.task = w.task;
        spec.payload = std::as_bytes(std::span(payload));
        spec.extras = &extras;
        spec.keep_result = true;
        ASSERT_EQ(w.self->enqueue(spec, w.now).status, EnqueueStatus::kOk);
      },
      [](World& w, Attached& mine) {
        return Work([&w, &mine] {
          Lease lease;
          TaskView view;
          if (mine->claim(w.queue, &lease, 1, w.now) != 1 || !mine->view(lease, view)) return;
          if (mine->begin(lease, view, w.now) != Begin::kStart) return;
          const char result[] = "the result";
          (void)mine->succeed(lease, view, std::as_bytes(std::span(result)), w.now);
        });
      },
      [](World& w, bool finished) {
        const auto seen = w.drain();
        if (finished) {
          EXPECT_FALSE(seen.contains(1));
        }
        ASSERT_TRUE(seen.contains(77)) << "the child of a finished task is lost";
        EXPECT_EQ(seen.at(77), 1);
        EXPECT_EQ(w.count(Counter::kSucceeded), 2u);
        EXPECT_EQ(w.count(Counter::kEnqueued), 2u);
      });
}

TEST_F(EveryInstruction, FailRetryAndBury) {
  everywhere(
      [](World& w) {
        Numbered numbered(w.queue, w.task, 1);
        numbered.spec.max_retries = 1;
        ASSERT_EQ(w.self->enqueue(numbered.spec, w.now).status, EnqueueStatus::kOk);
      },
      [](World& w, Attached& mine) {
        return Work([&w, &mine] {
          for (int attempt = 0; attempt < 2; ++attempt) {
            Lease lease;
            TaskView view;
            if (mine->claim(w.queue, &lease, 1, w.now) != 1 || !mine->view(lease, view)) return;
            if (mine->begin(lease, view, w.now) != Begin::kStart) return;
            bool retried = false;
            (void)mine->fail(lease, view, {"kind", "message"}, 0, w.now, retried);
          }
        });
      },
      [](World& w, bool finished) {
        const auto dead = DeadLetters(*w.self).list({});
        if (finished) {
          EXPECT_EQ(dead.size(), 1u);
        }
        const auto seen = w.drain();
        EXPECT_EQ(dead.size() + seen.size(), 1u);
        EXPECT_EQ(w.count(Counter::kDeadAdded), dead.size());
        EXPECT_EQ(w.count(Counter::kSucceeded), seen.size());
      });
}

TEST_F(EveryInstruction, BuryWithAnErrorLink) {
  everywhere(
      [](World& w) {
        const std::uint64_t child_number = 77;
        TaskSpec child;
        child.queue = w.queue;
        child.task = w.task;
        child.payload = std::as_bytes(std::span(&child_number, 1));
        std::string links;
        append_link(links, child);
        TaskExtras extras;
        extras.link_error = links;
        const std::uint64_t number = 1;
        TaskSpec spec;
        spec.queue = w.queue;
        spec.task = w.task;
        spec.payload = std::as_bytes(std::span(&number, 1));
        spec.extras = &extras;
        ASSERT_EQ(w.self->enqueue(spec, w.now).status, EnqueueStatus::kOk);
      },
      [](World& w, Attached& mine) {
        return Work([&w, &mine] {
          Lease lease;
          TaskView view;
          if (mine->claim(w.queue, &lease, 1, w.now) != 1 || !mine->view(lease, view)) return;
          if (mine->begin(lease, view, w.now) != Begin::kStart) return;
          (void)mine->bury(lease, view, DeadReason::kPermanentFailure, {"kind", "message"}, w.now);
        });
      },
      [](World& w, bool) {
        const auto dead = DeadLetters(*w.self).list({});
        const auto seen = w.drain();
        EXPECT_EQ(dead.size() + seen.count(1), 1u);
        EXPECT_EQ(seen.count(77), dead.size()) << "the error link of a dead letter is lost";
      });
}

// A supervisor buries what its child overran: the lease is another's.
TEST_F(EveryInstruction, BuryOfAnothersLease) {
  std::shared_ptr<Attached> child;
  Lease lease;
  TaskView view;
  everywhere(
      [&](World& w) {
        ASSERT_EQ(w.add(1), EnqueueStatus::kOk);
        child = std::make_shared<Attached>(w.segment, shm::Role::kWorker);
        ASSERT_EQ((*child)->claim(w.queue, &lease, 1, w.now), 1u);
        ASSERT_TRUE((*child)->view(lease, view));
        ASSERT_EQ((*child)->begin(lease, view, w.now), Begin::kStart);
      },
      [&](World& w, Attached& mine) {
        return Work([&] {
          (void)mine->bury(lease, view, DeadReason::kHardTimeLimit, {"hard-time-limit", "ran too long"}, w.now);
        });
      },
      [](World& w, bool finished) {
        const std::uint64_t dead = DeadLetters(*w.self).list({}).size();
        const auto seen = w.drain();
        EXPECT_EQ(dead + seen.size(), 1u) << "buried, or run again, and nothing else";
        if (finished) {
          EXPECT_EQ(dead, 1u);
        }
        EXPECT_EQ(w.count(Counter::kDeadAdded), dead);
        EXPECT_EQ(w.count(Counter::kSucceeded), seen.size());
      });
  child.reset();
}

TEST_F(EveryInstruction, PutOffByALimit) {
  everywhere(
      [](World& w) {
        Control::Limits limits;
        limits.set_rate = true;
        limits.rate = {1, 1};
        Control(*w.self).set_limits(w.queue, limits);
        ASSERT_EQ(w.add(1), EnqueueStatus::kOk);
        ASSERT_EQ(w.add(2), EnqueueStatus::kOk);
      },
      [](World& w, Attached& mine) {
        const auto one = [&w, &mine] {
          Lease lease;
          TaskView view;
          if (mine->claim(w.queue, &lease, 1, w.now) != 1 || !mine->view(lease, view)) return;
          if (mine->begin(lease, view, w.now) == Begin::kStart) (void)mine->succeed(lease, view, {}, w.now);
        };
        one();
        return Work(one);
      },
      [](World& w, bool) {
        Control::Limits lifted;
        lifted.set_rate = true;
        Control(*w.self).set_limits(w.queue, lifted);
        const auto seen = w.drain();
        EXPECT_EQ(seen.size(), 1u);
        EXPECT_EQ(seen.count(2), 1u);
        EXPECT_EQ(w.count(Counter::kSucceeded), 2u);
        EXPECT_EQ(w.count(Counter::kDeadAdded), 0u);
      });
}

TEST_F(EveryInstruction, UniqueEnqueue) {
  everywhere([](World&) {},
             [](World& w, Attached& mine) {
               return Work([&w, &mine] {
                 TaskExtras extras;
                 extras.unique_key = 99;
                 Numbered numbered(w.queue, w.task, 5);
                 numbered.spec.extras = &extras;
                 (void)mine->enqueue(numbered.spec, w.now);
               });
             },
             [](World& w, bool finished) {
               // After recovery the key is held exactly when the first is there.
               const bool there = test::slots_in(*w.segment, State::kReady) == 1;
               if (finished) {
                 EXPECT_TRUE(there);
               }
               TaskExtras extras;
               extras.unique_key = 99;
               Numbered second(w.queue, w.task, 6);
               second.spec.extras = &extras;
               EXPECT_EQ(w.self->enqueue(second.spec, w.now).status,
                         there ? EnqueueStatus::kDuplicate : EnqueueStatus::kOk);
               const auto seen = w.drain();
               EXPECT_EQ(seen.size(), 1u);
               EXPECT_EQ(w.count(Counter::kEnqueued), 1u);
             });
}

TEST_F(EveryInstruction, RevokeAndPurge) {
  everywhere(
      [](World& w) {
        for (std::uint64_t n = 1; n <= 3; ++n) ASSERT_EQ(w.add(n), EnqueueStatus::kOk);
      },
      [](World& w, Attached& mine) { return Work([&w, &mine] { (void)Control(*mine).purge(w.queue, w.now); }); },
      [](World& w, bool finished) {
        const auto seen = w.drain();
        if (finished) {
          EXPECT_EQ(seen.size(), 0u);
        }
        EXPECT_EQ(w.count(Counter::kSucceeded), seen.size());
        EXPECT_EQ(w.count(Counter::kCancelled), 3 - seen.size());
      });
}

TEST_F(EveryInstruction, DeadLetterReplayAndPurge) {
  everywhere(
      [](World& w) {
        for (std::uint64_t n = 1; n <= 2; ++n) {
          ASSERT_EQ(w.add(n), EnqueueStatus::kOk);
          Lease lease;
          TaskView view;
          ASSERT_EQ(w.self->claim(w.queue, &lease, 1, w.now), 1u);
          ASSERT_TRUE(w.self->view(lease, view));
          ASSERT_EQ(w.self->bury(lease, view, DeadReason::kPermanentFailure, {"a", "b"}, w.now), Settled::kDone);
        }
      },
      [](World& w, Attached& mine) {
        return Work([&w, &mine] {
          DeadLetters dead(*mine);
          const auto letters = dead.list({});
          (void)dead.replay(letters[0], 0, w.now);
          (void)dead.purge(letters[1]);
        });
      },
      [](World& w, bool finished) {
        const auto dead = DeadLetters(*w.self).list({});
        const auto seen = w.drain();
        if (finished) {
          EXPECT_EQ(dead.size(), 0u);
        }
        EXPECT_EQ(w.count(Counter::kSucceeded), seen.size());
        EXPECT_EQ(w.count(Counter::kDeadPurged), 2 - seen.size() - dead.size());
        EXPECT_FALSE(seen.contains(2));
      });
}

// The recoverer itself is killed, everywhere, while it sweeps a dead producer and worker.
TEST_F(EveryInstruction, Sweep) {
  everywhere(
      [](World& w) {
        for (std::uint64_t n = 1; n <= 4; ++n) ASSERT_EQ(w.add(n), EnqueueStatus::kOk);
        // Dies holding a reserve, a filled slot, two leases of which one had been started.
        test::Process victim([&w] {
          auto* mine = new Attached(test::must_attach("test", w.scratch.path()), shm::Role::kWorker);
          Loan loan;
          (void)(*mine)->loan(Numbered(w.queue, w.task, 9).spec, 300, loan, w.now);
          Lease leases[2];
          TaskView view;
          if ((*mine)->claim(w.queue, leases, 2, w.now) == 2 && (*mine)->view(leases[0], view))
            (void)(*mine)->begin(leases[0], view, w.now);
          ::raise(SIGKILL);
          return 0;
        });
        ASSERT_EQ(victim.wait(), 128 + SIGKILL);
      },
      [](World& w, Attached& mine) { return Work([&w, &mine] { (void)mine->sweep_all(w.now); }); },
      [](World& w, bool) {
        const auto seen = w.drain();
        EXPECT_EQ(seen.size(), 4u);
        for (const auto& [number, times] : seen) EXPECT_EQ(times, 1) << number;
        EXPECT_EQ(w.count(Counter::kSucceeded), 4u);
        EXPECT_EQ(w.count(Counter::kEnqueued), 4u);
      });
}

// ---- runs: several tasks under one control word

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
                 Lease leases[8];
                 const std::uint32_t n = mine->claim(w.queue, leases, 8, w.now);
                 for (std::uint32_t i = 0; i < n; ++i) {
                   TaskView view;
                   if (!mine->view(leases[i], view)) continue;
                   if (mine->begin(leases[i], view, w.now) != Begin::kStart) continue;
                   (void)mine->succeed(leases[i], view, {}, w.now);
                 }
               });
             },
             [](World& w, bool) { expect_each_acknowledged_once(w, 5); });
}

TEST_F(EveryInstruction, ClaimOfLessThanARun) {
  everywhere([](World& w) { add_run(w, 1, 5); },
             [](World& w, Attached& mine) {
               return Work([&w, &mine] {
                 Lease leases[2];
                 const std::uint32_t n = mine->claim(w.queue, leases, 2, w.now);
                 for (std::uint32_t i = 0; i < n; ++i) {
                   TaskView view;
                   if (!mine->view(leases[i], view)) continue;
                   if (mine->begin(leases[i], view, w.now) != Begin::kStart) continue;
                   (void)mine->succeed(leases[i], view, {}, w.now);
                 }
               });
             },
             [](World& w, bool) { expect_each_acknowledged_once(w, 5); });
}

TEST_F(EveryInstruction, RetryOfAnItemOfARun) {
  everywhere([](World& w) { add_run(w, 1, 5); },
             [](World& w, Attached& mine) {
               return Work([&w, &mine] {
                 Lease leases[8];
                 const std::uint32_t n = mine->claim(w.queue, leases, 8, w.now);
                 for (std::uint32_t i = 0; i < n; ++i) {
                   TaskView view;
                   if (!mine->view(leases[i], view)) continue;
                   if (mine->begin(leases[i], view, w.now) != Begin::kStart) continue;
                   bool retried = false;
                   if (i == 2) {
                     (void)mine->fail(leases[i], view, {"kind", "message"}, 0, w.now, retried);
                   } else {
                     (void)mine->succeed(leases[i], view, {}, w.now);
                   }
                 }
               });
             },
             [](World& w, bool) { expect_each_acknowledged_once(w, 5); });
}

TEST_F(EveryInstruction, SweepOfARun) {
  everywhere(
      [](World& w) {
        add_run(w, 1, 5);
        test::Process victim([&w] {
          auto* mine = new Attached(test::must_attach("test", w.scratch.path()), shm::Role::kWorker);
          Lease leases[8];
          TaskView view;
          const std::uint32_t n = (*mine)->claim(w.queue, leases, 8, w.now);
          for (std::uint32_t i = 0; i < n && i < 3; ++i) {
            if (!(*mine)->view(leases[i], view) || (*mine)->begin(leases[i], view, w.now) != Begin::kStart) continue;
            if (i < 2) (void)(*mine)->succeed(leases[i], view, {}, w.now);
          }
          ::raise(SIGKILL);  // two are acknowledged, the third runs, two have not been started
          return 0;
        });
        ASSERT_EQ(victim.wait(), 128 + SIGKILL);
      },
      [](World& w, Attached& mine) { return Work([&w, &mine] { (void)mine->sweep_all(w.now); }); },
      [](World& w, bool) { expect_each_acknowledged_once(w, 5); });
}

TEST_F(EveryInstruction, ClaimAndSettleARunTogether) {
  everywhere([](World& w) { add_run(w, 1, 5); },
             [](World& w, Attached& mine) {
               return Work([&w, &mine] {
                 Lease leases[8];
                 const std::uint32_t n = mine->claim(w.queue, leases, 8, w.now);
                 for (std::uint32_t i = 0; i < n; ++i) {
                   TaskView view;
                   if (!mine->view(leases[i], view)) continue;
                   if (mine->begin(leases[i], view, w.now) != Begin::kStart) continue;
                   (void)mine->succeed_later(leases[i], view, w.now);
                   if (i == 1) (void)mine->commit_acks();
                 }
               });
             },
             [](World& w, bool) { expect_each_acknowledged_once(w, 5); });
}

TEST_F(EveryInstruction, SweepOfARunWithItemsOverButNotCommitted) {
  everywhere(
      [](World& w) {
        add_run(w, 1, 6);
        test::Process victim([&w] {
          auto* mine = new Attached(test::must_attach("test", w.scratch.path()), shm::Role::kWorker);
          Lease leases[8];
          TaskView view;
          const std::uint32_t n = (*mine)->claim(w.queue, leases, 8, w.now);
          for (std::uint32_t i = 0; i < n && i < 5; ++i) {
            if (!(*mine)->view(leases[i], view) || (*mine)->begin(leases[i], view, w.now) != Begin::kStart) continue;
            if (i < 4) (void)(*mine)->succeed_later(leases[i], view, w.now);
            if (i == 1) (void)(*mine)->commit_acks();
          }
          ::raise(SIGKILL);  // two are acknowledged, two more are over, the fifth runs, the last has not been started
          return 0;
        });
        ASSERT_EQ(victim.wait(), 128 + SIGKILL);
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

}  // namespace
}  // namespace stem::engine
