// One segment under real threads, mapped once and mapped twice. Mapped once, ThreadSanitizer sees every access; mapped
// twice it cannot pair the two addresses of a word, but whatever rests on an address rather than an offset shows.
// Every task has a number, and every number is accounted for.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "engine/control.hpp"
#include "engine/dead_letters.hpp"
#include "engine/query.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/scratch.hpp"

namespace stem::engine {
namespace {

using shm::Counter;
using test::Attached;
using test::Numbered;

constexpr std::uint64_t kProducers = 2;
constexpr std::uint64_t kEach = 3000;
constexpr std::uint64_t kTasks = kProducers * kEach;
constexpr int kWorkers = 2;

// What becomes of each task, by the thread that did it.
struct Account {
  std::vector<std::atomic<std::uint32_t>> acknowledged = std::vector<std::atomic<std::uint32_t>>(kTasks);
  std::atomic<std::uint64_t> ended{0};
  std::atomic<std::uint64_t> nonsense{0};
};

class Mapped : public ::testing::TestWithParam<int> {
 protected:
  Mapped() {
    views_.push_back(test::must_create(test::small_segment(scratch_)));
    for (int i = 1; i < GetParam(); ++i) views_.push_back(test::must_attach("test", scratch_.path()));
    queue_ = test::must_queue(*views_[0], "q");
    task_ = test::must_task(*views_[0], "t");
  }
  // Thread number n works on its own view.
  const std::shared_ptr<shm::Segment>& view(std::size_t n) const { return views_[n % views_.size()]; }

  void produce(std::uint64_t producer);
  void work(std::size_t thread);
  void keep(std::size_t thread);
  void settle(Engine& engine, const Lease& lease, const TaskView& view);

