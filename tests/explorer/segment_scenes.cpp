// Scenes of shm/: ring, control word, returned slots, blocks, roster row, events.
#include "scene.hpp"
#include "shm/blocks.hpp"
#include "shm/event_log.hpp"
#include "shm/ring.hpp"
#include "shm/transitions.hpp"
#include "world.hpp"

namespace explorer {
namespace {

using namespace stem::shm;

struct Bytes : Play {
  ~Bytes() override { unwatch(); }
  template <class T>
  void is_shared(T& memory) {
    unwatch();
    watch(&memory, sizeof memory);
  }
};

// ---- ring

struct SmallRing : Bytes {
  static constexpr std::uint32_t kLog2 = 1;
  struct alignas(64) Shared {
    std::byte ring[sizeof(RingHeader) + 8 * (1u << kLog2)];
    alignas(64) std::atomic<std::uint64_t> told[8];  // what led to the hint of slot i
  };
  SmallRing() {
    is_shared(shared);
    call_it(&header()->head, "head");
    call_it(&header()->tail, "tail");
    call_it(&header()->cells, "cells");
    call_it(shared.told, "told");
  }
  RingHeader* header() { return reinterpret_cast<RingHeader*>(shared.ring); }
  void begin() override {
    for (Ring& r : rings) r = Ring(header(), kLog2);
    for (bool& p : pushed) p = false;
    for (int& p : popped) p = 0;
  }
  void push(int actor, std::uint32_t slot) {
    shared.told[slot].store(slot + 1, std::memory_order_relaxed);
    pushed[slot] = rings[actor].push(1, slot);
  }
  void pop(int actor) {
    Ring& r = rings[actor];
    const std::uint64_t head = r.head();
    HintCell cell;
    if (!r.peek(head, cell)) return;
    EXPLORE_CHECK(shared.told[cell.slot()].load(std::memory_order_relaxed) == cell.slot() + 1,
                  "a hint is seen before what led to it");
    ++popped[cell.slot()];
    r.advance_head(head, head + 1);
  }
  // What was pushed was popped, or is still there.
  void end() override {
    HintCell cell;
    for (std::uint64_t at = rings[0].head(); rings[0].peek(at, cell) && at < rings[0].head() + 8; ++at)
      ++popped[cell.slot()];
    for (std::uint32_t slot = 0; slot < 8; ++slot) {
      EXPLORE_CHECK(!pushed[slot] || popped[slot] > 0, "a hint was lost");
      EXPLORE_CHECK(pushed[slot] || popped[slot] == 0, "a hint that was refused is there");
    }
    EXPLORE_CHECK(rings[0].size() <= rings[0].capacity(), "tail and head are apart");
  }
  Shared shared{};
  Ring rings[4];
  bool pushed[8] = {};
  int popped[8] = {};
};

// Two push, one pops: nothing is lost, no hint comes before what led to it.
struct RingPushPushPop : SmallRing {
  int actors() const override { return 3; }
  void act(int actor) override {
    if (actor == 2) {
      for (int i = 0; i < 3; ++i) pop(2);
    } else {
      for (std::uint32_t i = 0; i < 2; ++i) push(actor, static_cast<std::uint32_t>(actor) * 2 + i);
    }
  }
};

// Many at a time beside one at a time.
struct RingPushMany : SmallRing {
  int actors() const override { return 3; }
  void act(int actor) override {
    if (actor == 0) {
      push(0, 0);
    } else if (actor == 1) {
      HintCell hints[2];
      for (std::uint32_t i = 0; i < 2; ++i) {
        hints[i] = HintCell(0, 1, 4 + i);
        shared.told[4 + i].store(5 + i, std::memory_order_relaxed);
      }
      const std::uint32_t n = rings[1].push_many(hints, 2);
      for (std::uint32_t i = 0; i < n; ++i) pushed[4 + i] = true;
    } else {
      for (int i = 0; i < 3; ++i) pop(2);
    }
  }
};

// A pusher is killed anywhere: the other's pushes go on, nothing of his is lost.
struct RingPusherDies : RingPushPushPop {
  bool mortal(int actor) const override { return actor == 0; }
  void end() override {
    for (std::uint32_t slot = 0; slot < 2; ++slot) pushed[slot] = pushed[slot] || popped[slot] > 0;
    HintCell cell;
    for (std::uint64_t at = rings[1].head(); rings[1].peek(at, cell) && at < rings[1].head() + 8; ++at)
      pushed[cell.slot()] = true;
    SmallRing::end();
  }
};

// Who meets a tail that another has moved, in a ring that was emptied meanwhile, is alone and finds room at once.
struct RingTailMoved : SmallRing {
  RingHeader* header() { return SmallRing::header(); }
  int actors() const override { return 2; }
  void begin() override {
    SmallRing::begin();
    for (Ring& r : rings) r = Ring(header(), 0);
  }
  void act(int actor) override {
    if (actor == 0) {
      push(0, 0);
      pop(0);
      return;
    }
    if (rings[1].tail() != 1 || rings[1].head() != 1) return;
    const HintCell hint(0, 1, 4);
    shared.told[4].store(5, std::memory_order_relaxed);
    pushed[4] = rings[1].push_many(&hint, 1) == 1;
    EXPLORE_CHECK(pushed[4], "the tail is seen, the cell before it is not");
  }
};

// ---- control word

struct OneSlot : Bytes {
  struct alignas(128) Shared {
    Descriptor d;
  };
  OneSlot() {
    is_shared(shared);
    call_it(&shared.d, "task");
  }
  Descriptor& d() { return shared.d; }
  // One life of the slot: taken, filled, published.
  void publish(std::uint32_t payload) {
    ControlWord word = d().control.load();
    const ControlWord mine = word.next_life(1);
    if (!d().control.change(word, mine)) return;
    const std::uint64_t text = payload;
    d().payload_bytes = payload;
    std::memcpy(d().inline_payload, &text, sizeof text);
    word = mine;
    (void)d().control.change(word, mine.with(State::kReady, 0));
  }
  // What it says of the life that the word names; 0 = two different things.
  std::uint64_t read() {
    std::uint64_t text = 0;
    const std::uint32_t bytes = d().payload_bytes;
    std::memcpy(&text, d().inline_payload, sizeof text);
    return bytes == text ? bytes : 0;
  }
  Shared shared{};
};

// Published, claimed, its slot given back: whoever has claimed reads that life's payload.
struct ControlClaim : OneSlot {
  int actors() const override { return 3; }
  void act(int actor) override {
    if (actor == 0) {
      publish(7);
      return;
    }
    const auto owner = static_cast<std::uint32_t>(actor) + 1;
    ControlWord word = d().control.load();
    if (word.state() != State::kReady) return;
    const ControlWord mine = word.with(State::kLeased, owner);
    if (!d().control.change(word, mine)) return;
    ++claims;
    EXPLORE_CHECK(read() == 7, "a claimer reads what the producer has not written");
    word = mine;
    EXPLORE_CHECK(d().control.change(word, mine.with(State::kFree, 0)), "a lease changed under its holder");
  }
  void begin() override { claims = 0; }
  void end() override { EXPLORE_CHECK(claims <= 1, "two have claimed one task"); }
  int claims = 0;
};

// Looked at by somebody who claims nothing: what he believes belongs to one life.
struct ControlLook : OneSlot {
  int actors() const override { return 2; }
  void begin() override {
    publish(3);
    ControlWord word = d().control.load();
    (void)d().control.change(word, word.with(State::kLeased, 1));
    word = d().control.load();
    (void)d().control.change(word, word.with(State::kFree, 0));
  }
  void act(int actor) override {
    if (actor == 0) {
      publish(7);
      return;
    }
    const ControlWord word = d().control.load();
    if (word.state() != State::kReady) return;
    const std::uint64_t seen = read();
    if (d().control.stands(word)) EXPLORE_CHECK(seen == 7, "a look believes what is of the life before");
  }
};

// The lease is taken from its holder, settled by the other, and the slot lives on: of all acknowledgements one counts.
struct ControlFencing : OneSlot {
  int actors() const override { return 2; }
  void begin() override {
    acknowledged = 0;
    publish(7);
    ControlWord word = d().control.load();
    (void)d().control.change(word, word.with(State::kLeased, 2));
    held = d().control.load();
  }
  void act(int actor) override {
    ControlWord word = held;
    if (actor == 0) {
      acknowledged += d().control.change(word, held.with(State::kFree, 0));
      return;
    }
    const ControlWord again = held.regrant(State::kReady);
    if (!d().control.change(word, again)) return;
    word = again;
    if (!d().control.change(word, again.with(State::kLeased, 3))) return;
    word = again.with(State::kLeased, 3);
    acknowledged += d().control.change(word, word.with(State::kFree, 0));
  }
  void end() override { EXPLORE_CHECK(acknowledged == 1, "not exactly one acknowledgement"); }
  ControlWord held;
  int acknowledged = 0;
};

// ---- returned slots

// Who takes a slot from another's returns gets the slot that was returned: its hint is not used up for nothing.
struct ReturnedSlots : World {
  ReturnedSlots() : World(2) {}
  void begin() override {
    World::begin();
    std::uint32_t slot = 0;
    ControlWord word;
    while (self(0).take_slot(slot, word)) {
      if (slot == 40) first = word;
      if (slot == 20) second = word;
    }
    take_all_slots(1);
  }
  void act(int actor) override {
    if (actor == 0) {
      give(40, first);
      give(20, second);
      return;
    }
    std::uint32_t slot = 0;
    ControlWord word;
    if (!self(1).take_slot(slot, word)) return;
    auto& ring = *segment().at<ReturnRing>(segment().layout().returns);
    EXPLORE_CHECK(ring.head.load(std::memory_order_relaxed) == 0 || slot == 40,
                  "a returned slot's hint was read before the slot's number was there");
  }
  void give(std::uint32_t slot, ControlWord word) {
    ControlWord was = word;
    if (descriptor(slot).control.change(was, word.with(State::kFree, 0))) self(0).offer_free(slot);
  }
  ControlWord first, second;
};

// Two take from one participant's returns: each slot is one's alone.
struct TakenTwice : World {
  TakenTwice() : World(3) {}
  void begin() override {
    World::begin();
    taken[0] = taken[1] = taken[2] = ~0u;
    std::uint32_t slot = 0;
    ControlWord word;
    ControlWord given;
    while (self(0).take_slot(slot, word))
      if (slot == 5) given = word;
    ControlWord was = given;
    if (descriptor(5).control.change(was, given.with(State::kFree, 0))) self(0).offer_free(5);
  }
  void act(int actor) override {
    if (actor == 0) return;
    ControlWord word;
    std::uint32_t slot = 0;
    if (self(actor).take_slot(slot, word)) taken[actor] = slot;
  }
  void end() override {
    EXPLORE_CHECK(taken[1] == ~0u || taken[1] != taken[2], "two have one slot");
    EXPLORE_CHECK(taken[1] == 5 || taken[2] == 5, "a free slot was found by nobody");
  }
  std::uint32_t taken[3] = {};
};

// ---- blocks

// One fills a block and gives it back, another takes it and fills it: the lives do not mix.
struct BlockLives : World {
  BlockLives() : World(2) {}
  void begin() override {
    World::begin();
    id = engine(0).blocks().take(100, 1, 1, BlockKind::kPayload);
    theirs = kNoBlock;
  }
  void act(int actor) override {
    const std::uint64_t mine = 0x1111111111111111ull * (static_cast<std::uint64_t>(actor) + 1);
    if (actor == 0) {
      auto bytes = engine(0).blocks().bytes(id, block_tag(1, 1, BlockKind::kPayload));
      std::memcpy(bytes.data(), &mine, sizeof mine);
      engine(0).blocks().give_back(id, 1, 1, BlockKind::kPayload);
      return;
    }
    Blocks& blocks = engine(1).blocks();
    if (!blocks.retag(id, 0, block_tag(2, 1, BlockKind::kPayload))) return;
    theirs = id;
    auto bytes = blocks.bytes(id, block_tag(2, 1, BlockKind::kPayload));
    std::memcpy(bytes.data(), &mine, sizeof mine);
  }
  void end() override {
    if (theirs == kNoBlock) return;
    const auto bytes = engine(1).blocks().bytes(id, block_tag(2, 1, BlockKind::kPayload));
    EXPLORE_CHECK(word_of(bytes.first(8)) == 0x2222222222222222ull, "the next life's bytes are the last one's");
  }
  BlockId id = kNoBlock, theirs = kNoBlock;
};

// ---- roster

// Who meets a live row reads what its participant wrote down when it joined.
struct RosterJoin : World {
  RosterJoin() : World(1) {}
  int actors() const override { return 2; }
  void begin() override {
    World::begin();
    RosterRow& row = segment().row(1);  // as somebody before has left it
    row.role.store(static_cast<std::uint32_t>(Role::kTool), std::memory_order_relaxed);
    row.heartbeat.store(0, std::memory_order_relaxed);
  }
  void act(int actor) override {
    if (actor == 0) {
      auto made = Participant::join(self(0).segment_ptr(), {Role::kGateway, "late"});
      if (made) joined = std::move(*made);
      return;
    }
    const RosterRow& row = segment().row(1);
    if (row_state(row.status.load(std::memory_order_acquire)) != RowState::kLive) return;
    EXPLORE_CHECK(row.role.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(Role::kGateway),
                  "a live row says what its previous participant was");
  }
  void forget() override {
    joined.reset();
    World::forget();
  }
  std::unique_ptr<Participant> joined;
};

// ---- events

// A cell of the event log comes round while it is being copied: what is believed is one event.
struct EventCellTurned : World {
  EventCellTurned() : World(2) {}
  void begin() override {
    World::begin();
    write(1);  // commits the ring, and is what the reader finds
    next_position = segment().row(0).events_next.load(std::memory_order_relaxed);
    reader = std::make_unique<EventReader>(segment(), false);
    // The next one falls on the same cell, as if the ring had been filled meanwhile.
    segment().row(0).events_next.store(next_position - 1 + kEventCells, std::memory_order_relaxed);
    segment().row(0).events_next.store(next_position, std::memory_order_relaxed);
  }
  void write(std::uint64_t what) {
    Event event;
    event.kind = EventKind::kRetry;
    event.at_ns = static_cast<std::int64_t>(what);
    event.value = static_cast<std::int64_t>(what);
    event.handle = what;
    engine(0).events().write(event);
  }
  void act(int actor) override {
    if (actor == 0) {
      segment().row(0).events_next.store(next_position - 1 + kEventCells, std::memory_order_relaxed);
      write(2);
      return;
    }
    for (const ReadEvent& e : reader->read())
      EXPLORE_CHECK(e.event.handle == static_cast<std::uint64_t>(e.event.at_ns) && e.event.value == e.event.at_ns,
                    "half of one event and half of the next");
  }
  void forget() override {
    reader.reset();
    World::forget();
  }
  std::uint64_t next_position = 0;
  std::unique_ptr<EventReader> reader;
};

}  // namespace

void add_segment_scenes(std::vector<Scene>& to) {
  to.push_back({"RingPushPushPop", make_play<RingPushPushPop>});
  to.push_back({"RingPushMany", make_play<RingPushMany>});
  to.push_back({"RingPusherDies", make_play<RingPusherDies>});
  to.push_back({"RingTailMoved", make_play<RingTailMoved>});
  to.push_back({"ControlClaim", make_play<ControlClaim>});
  to.push_back({"ControlLook", make_play<ControlLook>});
  to.push_back({"ControlFencing", make_play<ControlFencing>});
  to.push_back({"ReturnedSlots", make_play<ReturnedSlots>});
  to.push_back({"TakenTwice", make_play<TakenTwice>});
  to.push_back({"BlockLives", make_play<BlockLives>});
  to.push_back({"RosterJoin", make_play<RosterJoin>});
  to.push_back({"EventCellTurned", make_play<EventCellTurned>});
}

}  // namespace explorer
