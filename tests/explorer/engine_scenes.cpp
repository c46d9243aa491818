// Scenes of the engine: late looks, taken leases, the dead and who recovers them, runs, unique keys, ticks.
#include "engine/extension.hpp"
#include "scene.hpp"
#include "shm/schedule_rows.hpp"
#include "world.hpp"

namespace explorer {
namespace {

using namespace stem;
using engine::Lease;
using engine::Settled;
using engine::TaskView;
using shm::ControlWord;
using shm::Counter;
using shm::State;

const std::uint64_t kFirst = 0x1111111111111111, kSecond = 0x2222222222222222;

// A worker that lost its lease looks at the task while a second ends it, and a third has the slot for the next one: what
// the first believes is its own task.
struct LateLook : World {
  LateLook() : World(3) {}
  void begin() override {
    World::begin();
    (void)enqueue(0, kFirst);
    lease = claim(0);
    take_all_slots(2);
    take_all_slots(1);
  }
  void act(int actor) override {
    TaskView task;
    if (actor == 0) {
      if (engine(0).view(lease, task))
        EXPLORE_CHECK(word_of(task.payload) == kFirst, "the next task's payload is believed");
    } else if (actor == 1) {
      if (engine(1).redeliver_held(0, kNow) == 0) return;
      const Lease mine = claim(1);
      if (mine.slot != ~0u && engine(1).view(mine, task)) (void)engine(1).succeed(mine, task, {}, kNow);
    } else {
      (void)enqueue(2, kSecond);
    }
  }
  Lease lease;
};

// The same with a block, which the next task of another slot has meanwhile.
struct LateLookInBlock : World {
  LateLookInBlock() : World(3) {}
  void begin() override {
    World::begin();
    (void)enqueue(0, kFirst);
    lease = claim(0);
    id = engine(0).blocks().take(100, lease.slot, lease.word.generation(), shm::BlockKind::kPayload);
    std::memcpy(engine(0).blocks().bytes(id, tag()).data(), &kFirst, sizeof kFirst);
  }
  std::uint64_t tag() const { return shm::block_tag(lease.slot, lease.word.generation(), shm::BlockKind::kPayload); }
  void act(int actor) override {
    shm::Blocks& blocks = engine(actor).blocks();
    if (actor == 0) {
      const auto bytes = blocks.bytes(id, tag());
      if (bytes.empty()) return;
      std::uint64_t seen = 0;
      std::memcpy(&seen, bytes.data(), sizeof seen);
      if (engine(0).holds(lease)) EXPLORE_CHECK(seen == kFirst, "the next task's payload is believed");
    } else if (actor == 1) {
      ControlWord word = lease.word;
      if (!descriptor(lease.slot).control.change(word, word.with(State::kFree, 0))) return;
      blocks.give_back(id, lease.slot, lease.word.generation(), shm::BlockKind::kPayload);
    } else {
      const std::uint64_t next = shm::block_tag(60, 1, shm::BlockKind::kPayload);
      if (blocks.retag(id, 0, next)) std::memcpy(blocks.bytes(id, next).data(), &kSecond, sizeof kSecond);
    }
  }
  Lease lease;
  shm::BlockId id = shm::kNoBlock;
};

// A signal says, wrongly, that a worker has died: its task is another's at once, and one of the two ends it.
struct WrongSignal : World {
  WrongSignal() : World(2) {}
  void begin() override {
    World::begin();
    (void)enqueue(0, kFirst);
    lease = claim(0);
    done = 0;
  }
  void act(int actor) override {
    TaskView task;
    Lease mine = lease;
    if (actor == 1) {
      (void)engine(1).redeliver_held(0, kNow);
      mine = claim(1);
      if (mine.slot == ~0u) return;
    }
    if (!engine(actor).view(mine, task)) return;
    EXPLORE_CHECK(word_of(task.payload) == kFirst, "a wrong payload");
    done += engine(actor).succeed(mine, task, {}, kNow) == Settled::kDone;
  }
  void end() override {
    EXPLORE_CHECK(done == 1, "not exactly one acknowledgement");
    EXPLORE_CHECK(counted(Counter::kSucceeded) == 1, "the count is not true");
  }
  Lease lease;
  int done = 0;
};

// ---- the dead

// A producer is killed at any step: whoever sweeps finds the counts true, and what was accepted is there.
struct ProducerDies : World {
  ProducerDies() : World(2) {}
  bool mortal(int actor) const override { return actor == 0; }
  void begin() override {
    World::begin();
    (void)enqueue(0, kFirst);
    accepted = 0;
  }
  void act(int actor) override {
    if (actor == 0) {
      for (int i = 0; i < 2; ++i) accepted += enqueue(0, kSecond).status == engine::EnqueueStatus::kOk;
      return;
    }
    await_end(0);
    if (is_dead(0)) EXPLORE_CHECK(engine(1).sweep(0, kNow), "the dead one was not swept");
  }
  void end() override {
    std::uint64_t there = 0;
    for (std::uint32_t slot = 0; slot < 64; ++slot) {
      const ControlWord word = descriptor(slot).control.load();
      there += word.state() == State::kReady;
      EXPLORE_CHECK(!is_dead(0) || word.owner() != 1, "something of the dead one's is left");
    }
    EXPLORE_CHECK(there >= accepted + 1, "an accepted task is lost");
    EXPLORE_CHECK(counted(Counter::kEnqueued) == there, "a task is not counted, or twice");
  }
  std::uint64_t accepted = 0;
};

// A worker is killed at any step: its task is run again or is over, and counted once.
struct WorkerDies : World {
  WorkerDies() : World(2) {}
  bool mortal(int actor) const override { return actor == 0; }
  void begin() override {
    World::begin();
    (void)enqueue(1, kFirst);
  }
  void work(int i) {
    TaskView task;
    const Lease lease = claim(i);
    if (lease.slot == ~0u || !engine(i).view(lease, task)) return;
    EXPLORE_CHECK(word_of(task.payload) == kFirst, "a wrong payload");
    if (engine(i).begin(lease, task, kNow) == engine::Begin::kStart) (void)engine(i).succeed(lease, task, {}, kNow);
  }
  void act(int actor) override {
    if (actor == 0) {
      work(0);
      return;
    }
    await_end(0);
    if (is_dead(0)) EXPLORE_CHECK(engine(1).sweep(0, kNow), "the dead one was not swept");
    work(1);
  }
  void end() override {
    EXPLORE_CHECK(counted(Counter::kSucceeded) == 1, "the task is not over, or over twice");
    for (std::uint32_t slot = 0; slot < 64; ++slot)
      EXPLORE_CHECK(!is_dead(0) || descriptor(slot).control.load().owner() != 1, "something of the dead one's is left");
  }
};

// Two recover the same worker at once, one of whom is only told of it by a signal.
struct TwoRecover : World {
  TwoRecover() : World(3) {}
  bool mortal(int actor) const override { return actor == 0; }
  void begin() override {
    World::begin();
    (void)enqueue(1, kFirst);
    lease = claim(0);
  }
  void act(int actor) override {
    if (actor == 0) {
      TaskView task;
      if (engine(0).view(lease, task)) (void)engine(0).succeed(lease, task, {}, kNow);
      return;
    }
    if (actor == 2) {
      (void)engine(2).redeliver_held(0, kNow);
      return;
    }
    await_end(0);
    if (is_dead(0)) (void)engine(1).sweep(0, kNow);
  }
  void end() override {
    const ControlWord word = descriptor(lease.slot).control.load();
    const bool there = word.state() == State::kReady, over = word.state() == State::kFree && word.grant() == 0;
    EXPLORE_CHECK(there != over, "the task is neither there nor over, or both");
    EXPLORE_CHECK(counted(Counter::kSucceeded) == (over ? 1 : 0), "the count is not true");
  }
  Lease lease;
};

// A worker's lease is taken by a signal, and the task ended by another; the worker ends it too, and is killed at any step.
struct LateWorkerDies : World {
  LateWorkerDies() : World(2) {}
  bool mortal(int actor) const override { return actor == 0; }
  void begin() override {
    World::begin();
    (void)enqueue(1, kFirst);
    lease = claim(0);
  }
  void act(int actor) override {
    TaskView task;
    if (actor == 0) {
      if (engine(0).view(lease, task)) (void)engine(0).succeed(lease, task, {}, kNow);
      return;
    }
    (void)engine(1).redeliver_held(0, kNow);
    const Lease mine = claim(1);
    if (mine.slot != ~0u && engine(1).view(mine, task)) (void)engine(1).succeed(mine, task, {}, kNow);
    await_end(0);
    if (is_dead(0)) EXPLORE_CHECK(engine(1).sweep(0, kNow), "the dead one was not swept");
  }
  void end() override {
    EXPLORE_CHECK(descriptor(lease.slot).control.load().state() == State::kFree, "the task is not over");
    EXPLORE_CHECK(counted(Counter::kSucceeded) == 1, "the count is not true");
  }
  Lease lease;
};

// ---- runs

struct Run : World {
  Run() : World(2) {}
  static constexpr std::uint32_t kItems = 4;
  void begin() override {
    World::begin();
    engine::TaskSpec specs[kItems];
    for (auto& spec : specs) spec.payload = std::as_bytes(std::span(&kFirst, 1));
    std::size_t made = 0;
    (void)engine(0).enqueue_many(specs, kItems, nullptr, made, kNow);
    (void)engine(0).claim(0, leases, kItems, kNow);
    done[0] = done[1] = 0;
  }
  // What a handler does outside: it must be visible to whoever takes its item for over.
  std::atomic<std::uint64_t>& effect() { return segment().row(0).rss_bytes; }
  void handle_first() {
    TaskView task;
    if (!engine(0).view(leases[0], task) || engine(0).begin(leases[0], task, kNow) != engine::Begin::kStart) return;
    effect().store(1, std::memory_order_relaxed);
    settle(task);
  }
  virtual void settle(const TaskView& task) = 0;
  void act(int actor) override {
    if (actor == 0) {
      handle_first();
      return;
    }
    (void)engine(1).redeliver_held(0, kNow);
    Lease mine[kItems + 1];
    const std::uint32_t n = engine(1).claim(0, mine, kItems, kNow);
    if (n == 0) return;
    bool again = false;
    for (std::uint32_t i = 0; i < n; ++i) again = again || mine[i].item == 1 || mine[i].item == 0;
    if (!again)
      EXPLORE_CHECK(effect().load(std::memory_order_relaxed) == 1, "an item is over, and what it did is not visible");
  }
  Lease leases[kItems];
  int done[2] = {};
};

// A run is taken from a worker that has an item's end on record.
struct RunRecorded : Run {
  void settle(const TaskView& task) override { (void)engine(0).succeed_later(leases[0], task, kNow); }
};

// ... that commits the item's end.
struct RunCommitted : Run {
  void settle(const TaskView& task) override { (void)engine(0).succeed(leases[0], task, {}, kNow); }
};

// A worker and its successor end the same item: one of them counts.
struct RunItemTwice : Run {
  void settle(const TaskView& task) override {
    done[0] = engine(0).succeed(leases[0], task, {}, kNow) == Settled::kDone;
  }
  void act(int actor) override {
    if (actor == 0) {
      handle_first();
      return;
    }
    (void)engine(1).redeliver_held(0, kNow);
    Lease mine[kItems + 1];
    const std::uint32_t n = engine(1).claim(0, mine, kItems, kNow);
    for (std::uint32_t i = 0; i < n; ++i) {
      TaskView task;
      if (!engine(1).view(mine[i], task)) continue;
      const bool ended = engine(1).succeed(mine[i], task, {}, kNow) == Settled::kDone;
      done[1] += ended && (mine[i].item == 1 || mine[i].item == 0);
    }
  }
  void end() override {
    EXPLORE_CHECK(done[0] + done[1] <= 1, "two ends of one item");
    EXPLORE_CHECK(counted(Counter::kSucceeded) <= kItems, "more ends than items");
  }
};

// The worker is killed at any step, while a signal that may be wrong gives its run to a successor, who ends all of it.
struct RunHolderDies : Run {
  bool mortal(int actor) const override { return actor == 0; }
  void end_all() {
    Lease mine[kItems + 1];
    const std::uint32_t n = engine(1).claim(0, mine, kItems, kNow);
    for (std::uint32_t i = 0; i < n; ++i) {
      TaskView task;
      if (engine(1).view(mine[i], task)) (void)engine(1).succeed(mine[i], task, {}, kNow);
    }
  }
  void act(int actor) override {
    if (actor == 0) {
      handle_first();
      return;
    }
    (void)engine(1).redeliver_held(0, kNow);
    end_all();
    await_end(0);
    if (is_dead(0)) EXPLORE_CHECK(engine(1).sweep(0, kNow), "the dead one was not swept");
    end_all();
  }
  void end() override { EXPLORE_CHECK(counted(Counter::kSucceeded) == kItems, "the count is not true"); }
};

struct RunHolderDiesAtItems : RunHolderDies {
  void settle(const TaskView& task) override { (void)engine(0).succeed(leases[0], task, {}, kNow); }
};

struct RunHolderDiesAtRecords : RunHolderDies {
  void settle(const TaskView& task) override {
    (void)engine(0).succeed_later(leases[0], task, kNow);
    (void)engine(0).commit_acks();
  }
};

// ---- unique keys

// Two enqueue the same unique task: one of them has it.
struct UniqueTwice : World {
  UniqueTwice() : World(2) {}
  void begin() override {
    World::begin();
    made[0] = made[1] = false;
  }
  void act(int actor) override {
    engine::TaskExtras extras;
    extras.unique_key = 77;
    made[actor] = enqueue(actor, kFirst, 0, &extras).status == engine::EnqueueStatus::kOk;
  }
  void end() override { EXPLORE_CHECK(made[0] != made[1], "both have the key, or neither"); }
  bool made[2] = {};
};

// ---- ticks of schedules

// Two fire the same tick, and a third helps: it becomes one task, which runs, and its time is written down.
struct TickTwice : World {
  TickTwice() : World(3) {}
  void begin() override {
    World::begin();
    segment().header().schedules_used.store(1, std::memory_order_relaxed);
    fired[0] = fired[1] = false;
  }
  void act(int actor) override {
    if (actor == 2) {
      engine(2).complete_turns();
      return;
    }
    engine::TaskSpec spec;
    spec.payload = std::as_bytes(std::span(&kFirst, 1));
    fired[actor] =
        engine(actor).fire_tick(spec, 0, kPlanned, shm::TurnWord(0), kNow).status == engine::TickStatus::kFired;
  }
  void end() override {
    EXPLORE_CHECK(fired[0] != fired[1], "not fired, or fired twice");
    std::uint64_t there = 0;
    for (std::uint32_t slot = 0; slot < 64; ++slot) there += descriptor(slot).control.load().state() == State::kReady;
    EXPLORE_CHECK(there == 1, "the tick's task does not run");
    EXPLORE_CHECK(segment().schedule(0).fired_ns.load() == kPlanned, "the planned time is not written down");
    EXPLORE_CHECK(segment().schedule(0).fired.load() == 1, "not counted once");
  }
  static constexpr std::int64_t kPlanned = 12'345;
  bool fired[2] = {};
};

}  // namespace

void add_engine_scenes(std::vector<Scene>& to) {
  to.push_back({"LateLook", make_play<LateLook>});
  to.push_back({"LateLookInBlock", make_play<LateLookInBlock>});
  to.push_back({"WrongSignal", make_play<WrongSignal>});
  to.push_back({"ProducerDies", make_play<ProducerDies>});
  to.push_back({"WorkerDies", make_play<WorkerDies>});
  to.push_back({"TwoRecover", make_play<TwoRecover>});
  to.push_back({"LateWorkerDies", make_play<LateWorkerDies>});
  to.push_back({"RunRecorded", make_play<RunRecorded>});
  to.push_back({"RunCommitted", make_play<RunCommitted>});
  to.push_back({"RunItemTwice", make_play<RunItemTwice>});
  to.push_back({"RunHolderDiesAtItems", make_play<RunHolderDiesAtItems>});
  to.push_back({"RunHolderDiesAtRecords", make_play<RunHolderDiesAtRecords>});
  to.push_back({"UniqueTwice", make_play<UniqueTwice>});
  to.push_back({"TickTwice", make_play<TickTwice>});
}

}  // namespace explorer
