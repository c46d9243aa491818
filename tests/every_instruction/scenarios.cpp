#include "tests/every_instruction/scenarios.hpp"

#include <array>
#include <cstdlib>

namespace stem::engine {
namespace {

using Work = std::function<void()>;

// ---- steps that leave a record

EnqueueStatus offer(World& w, Engine& engine, Ledger& ledger, const TaskSpec& spec, std::uint64_t number) {
  ledger.append({Entry::kOffered, 0, number});
  const EnqueueStatus status = engine.enqueue(spec, w.now).status;
  ledger.append({status == EnqueueStatus::kOk ? Entry::kAccepted : Entry::kRefused, 0, number});
  return status;
}

EnqueueStatus offer(World& w, Engine& engine, Ledger& ledger, std::uint64_t number) {
  return offer(w, engine, ledger, Numbered(w.queue, w.task, number).spec, number);
}

void offer_run(World& w, Engine& engine, Ledger& ledger, std::uint64_t first, std::uint64_t count) {
  std::vector<std::unique_ptr<Numbered>> tasks;
  std::vector<TaskSpec> specs;
  for (std::uint64_t i = 0; i < count; ++i) {
    tasks.push_back(std::make_unique<Numbered>(w.queue, w.task, first + i));
    specs.push_back(tasks.back()->spec);
    ledger.append({Entry::kOffered, 0, first + i});
  }
  std::size_t done = 0;
  (void)engine.enqueue_many(specs.data(), specs.size(), nullptr, done, w.now);
  for (std::uint64_t i = 0; i < count; ++i)
    ledger.append({i < done ? Entry::kAccepted : Entry::kRefused, 0, first + i});
}

std::uint64_t number_in(const TaskView& view) {
  std::uint64_t number = ~0ull;
  if (view.payload.size() >= sizeof number) std::memcpy(&number, view.payload.data(), sizeof number);
  return number;
}

// Claims up to `most` and starts each; `end` has it over and says so.
template <class End>
void work_on(World& w, Attached& mine, Ledger& ledger, std::uint32_t most, End end) {
  Lease leases[8];
  const std::uint32_t n = mine->claim(w.queue, leases, most, w.now);
  for (std::uint32_t i = 0; i < n; ++i) {
    TaskView view;
    if (!mine->view(leases[i], view) || mine->begin(leases[i], view, w.now) != Begin::kStart) continue;
    const std::uint64_t number = number_in(view);
    ledger.append({Entry::kExecuted, 0, number});
    end(leases[i], view, number);
  }
}

void succeed(World& w, Attached& mine, Ledger& ledger, const Lease& lease, const TaskView& view, std::uint64_t number,
             std::string_view result = {}) {
  ledger.append({Entry::kSettling, 0, number});
  const Settled done = mine->succeed(lease, view, std::as_bytes(std::span(result.data(), result.size())), w.now);
  ledger.append({done == Settled::kDone ? Entry::kAcknowledged : Entry::kFenced, 0, number});
}

Scenario producing(const char* name, std::function<void(World&, Attached&, Ledger&)> work) {
  return {name, [](World& w, Ledger& ledger) { (void)offer(w, *w.self, ledger, 1); },
          [work = std::move(work)](World& w, Attached& mine, Ledger& ledger) {
            return Work([&w, &mine, &ledger, work] { work(w, mine, ledger); });
          }};
}

Scenario working(const char* name, std::function<void(World&, Ledger&)> setup,
                 std::function<void(World&, Attached&, Ledger&)> work) {
  return {name, std::move(setup), [work = std::move(work)](World& w, Attached& mine, Ledger& ledger) {
            return Work([&w, &mine, &ledger, work] { work(w, mine, ledger); });
          }};
}

void two_tasks(World& w, Ledger& ledger) {
  (void)offer(w, *w.self, ledger, 1);
  (void)offer(w, *w.self, ledger, 2);
}

void one_with_a_result(World& w, Ledger& ledger) {
  std::array<std::uint64_t, 50> large{1};
  TaskSpec spec;
  spec.queue = w.queue;
  spec.task = w.task;
  spec.payload = std::as_bytes(std::span(large));
  spec.keep_result = true;
  (void)offer(w, *w.self, ledger, spec, 1);
  (void)offer(w, *w.self, ledger, 2);
}

// A worker that died with leases in hand, and a producer with a reserve.
void somebody_died(World& w, Ledger& ledger) {
  for (std::uint64_t n = 1; n <= 3; ++n) (void)offer(w, *w.self, ledger, n);
  test::Process victim([&] {
    auto* mine = new Attached(test::must_attach("test", w.scratch.path()), shm::Role::kWorker);
    work_on(w, *mine, ledger, 2, [](const Lease&, const TaskView&, std::uint64_t) {});
    (void)offer(w, **mine, ledger, 4);
    ::raise(SIGKILL);
    return 0;
  });
  EXPECT_EQ(victim.wait(), 128 + SIGKILL);
  ledger.catch_up();
}

void delayed_and_ready(World& w, Ledger& ledger) {
  for (std::uint64_t n = 1; n <= 3; ++n) {
    Numbered one(w.queue, w.task, n);
    one.spec.due_ns = w.now + 5'000'000;
    (void)offer(w, *w.self, ledger, one.spec, n);
  }
}

// Its leases are over by the clock, and it lives.
void somebody_is_late(World& w, Ledger& ledger) {
  TaskExtras extras;
  extras.visibility_ns = 50'000'000;
  for (std::uint64_t n = 1; n <= 3; ++n) {
    Numbered one(w.queue, w.task, n);
    one.spec.extras = &extras;
    one.spec.auto_renew = false;
    (void)offer(w, *w.self, ledger, one.spec, n);
  }
  work_on(w, w.self, ledger, 2, [](const Lease&, const TaskView&, std::uint64_t) {});
}

// The role is a dead one's, and tasks are waiting for their time.
void a_keeper_died(World& w, Ledger& ledger) {
  delayed_and_ready(w, ledger);
  test::Process victim([&] {
    auto* mine = new Attached(test::must_attach("test", w.scratch.path()), shm::Role::kTool);
    (void)(new Keeper(**mine))->step(w.now);
    ::raise(SIGKILL);
    return 0;
  });
  EXPECT_EQ(victim.wait(), 128 + SIGKILL);
}

// One item fails; the others' acknowledgements share changes. What succeed_later() says holds once it is committed.
void work_on_a_run(World& w, Attached& mine, Ledger& ledger) {
  std::vector<std::uint64_t> recorded;
  const auto committed = [&](Settled done) {
    for (const std::uint64_t number : recorded)
      ledger.append({done == Settled::kDone ? Entry::kAcknowledged : Entry::kFenced, 1, number});
    recorded.clear();
  };
  work_on(w, mine, ledger, 8, [&](const Lease& lease, const TaskView& view, std::uint64_t number) {
    if (number == 3) {
      committed(mine->commit_acks());
      bool retried = false;
      (void)mine->fail(lease, view, {"kind", "message"}, 0, w.now, retried);
      return;
    }
    ledger.append({Entry::kRecorded, 0, number});
    recorded.push_back(number);
    const Settled done = mine->succeed_later(lease, view, w.now);
    if (done != Settled::kDone || !mine->acks_pending()) committed(done);
  });
  committed(mine->commit_acks());
}

std::vector<Scenario> all() {
  std::vector<Scenario> list;
  // ---- a producer
  list.push_back(producing("EnqueueInline", [](World& w, Attached& mine, Ledger& l) { (void)offer(w, *mine, l, 2); }));
  list.push_back(producing("EnqueueBlock", [](World& w, Attached& mine, Ledger& l) {
    std::array<std::uint64_t, 50> large{2};
    TaskSpec spec;
    spec.queue = w.queue;
    spec.task = w.task;
    spec.payload = std::as_bytes(std::span(large));
    (void)offer(w, *mine, l, spec, 2);
  }));
  list.push_back(producing("EnqueueLoan", [](World& w, Attached& mine, Ledger& l) {
    Loan loan;
    TaskSpec spec;
    spec.queue = w.queue;
    spec.task = w.task;
    l.append({Entry::kOffered, 0, 2});
    if (mine->loan(spec, 300, loan, w.now) != EnqueueStatus::kOk) return;
    const std::uint64_t number = 2;
    std::memcpy(loan.payload.data(), &number, sizeof number);
    const EnqueueStatus status = mine->publish(loan, w.now).status;
    l.append({status == EnqueueStatus::kOk ? Entry::kAccepted : Entry::kRefused, 0, 2});
  }));
  list.push_back(producing("EnqueueRun", [](World& w, Attached& mine, Ledger& l) { offer_run(w, *mine, l, 2, 5); }));
  list.push_back(producing("EnqueueDelayed", [](World& w, Attached& mine, Ledger& l) {
    Numbered one(w.queue, w.task, 2);
    one.spec.due_ns = w.now + kSecond;
    (void)offer(w, *mine, l, one.spec, 2);
  }));
  list.push_back(producing("EnqueueUnique", [](World& w, Attached& mine, Ledger& l) {
    TaskExtras extras;
    extras.unique_key = 99;
    for (std::uint64_t n = 2; n <= 3; ++n) {
      Numbered one(w.queue, w.task, n);
      one.spec.extras = &extras;
      (void)offer(w, *mine, l, one.spec, n);
    }
  }));
  list.push_back(
      {"EnqueueFull",
       [](World& w, Ledger& l) {
         for (std::uint64_t n = 100; offer(w, *w.self, l, n) == EnqueueStatus::kOk;) ++n;
       },
       [](World& w, Attached& mine, Ledger& l) { return Work([&w, &mine, &l] { (void)offer(w, *mine, l, 2); }); }});
  // ---- a worker
  list.push_back(working("Succeed", two_tasks, [](World& w, Attached& mine, Ledger& l) {
    for (int i = 0; i < 2; ++i)
      work_on(w, mine, l, 1, [&](const Lease& lease, const TaskView& view, std::uint64_t number) {
        succeed(w, mine, l, lease, view, number);
      });
  }));
  list.push_back(working("SucceedWithResult", one_with_a_result, [](World& w, Attached& mine, Ledger& l) {
    work_on(w, mine, l, 1, [&](const Lease& lease, const TaskView& view, std::uint64_t number) {
      (void)set_progress(*mine, lease, 0.5, "half");
      succeed(w, mine, l, lease, view, number, "the result");
    });
  }));
  list.push_back(working("ExtendAndRetry", two_tasks, [](World& w, Attached& mine, Ledger& l) {
    work_on(w, mine, l, 1, [&](const Lease& lease, const TaskView& view, std::uint64_t) {
      (void)mine->extend(lease, w.now + kSecond);
      bool retried = false;
      (void)mine->fail(lease, view, {"kind", "message"}, 0, w.now, retried);
    });
  }));
  list.push_back(working("SnoozeAndRelease", two_tasks, [](World& w, Attached& mine, Ledger& l) {
    work_on(w, mine, l, 2, [&](const Lease& lease, const TaskView& view, std::uint64_t number) {
      if (number == 1)
        (void)mine->snooze(lease, view, kSecond, w.now);
      else
        (void)mine->release(lease, w.now);
    });
  }));
  list.push_back(working("Bury", two_tasks, [](World& w, Attached& mine, Ledger& l) {
    work_on(w, mine, l, 1, [&](const Lease& lease, const TaskView& view, std::uint64_t) {
      (void)mine->bury(lease, view, DeadReason::kPermanentFailure, {"kind", "message"}, w.now);
    });
  }));
  list.push_back(working(
      "WorkOnARun", [](World& w, Ledger& l) { offer_run(w, *w.self, l, 1, 5); }, work_on_a_run));
  list.back().stride = 40;
  // ---- a keeper
  list.push_back(working("Promote", delayed_and_ready, [](World& w, Attached& mine, Ledger&) {
    Keeper keeper(*mine);
    (void)keeper.step(w.now + kSecond);
  }));
  const std::pair<const char*, void (*)(World&, Ledger&)> of_a_keeper[] = {{"ExpireLeases", somebody_is_late},
                                                                           {"TakeOver", a_keeper_died}};
  for (const auto& [name, before] : of_a_keeper)
    list.push_back(working(name, before, [](World& w, Attached& mine, Ledger&) {
      Keeper keeper(*mine);
      (void)keeper.step(w.now + kSecond);
    }));
  list.push_back(
      working("Sweep", somebody_died, [](World& w, Attached& mine, Ledger&) { (void)mine->sweep_all(w.now); }));
  list.back().stride = 40;
  list.push_back(working("Patrol", somebody_died, [](World& w, Attached& mine, Ledger&) {
    Keeper keeper(*mine);
    keeper.hold(w.now);
    keeper.patrol_all(w.now);
  }));
  // ---- coming and going
  list.push_back(working("AttachAndDetach", two_tasks, [](World& w, Attached&, Ledger& l) {
    Attached other(test::must_attach("test", w.scratch.path()), shm::Role::kClient);
    (void)offer(w, *other, l, 3);
  }));
  list.back().stride = 200;  // most of its instructions are reading /proc
  return list;
}

}  // namespace

const std::vector<Scenario>& scenarios() {
  static const std::vector<Scenario> list = all();
  return list;
}

std::uint64_t every_nth(std::uint64_t quick) {
  const char* wanted = std::getenv("STEM_EVERY_INSTRUCTION");
  return wanted != nullptr && std::string_view(wanted) == "full" ? 1 : quick;
}

void Successors::wait_out_leases() {
  Keeper keeper(*world_.self);
  // Silent for longer than any lease, by the observer's own clamped clock.
  for (int step = 0; step < 400; ++step) {
    world_.now += 100'000'000;
    (void)keeper.step(world_.now);
  }
}

void Successors::take_over() {
  wait_out_leases();
  Lease leases[16];
  const std::uint32_t n = world_.self->claim(world_.queue, leases, 16, world_.now);
  for (std::uint32_t i = 0; i < n; ++i) {
    auto held = std::make_unique<Held>();
    held->lease = leases[i];
    if (world_.self->view(held->lease, held->view) &&
        world_.self->begin(held->lease, held->view, world_.now) == Begin::kStart)
      held_.push_back(std::move(held));
  }
}

void Successors::take_over_and_reuse() {
  wait_out_leases();
  ended_ = world_.drain();
  other_queue_ = test::must_queue(*world_.segment, "other");
  for (std::uint64_t n = kReused;; ++n)
    if (world_.self->enqueue(Numbered(other_queue_, world_.task, n).spec, world_.now).status != EnqueueStatus::kOk)
      break;
}

void Successors::settle() {
  for (const auto& held : held_) {
    EXPECT_EQ(world_.self->succeed(held->lease, held->view, {}, world_.now), Settled::kDone)
        << "somebody else has ended task " << number_in(held->view);
    ++ended_[number_in(held->view)];
  }
  held_.clear();
  if (other_queue_ != 0) (void)Control(*world_.self).purge(other_queue_, world_.now);
}

void expect_all_accounted_for(World& world, const Ledger& ledger, bool killed,
                              const std::map<std::uint64_t, int>& drained_before) {
  struct Life {
    int offered = 0, accepted = 0, refused = 0, acknowledged = 0, settling = 0, recorded = 0;
  };
  std::map<std::uint64_t, Life> lives;
  for (const Entry& e : ledger.entries()) {
    Life& life = lives[e.task];
    life.offered += e.what == Entry::kOffered;
    life.accepted += e.what == Entry::kAccepted;
    life.refused += e.what == Entry::kRefused;
    life.acknowledged += e.what == Entry::kAcknowledged;
    EXPECT_FALSE(e.what == Entry::kExecuted && e.task >= Successors::kReused)
        << "a payload was believed that was another's by then";
    life.settling += e.what == Entry::kSettling;
    life.recorded += e.what == Entry::kRecorded;
  }
  std::map<std::uint64_t, int> drained = world.drain();
  for (const auto& [number, times] : drained_before) drained[number] += times;
  for (const auto& [number, times] : drained)
    EXPECT_TRUE(lives.contains(number)) << "task " << number << " is invented";
  const std::uint64_t dead = DeadLetters(*world.self).list({}).size();
  std::uint64_t missing = 0;
  for (const auto& [number, life] : lives) {
    const int over = life.acknowledged + drained[number];
    EXPECT_LE(over, 1) << "task " << number << " was acknowledged twice";
    EXPECT_FALSE(life.refused > 0 && over > 0) << "task " << number << " was refused, and ran";
    if (life.accepted == 0 || over == 1) continue;
    // The change was made and the process cut off before its own record; or the end of a run's item was on record, and
    // who took the run over took it for over, while its late holder is refused; or it is a dead letter.
    if ((!killed || life.settling == 0) && life.recorded == 0) ++missing;
  }
  EXPECT_LE(missing, dead) << "accepted, and neither acknowledged nor a dead letter";
  EXPECT_EQ(world.count(Counter::kEnqueued), world.count(Counter::kSucceeded) + world.count(Counter::kDeadAdded));
  EXPECT_EQ(world.count(Counter::kDeadAdded), dead);
}

}  // namespace stem::engine
