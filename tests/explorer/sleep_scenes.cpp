// Scenes of who sleeps and who wakes: doorbell, lanes' marks, rings that grow, the keeper's time, the journal's line.
#include "engine/affinity.hpp"
#include "engine/keeper.hpp"
#include "scene.hpp"
#include "shm/doorbell.hpp"
#include "shm/journal_line.hpp"
#include "world.hpp"

namespace explorer {
namespace {

using namespace stem;
using namespace stem::shm;
using engine::Keeper;

// A worker goes to sleep while a task is enqueued: it sees the task, or is rung.
struct SleepOverTask : World {
  SleepOverTask() : World(2) {}
  void begin() override {
    World::begin();
    (void)enqueue(0, payload);  // makes the lane's ring, and its mark
    const engine::Lease lease = claim(1);
    engine::TaskView task;
    if (engine(1).view(lease, task)) (void)engine(1).succeed(lease, task, {}, kNow);
  }
  void act(int actor) override {
    if (actor == 0) {
      (void)enqueue(0, payload);
      return;
    }
    engine(1).lanes().clear_marks(0);
    if (engine(1).maybe_ready(0)) return;
    (void)sleep_for_work(self(1), 1'000'000, [this] { return engine(1).maybe_ready(0); });
  }
  void end() override { EXPLORE_CHECK(timeouts() == 0, "a worker sleeps over a task"); }
  const std::uint64_t payload = 7;
};

// The same with a task that is meant for this worker: its hint is in the worker's inbox, which has no mark.
struct SleepOverInbox : World {
  SleepOverInbox() : World(2) {}
  void act(int actor) override {
    if (actor == 0) {
      Ring inbox = engine::inbox_of(segment(), 1);
      (void)inbox.push(1, 3);
      if (anyone_sleeps(segment())) (void)wake_worker(segment(), 1);
      return;
    }
    (void)sleep_for_work(self(1), 1'000'000, [this] { return engine(1).inbox_has_hints(); });
  }
  void end() override { EXPLORE_CHECK(timeouts() == 0, "a worker sleeps over its inbox"); }
};

// Two workers, two tasks, of which each takes one: nobody sleeps while there is one for him.
struct TwoSleepers : World {
  TwoSleepers() : World(3) {}
  std::atomic<std::uint32_t>& tasks() { return segment().row(0).inflight; }
  bool take() {
    std::uint32_t there = tasks().load(std::memory_order_seq_cst);
    while (there != 0 && !tasks().compare_exchange_strong(there, there - 1, std::memory_order_seq_cst)) {
    }
    return there != 0;
  }
  void act(int actor) override {
    if (actor == 0) {
      for (int i = 0; i < 2; ++i) {
        tasks().fetch_add(1, std::memory_order_seq_cst);
        (void)wake_workers(segment(), 0, 1);
      }
      return;
    }
    const auto seen = [this] { return tasks().load(std::memory_order_seq_cst) != 0; };
    while (!take() && sleep_for_work(self(actor), 1'000'000, seen) != WakeReason::kTimeout) {
    }
  }
  void end() override { EXPLORE_CHECK(timeouts() == 0, "one of two sleepers was not woken"); }
};

// A ring of one cell that is full, popped and filled again while somebody looks whether it is empty, and sleeps if so.
struct SleepOverFullRing : World {
  SleepOverFullRing() : World(3) {}
  void begin() override {
    World::begin();
    for (Ring& r : rings) r = Ring(&segment().at<RingHeader>(segment().layout().free_ring)[0], 0);
    (void)rings[0].push(1, 1);
  }
  void act(int actor) override {
    if (actor == 0) {
      if (rings[0].push(1, 2) && anyone_sleeps(segment())) (void)wake_worker(segment(), 1);
    } else if (actor == 1) {
      (void)sleep_for_work(self(1), 1'000'000, [this] { return !rings[1].empty(); });
    } else {
      const std::uint64_t head = rings[2].head();
      HintCell cell;
      if (rings[2].peek(head, cell)) rings[2].advance_head(head, head + 1);
    }
  }
  void end() override { EXPLORE_CHECK(timeouts() == 0 || rings[0].empty(), "a worker sleeps over a full ring"); }
  Ring rings[3];
};

// A mark is cleared while a hint comes: where a hint is, a mark stands.
struct LaneMark : World {
  LaneMark() : World(2) {}
  void begin() override {
    World::begin();
    (void)enqueue(0, payload);
    const engine::Lease lease = claim(1);
    engine::TaskView task;
    if (engine(1).view(lease, task)) (void)engine(1).succeed(lease, task, {}, kNow);
  }
  void act(int actor) override {
    if (actor == 0)
      engine(0).lanes().push(0, 0, 1, 9);
    else
      engine(1).lanes().clear_marks(0);
  }
  void end() override {
    EXPLORE_CHECK(segment().queue(0).lanes.load() != 0, "a hint in a lane without a mark");
    EXPLORE_CHECK(engine(1).lanes().has_hint(0), "a hint that nobody finds");
  }
  const std::uint64_t payload = 7;
};

// The lane gets its first ring while its mark is cleared.
struct LaneFirstRing : World {
  LaneFirstRing() : World(2) {}
  void begin() override {
    World::begin();
    segment().queue(0).lanes.store(1, std::memory_order_relaxed);  // somebody has pushed, and was killed before
  }
  void act(int actor) override {
    if (actor == 0)
      engine(0).lanes().push(0, 0, 1, 9);
    else
      engine(1).lanes().clear_marks(0);
  }
  void end() override {
    EXPLORE_CHECK(engine(1).lanes().has_hint(0), "a hint in a ring that was not there when the mark was cleared");
  }
};

// A lane's ring is full: one makes it larger, one pushes into the old one as it is drained, which the third then unlinks.
// Both hints are found.
struct LaneGrows : World {
  LaneGrows() : World(3, 512) {}  // more slots than the first ring has cells
  static constexpr std::uint32_t kFull = 1u << kFirstRingLog2;
  void begin() override {
    World::begin();
    for (std::uint32_t i = 0; i < kFull; ++i) engine(0).lanes().push(0, 0, 1, i % 32);
  }
  void act(int actor) override {
    if (actor == 2) {
      Ring first = *engine(2).lanes().oldest(0, 0);
      first.advance_head(0, kFull);
      (void)engine(2).lanes().oldest(0, 0);
    } else {
      engine(actor).lanes().push(0, 0, 2, 33 + static_cast<std::uint32_t>(actor));
    }
  }
  void end() override {
    int found = 0;
    for (Ring* ring = engine(2).lanes().oldest(0, 0); ring != nullptr; ring = engine(2).lanes().oldest(0, 0)) {
      HintCell cell;
      const std::uint64_t head = ring->head();
      if (!ring->peek(head, cell)) break;
      if (cell.slot() >= 33) found |= 1 << (cell.slot() - 33);
      ring->advance_head(head, head + 1);
    }
    EXPLORE_CHECK(found == 3, "a hint was left in a ring that was unlinked");
  }
};

// A task with an earlier time than the keeper's next: the keeper learns of it, or is rung.
struct KeeperDue : World {
  KeeperDue() : World(2) {}
  void begin() override {
    World::begin();
    keeper = std::make_unique<Keeper>(engine(1));
    (void)enqueue(0, payload, kNow + 500);
    (void)keeper->step(kNow);  // says that it will look then
    bell = 0;
  }
  void act(int actor) override {
    if (actor == 0) {
      (void)enqueue(0, payload, kDue);
      return;
    }
    bell = prepare_sleep(self(1));
    next = keeper->step(kNow + 1000);
  }
  void end() override {
    EXPLORE_CHECK(next <= kDue || self(1).row().doorbell.load() != bell, "the keeper sleeps over an earlier task");
  }
  void forget() override {
    if (whole())
      keeper.reset();
    else
      (void)keeper.release();
    World::forget();
  }
  static constexpr std::int64_t kDue = kNow + 1'000'000;
  std::unique_ptr<Keeper> keeper;
  std::uint32_t bell = 0;
  std::int64_t next = 0;
  const std::uint64_t payload = 7;
};

// ---- the journal's line

struct Journal : World {
  explicit Journal(int participants) : World(participants) {}
  void begin() override {
    World::begin();
    segment().header().journal_writer.store(self(1).incarnation() << 12 | self(1).owner(), std::memory_order_relaxed);
    segment().queue(0).durability.store(static_cast<std::uint32_t>(Durability::kSync), std::memory_order_relaxed);
    EXPLORE_CHECK(commit_journal_marks(segment()), "no memory for the journal's marks");
    told = false;
  }
  JournalMarks marks() { return JournalMarks(segment()); }
  bool told = false;
};

// A task is marked while the line of its mark is taken for another's: one of the two looks has it.
struct JournalMarked : Journal {
  JournalMarked() : Journal(2) {}
  void begin() override {
    Journal::begin();
    marks().set(4);
    found = false;
  }
  void act(int actor) override {
    if (actor == 0)
      marks().set(3);
    else
      take();
  }
  void end() override {
    take();
    EXPLORE_CHECK(found, "a mark that no look finds");
  }
  void take() {
    JournalMarks::Line line{};
    std::uint32_t at = 0;
    if (marks().take(at, line)) found = found || (line[0] >> 3 & 1) != 0;
  }
  bool found = false;
};

// A mark comes while the writer goes to sleep: it sees it, or is rung.
struct JournalRests : Journal {
  JournalRests() : Journal(2) {}
  void act(int actor) override {
    JournalMarks seen = marks();
    if (actor == 0)
      note_for_journal(segment(), seen, 3);
    else
      rest_journal(self(1), seen, JournalRest::kUntilWork, 1'000'000);
  }
  void end() override { EXPLORE_CHECK(timeouts() == 0, "the journal's writer sleeps over a mark"); }
};

// A producer waits for the commit with its task: it is told after that is on disk, and sleeps over no commit.
struct JournalCommits : Journal {
  JournalCommits() : Journal(2) {}
  void begin() override {
    Journal::begin();
    on_disk().store(0, std::memory_order_relaxed);
  }
  // Stands for the disk: what the writer has written before it publishes.
  std::atomic<std::uint64_t>& on_disk() { return segment().row(1).rss_bytes; }
  void act(int actor) override {
    if (actor == 0) {
      told = await_journal(segment(), 1, 1'000'000);
      if (told) EXPLORE_CHECK(on_disk().load(std::memory_order_relaxed) == 1, "told before it was on disk");
      return;
    }
    on_disk().store(1, std::memory_order_relaxed);
    publish_journal(segment(), 1);
  }
  void end() override {
    EXPLORE_CHECK(timeouts() == 0, "a waiter sleeps over its commit");
    EXPLORE_CHECK(told, "woken by the commit, and not told of it");
  }
};

// A producer waits, the writer rests until somebody does: neither sleeps over the other.
struct JournalAwaited : Journal {
  JournalAwaited() : Journal(2) {}
  void act(int actor) override {
    if (actor == 0) {
      while (!await_journal(segment(), 1, 1'000'000) && timeouts() == 0) {
      }
      return;
    }
    rest_journal(self(1), marks(), JournalRest::kUntilCommit, 1'000'000);
    publish_journal(segment(), 1);
  }
  void end() override { EXPLORE_CHECK(timeouts() == 0, "the writer rests although somebody waits"); }
};

}  // namespace

void add_sleep_scenes(std::vector<Scene>& to) {
  to.push_back({"SleepOverTask", make_play<SleepOverTask>});
  to.push_back({"SleepOverInbox", make_play<SleepOverInbox>});
  to.push_back({"TwoSleepers", make_play<TwoSleepers>});
  to.push_back({"SleepOverFullRing", make_play<SleepOverFullRing>});
  to.push_back({"LaneMark", make_play<LaneMark>});
  to.push_back({"LaneFirstRing", make_play<LaneFirstRing>});
  to.push_back({"LaneGrows", make_play<LaneGrows>});
  to.push_back({"KeeperDue", make_play<KeeperDue>});
  to.push_back({"JournalMarked", make_play<JournalMarked>});
  to.push_back({"JournalRests", make_play<JournalRests>});
  to.push_back({"JournalCommits", make_play<JournalCommits>});
  to.push_back({"JournalAwaited", make_play<JournalAwaited>});
}

}  // namespace explorer
