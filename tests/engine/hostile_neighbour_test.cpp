// A hostile neighbour: one process scribbles over the whole segment, at random and without a pause, while producers,
// workers and a keeper are at work. They may lose tasks, or stop and say why; they never leave the mapping, and never
// hang. (The words of RosterRow::alive are left out: glibc and the kernel keep list pointers there; docs/reliability.md
// says so.)
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/random.hpp"
#include "engine/control.hpp"
#include "engine/dead_letters.hpp"
#include "engine/keeper.hpp"
#include "engine/query.hpp"
#include "engine/verify.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/ledger.hpp"
#include "tests/support/process.hpp"
#include "tests/support/scratch.hpp"
#include "tests/support/wait.hpp"

namespace stem::engine {
namespace {

using test::Attached;
using Clock = std::chrono::steady_clock;

constexpr auto kTime = std::chrono::milliseconds(1500);
constexpr int kDeadlineMs = 20'000;

class Neighbour : public ::testing::Test {
 protected:
  Neighbour() : segment_(test::must_create(test::small_segment(scratch_))) {
    queue_ = test::must_queue(*segment_, "q");
    task_ = test::must_task(*segment_, "t");
  }

  // Each on a mapping of its own, until the time is over.
  test::Process start(const std::function<void(Attached&, base::Random&)>& turn) {
    const std::size_t next = joined_.size();
    joined_.push_back(std::make_unique<test::Ledger>(1));
    return test::Process([this, turn, next] {
      Attached mine(test::must_attach("test", scratch_.path()), shm::Role::kWorker);
      base::Random random(mine.index());
      joined_[next]->append({test::Entry::kOffered, 0, 1});
      for (const auto end = Clock::now() + kTime; Clock::now() < end;) turn(mine, random);
      ::_exit(0);  // leaving properly is not asked of anybody in such a place
      return 0;
    });
  }

  bool belongs_to_the_kernel(std::uint64_t at) const {
    const shm::Offset roster = segment_->layout().roster;
    if (at + 8 <= roster || at >= roster + segment_->geometry().participant_count * sizeof(shm::RosterRow))
      return false;
    for (std::uint64_t byte = at; byte < at + 8; ++byte) {
      const std::uint64_t in_row = (byte - roster) % sizeof(shm::RosterRow);
      if (in_row >= offsetof(shm::RosterRow, alive) &&
          in_row < offsetof(shm::RosterRow, alive) + sizeof(shm::RosterRow::alive))
        return true;
    }
    return false;
  }

  void scribble(shm::Segment& segment, base::Random& random) const {
    const shm::Layout& l = segment.layout();
    const std::pair<shm::Offset, std::uint64_t> places[] = {
        {0, sizeof(shm::Header)}, {l.queues, 320},       {l.roster, 8 * sizeof(shm::RosterRow)},
        {l.slab, 200 * 128},      {l.slab, 200 * 128},   {l.rings, 16384},
        {l.superblock_rows, 64},  {l.blocks, 1u << 20},  {l.returns, 8 * sizeof(shm::ReturnRing)},
        {l.unique, 4096},         {l.limiters, 8192},    {l.delayed, 4096},
        {l.counters, 8192},       {l.block_rings, 4096}, {l.inboxes, 8192}};
    const auto& [from, bytes] = places[random.below(std::size(places))];
    const std::uint64_t at = (from + random.below(bytes)) & ~std::uint64_t{7};
    if (belongs_to_the_kernel(at)) return;
    auto* word = reinterpret_cast<std::atomic<std::uint64_t>*>(segment.base() + at);
    // Nonsense, something near to what is there, or another place's sense.
    const std::uint64_t was = word->load();
    switch (random.below(3)) {
      case 0: word->store(random.next()); break;
      case 1: word->store(was ^ std::uint64_t{1} << random.below(64)); break;
      default: word->store(was + random.below(16) - 8); break;
    }
  }