  test::ScratchDirectory scratch_;
  std::vector<std::shared_ptr<shm::Segment>> views_;
  std::uint32_t queue_ = 0, task_ = 0;
  Account account_;
};

// Runs, single tasks, tasks with blocks, results, delays and limits, in turn.
void Mapped::produce(std::uint64_t producer) {
  Attached mine(view(producer), shm::Role::kClient);
  const std::uint64_t first = producer * kEach;
  for (std::uint64_t i = 0; i < kEach;) {
    const std::int64_t now = base::monotonic_ns();
    if (i % 100 < 30 && i + 10 <= kEach) {  // ten at a time: a run
      std::vector<std::unique_ptr<Numbered>> tasks;
      std::vector<TaskSpec> specs;
      for (std::uint64_t k = 0; k < 10; ++k) {
        tasks.push_back(std::make_unique<Numbered>(queue_, task_, first + i + k));
        specs.push_back(tasks.back()->spec);
      }
      std::size_t done = 0;
      if (mine->enqueue_many(specs.data(), specs.size(), nullptr, done, now) != EnqueueStatus::kOk)
        std::this_thread::yield();
      i += done;
      continue;
    }
    Numbered one(queue_, task_, first + i);
    TaskExtras extras;
    std::array<std::uint64_t, 60> large{};
    large[0] = one.number;
    switch (i % 5) {
      case 0: one.spec.due_ns = now + 1'000'000; break;
      case 1: one.spec.payload = std::as_bytes(std::span(large)); break;
      case 2: one.spec.keep_result = true; break;
      case 3:
        extras.unique_key = one.number + 1;
        extras.concurrency_key = 7;
        extras.concurrency_limit = 1;
        one.spec.extras = &extras;
        break;
      default: break;
    }
    if (mine->enqueue(one.spec, now).status == EnqueueStatus::kOk) {
      ++i;
    } else {
      std::this_thread::yield();
    }
  }
}

void Mapped::settle(Engine& engine, const Lease& lease, const TaskView& view) {
  std::uint64_t number = ~0ull;
  if (view.payload.size() >= sizeof number) std::memcpy(&number, view.payload.data(), sizeof number);
  if (number >= kTasks) {
    account_.nonsense.fetch_add(1);
    return;
  }
  const std::int64_t now = base::monotonic_ns();
  bool retried = false;
  if (number % 7 == 0 && view.tally.attempts == 0) {
    (void)engine.fail(lease, view, {"test", "first attempt"}, 0, now, retried);
    return;
  }
  if (number % 11 == 0 && view.tally.releases == 0) {
    (void)engine.release(lease, now);
    return;
  }
  const std::string_view result = "a result";
  const Settled done = number % 2 == 0
                           ? engine.succeed(lease, view, std::as_bytes(std::span(result.data(), result.size())), now)
                           : engine.succeed_later(lease, view, now);
  if (done != Settled::kDone) return;
  account_.acknowledged[number].fetch_add(1);
  account_.ended.fetch_add(1);
}

void Mapped::work(std::size_t thread) {
  Attached mine(view(thread), shm::Role::kWorker);
  Lease leases[8];
  while (account_.ended.load() < kTasks && account_.nonsense.load() == 0) {
    mine.participant->beat();
    const std::uint32_t n = mine->claim(queue_, leases, 8, base::monotonic_ns());
    for (std::uint32_t i = 0; i < n; ++i) {
      TaskView view;
      if (!mine->view(leases[i], view)) {
        account_.nonsense.fetch_add(1);
        continue;
      }
      if (mine->begin(leases[i], view, base::monotonic_ns()) == Begin::kStart) settle(*mine, leases[i], view);
    }
    if (n == 0) std::this_thread::yield();
  }
  (void)mine->commit_acks();
}

// Keeper and reader at once: what watches must not disturb what works.
void Mapped::keep(std::size_t thread) {
  Attached mine(view(thread), shm::Role::kSupervisor);
  Keeper keeper(*mine);
  std::uint64_t looks = 0;
  while (account_.ended.load() < kTasks && account_.nonsense.load() == 0) {
    (void)keeper.step(base::monotonic_ns());
    if (++looks % 64 == 0) {
      (void)Query(*mine).queues();
      (void)verify(*mine);
    }
    std::this_thread::yield();
  }
}

TEST_P(Mapped, EveryTaskIsAcknowledgedOnce) {
  std::vector<std::thread> threads;
  for (std::uint64_t p = 0; p < kProducers; ++p) threads.emplace_back([this, p] { produce(p); });
  for (int w = 0; w < kWorkers; ++w)
    threads.emplace_back([this, w] { work(static_cast<std::size_t>(w) + 1); });
  threads.emplace_back([this] { keep(1); });
  for (auto& thread : threads) thread.join();
  ASSERT_EQ(account_.nonsense.load(), 0u);
  for (std::uint64_t number = 0; number < kTasks; ++number)
    ASSERT_EQ(account_.acknowledged[number].load(), 1u) << "task " << number;
  Attached judge(view(0), shm::Role::kTool);
  EXPECT_EQ(test::total(*judge, queue_, Counter::kEnqueued), kTasks);
  EXPECT_EQ(test::total(*judge, queue_, Counter::kSucceeded), kTasks);
  EXPECT_TRUE(DeadLetters(*judge).list({}).empty());
  Keeper keeper(*judge);
  keeper.hold(base::monotonic_ns());
  keeper.patrol_all(base::monotonic_ns());
  std::uint64_t cursor = 0, freed = 0;
  while (!judge->blocks().patrol(cursor, 64, freed)) {
  }
  EXPECT_EQ(test::unsettled(*judge), "");
}

// Claims of one word by many: exactly one has it at any time, and whoever has it sees what the last one wrote.
TEST_P(Mapped, AControlWordHandsItsDescriptorOver) {
  constexpr int kRounds = 20'000;
  Attached producer(view(0), shm::Role::kClient);
  std::uint32_t slot = 0;
  shm::ControlWord word;
  ASSERT_TRUE(producer.participant->take_slot(slot, word));
  const std::int64_t none = 0;
  std::memcpy(view(0)->descriptor(slot).inline_payload, &none, sizeof none);
  ASSERT_TRUE(view(0)->descriptor(slot).control.change(word, word.with(shm::State::kReady, 0)));
  std::atomic<std::int64_t> held{0};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      Attached mine(view(t), shm::Role::kWorker);
      shm::Descriptor& d = view(t)->descriptor(slot);
      for (int round = 0; round < kRounds; ++round) {
        shm::ControlWord seen = d.control.load();
        if (seen.state() != shm::State::kReady || seen.grant() + 1 >= shm::kMaxGrant) continue;
        const shm::ControlWord leased = seen.with(shm::State::kLeased, mine.participant->owner());
        if (!d.control.change(seen, leased)) continue;
        std::int64_t times = 0;  // plain bytes: whoever holds the word is alone
        std::memcpy(&times, d.inline_payload, sizeof times);
        ++times;
        std::memcpy(d.inline_payload, &times, sizeof times);
        held.fetch_add(1);
        seen = leased;
        if (!d.control.change(seen, leased.regrant(shm::State::kReady))) ADD_FAILURE() << "it was ours";
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_GT(held.load(), 100);
  std::int64_t times = 0;
  std::memcpy(&times, view(0)->descriptor(slot).inline_payload, sizeof times);
  EXPECT_EQ(times, held.load());
}

// A block belongs to one at a time; what is written into it is seen by the next.
TEST_P(Mapped, ABlockBelongsToOneAtATime) {
  std::vector<std::thread> threads;
  std::atomic<std::uint64_t> clashes{0}, taken{0};
  for (std::size_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      Attached mine(view(t), shm::Role::kClient);
      std::uint32_t slot = 0;
      shm::ControlWord word;
      if (!mine.participant->take_slot(slot, word)) return;
      for (std::uint64_t i = 0; i < 3000; ++i) {
        const shm::BlockId id = mine->blocks().take(300, slot, word.generation(), shm::BlockKind::kPayload);
        if (id == shm::kNoBlock) continue;
        const auto room = mine->blocks().bytes(id, shm::block_tag(slot, word.generation(), shm::BlockKind::kPayload));
        const std::uint64_t mark = t << 32 | i;
        std::memcpy(room.data(), &mark, sizeof mark);
        std::uint64_t read = 0;
        std::memcpy(&read, room.data(), sizeof read);
        if (read != mark) clashes.fetch_add(1);
        taken.fetch_add(1);
        mine->blocks().give_back(id, slot, word.generation(), shm::BlockKind::kPayload);
      }
      mine.participant->return_slot(slot, word);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(clashes.load(), 0u);
  EXPECT_GT(taken.load(), 1000u);
}

INSTANTIATE_TEST_SUITE_P(Times, Mapped, ::testing::Values(1, 2),
                         [](const auto& tested) { return tested.param == 1 ? "Once" : "Twice"; });

}  // namespace
}  // namespace stem::engine
