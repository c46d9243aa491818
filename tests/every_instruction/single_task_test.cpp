// Every instruction of the life of single tasks, dead letters, limits and the sweep.
#include "tests/every_instruction/every_instruction.hpp"

namespace stem::engine {
namespace {

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

// What a death leaves behind here at the worst is a region that no lane refers to; no task, and no count.
TEST_F(EveryInstruction, EnqueueThatGrowsARing) {
  constexpr std::uint64_t kFull = std::uint64_t{1} << shm::kFirstRingLog2;
  everywhere(
      [](World& w) {
        for (std::uint64_t n = 1; n <= kFull; ++n) ASSERT_EQ(w.add(n), EnqueueStatus::kOk);
      },
      [](World& w, Attached& mine) {
        return Work([&w, &mine] { (void)mine->enqueue(Numbered(w.queue, w.task, kFull + 1).spec, w.now); });
      },
      [](World& w, bool finished) {
        const auto seen = w.drain();
        EXPECT_TRUE(seen.size() == kFull + 1 || (!finished && seen.size() == kFull)) << seen.size();
        for (const auto& [number, times] : seen) EXPECT_EQ(times, 1) << number;
        EXPECT_EQ(w.count(Counter::kEnqueued), seen.size());
        EXPECT_EQ(w.count(Counter::kSucceeded), seen.size());
      },
      /*slots=*/256);
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

// The lease is lost by the time at which the worker ends its task: what it has on record for that counts for nothing,
// whatever has become of the task meanwhile.
TEST_F(EveryInstruction, SucceedWithALeaseThatWasLost) {
  enum class Meanwhile { kReady, kRuns, kOver, kDead };
  for (const auto meanwhile : {Meanwhile::kReady, Meanwhile::kRuns, Meanwhile::kOver, Meanwhile::kDead}) {
    SCOPED_TRACE(static_cast<int>(meanwhile));
    everywhere([](World& w) { ASSERT_EQ(w.add(1), EnqueueStatus::kOk); },
               [meanwhile](World& w, Attached& mine) {
                 auto* lease = new Lease;
                 auto* view = new TaskView;
                 (void)mine->claim(w.queue, lease, 1, w.now);
                 (void)(mine->view(*lease, *view) && mine->begin(*lease, *view, w.now) == Begin::kStart);
                 auto* other = new Attached(test::must_attach("test", w.scratch.path()), shm::Role::kWorker);
                 Lease theirs = *lease;
                 TaskView same;
                 if (meanwhile != Meanwhile::kDead) (void)(*other)->redeliver_held(mine.index(), w.now);
                 if (meanwhile == Meanwhile::kRuns || meanwhile == Meanwhile::kOver)
                   (void)(*other)->claim(w.queue, &theirs, 1, w.now);
                 if (meanwhile == Meanwhile::kOver && (*other)->view(theirs, same))
                   (void)(*other)->succeed(theirs, same, {}, w.now);
                 if (meanwhile == Meanwhile::kDead && (*other)->view(theirs, same))
                   (void)(*other)->bury(theirs, same, DeadReason::kHardTimeLimit, {"kind", "message"}, w.now);
                 return Work([&w, &mine, lease, view] { (void)mine->succeed(*lease, *view, {}, w.now); });
               },
               [meanwhile](World& w, bool) {
                 (void)w.drain();
                 EXPECT_EQ(w.count(Counter::kSucceeded), meanwhile == Meanwhile::kDead ? 0u : 1u);
                 EXPECT_EQ(w.count(Counter::kDeadAdded), meanwhile == Meanwhile::kDead ? 1u : 0u);
               });
  }
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

}  // namespace
}  // namespace stem::engine