  test::ScratchDirectory scratch_;
  std::shared_ptr<shm::Segment> segment_;
  std::uint32_t queue_ = 0, task_ = 0;
  std::vector<std::unique_ptr<test::Ledger>> joined_;  // an entry from each that is at work
};

void work(Attached& mine, std::uint32_t queue, base::Random& random) {
  const std::int64_t now = base::monotonic_ns();
  Lease leases[8];
  mine.participant->beat();
  const std::uint32_t n = mine->claim(queue, leases, 8, now);
  for (std::uint32_t i = 0; i < n; ++i) {
    TaskView view;
    if (!mine->view(leases[i], view)) continue;
    volatile unsigned sum = 0;  // every byte that was promised
    for (const std::byte b : view.payload) sum = sum + std::to_integer<unsigned>(b);
    if (mine->begin(leases[i], view, now) != Begin::kStart) continue;
    bool retried = false;
    switch (random.below(5)) {
      case 0: (void)mine->fail(leases[i], view, {"kind", "text"}, 0, now, retried); break;
      case 1: (void)mine->release(leases[i], now); break;
      case 2: (void)set_progress(*mine, leases[i], 0.5, "half"); [[fallthrough]];
      case 3: (void)mine->succeed(leases[i], view, std::as_bytes(std::span("a result")), now); break;
      default: (void)mine->succeed_later(leases[i], view, now); break;
    }
  }
}

void produce(Attached& mine, std::uint32_t queue, std::uint32_t task, base::Random& random) {
  test::Numbered one(queue, task, 7);
  const std::vector<std::byte> large(100 + random.below(5000));
  TaskExtras extras;
  extras.unique_key = 1 + random.below(50);
  extras.concurrency_key = 1 + random.below(4);
  extras.concurrency_limit = 3;
  switch (random.below(4)) {
    case 0: one.spec.payload = large; break;
    case 1: one.spec.extras = &extras; break;
    case 2: one.spec.due_ns = base::monotonic_ns() + 1'000'000; break;
    default: one.spec.keep_result = true; break;
  }
  const TaskSpec specs[] = {one.spec, one.spec, one.spec, one.spec};
  std::size_t done = 0;
  (void)mine->enqueue_many(specs, 1 + random.below(4), nullptr, done, base::monotonic_ns());
}

void look(Attached& mine, Keeper& keeper, base::Random& random) {
  (void)keeper.step(base::monotonic_ns());
  if (random.below(50) != 0) return;
  Query query(*mine);
  (void)query.queues();
  (void)query.workers();
  (void)verify(*mine);
  for (const auto& letter : DeadLetters(*mine).list({}))
    (void)DeadLetters(*mine).replay(letter, 0, base::monotonic_ns());
}

TEST_F(Neighbour, NobodyCrashesAndNobodyHangs) {
  std::vector<std::pair<const char*, test::Process>> all;
  all.emplace_back("producer", start([this](Attached& m, base::Random& r) { produce(m, queue_, task_, r); }));
  for (int i = 0; i < 2; ++i)
    all.emplace_back("worker", start([this](Attached& m, base::Random& r) { work(m, queue_, r); }));
  all.emplace_back("keeper", start([](Attached& m, base::Random& r) {
                     static Keeper keeper(*m);
                     look(m, keeper, r);
                   }));
  ASSERT_TRUE(test::wait_until(
      [this] { return std::all_of(joined_.begin(), joined_.end(), [](const auto& one) { return !one->empty(); }); }));
  test::Process enemy([this] {
    const auto mine = test::must_attach("test", scratch_.path());
    const char* given = std::getenv("STEM_TEST_SEED");
    base::Random random(given == nullptr ? 4711 : std::strtoull(given, nullptr, 10));
    for (const auto end = Clock::now() + std::chrono::minutes(1); Clock::now() < end;) scribble(*mine, random);
    return 0;
  });
  for (auto& [role, process] : all) {
    const int code = process.wait(kDeadlineMs);
    std::printf("%s: %d\n", role, code);
    // 134: a check that failed, by SIGABRT, with its sentence.
    EXPECT_TRUE(code == 0 || code == 128 + SIGABRT)
        << role << (code == 128 + SIGKILL ? ": hung" : ": ended by code ") << code;
  }
  enemy.kill();
}

}  // namespace
}  // namespace stem::engine
