// The machine against the language: small programs whose results are known.
#include "exchange.hpp"
#include "scene.hpp"

namespace explorer {
namespace {

using enum std::memory_order;

struct Litmus2 : Play {
  struct alignas(64) Shared {
    std::atomic<std::uint64_t> x, y, z;
  };
  Litmus2() {
    unwatch();
    watch(&s, sizeof s);
    call_it(&s.x, "x");
    call_it(&s.y, "y");
    call_it(&s.z, "z");
  }
  ~Litmus2() override { unwatch(); }
  int actors() const override { return 2; }
  Shared s{};
  std::uint64_t a = 0, b = 0;
};

// Message passing: the flag is there, and what led to it is not.
template <std::memory_order Write, std::memory_order Read>
struct Message : Litmus2 {
  void act(int actor) override {
    if (actor == 0) {
      s.x.store(1, relaxed);
      s.y.store(1, Write);
    } else if (s.y.load(Read) == 1) {
      EXPLORE_CHECK(s.x.load(relaxed) == 1, "flag without message");
    }
  }
};

struct MessageByFences : Litmus2 {
  void act(int actor) override {
    if (actor == 0) {
      s.x.store(1, relaxed);
      std::atomic_thread_fence(release);
      s.y.store(1, relaxed);
    } else if (s.y.load(relaxed) == 1) {
      std::atomic_thread_fence(acquire);
      EXPLORE_CHECK(s.x.load(relaxed) == 1, "flag without message");
    }
  }
};

// A read-modify-write between the two, relaxed: the release goes on through it.
struct Chain : Litmus2 {
  int actors() const override { return 3; }
  void act(int actor) override {
    if (actor == 0) {
      s.x.store(1, relaxed);
      s.y.store(1, release);
    } else if (actor == 1) {
      s.y.fetch_add(1, relaxed);
    } else if (s.y.load(acquire) == 2) {
      EXPLORE_CHECK(s.x.load(relaxed) == 1, "chain without message");
    }
  }
};

// Store buffering: both look before they see each other's store.
template <std::memory_order Write, std::memory_order Read>
struct Buffered : Litmus2 {
  void begin() override { a = b = 1; }
  void act(int actor) override {
    if (actor == 0) {
      s.x.store(1, Write);
      a = s.y.load(Read);
    } else {
      s.y.store(1, Write);
      b = s.x.load(Read);
    }
  }
  void end() override { EXPLORE_CHECK(a + b != 0, "neither saw the other"); }
};

// Two loads of one location never go back.
struct Coherence : Litmus2 {
  void act(int actor) override {
    if (actor == 0) {
      s.x.store(1, relaxed);
      s.x.store(2, relaxed);
    } else {
      const std::uint64_t first = s.x.load(relaxed);
      EXPLORE_CHECK(s.x.load(relaxed) >= first, "went back");
    }
  }
};

struct Added : Litmus2 {
  void act(int) override {
    for (int i = 0; i < 2; ++i) s.x.fetch_add(1, relaxed);
  }
  void end() override { EXPLORE_CHECK(s.x.load() == 4, "an addition was lost"); }
};

// What a reader copies between two looks at a stamp; without the fences the copy is of two lives.
template <bool Fences>
struct Stamped : Litmus2 {
  void act(int actor) override {
    if (actor == 0) {
      s.x.store(1, relaxed);
      if (Fences) std::atomic_thread_fence(release);
      s.y.store(7, relaxed);
      s.z.store(7, relaxed);
      s.x.store(2, release);
      return;
    }
    const std::uint64_t before = s.x.load(acquire);
    a = s.y.load(relaxed);
    b = s.z.load(relaxed);
    if (Fences) std::atomic_thread_fence(acquire);
    if (before != 1 && s.x.load(relaxed) == before) EXPLORE_CHECK(a == b, "half a copy was believed");
  }
};

// The same plain word, copied into by both: a race, and none when a flag is between them.
template <bool Ordered>
struct Race : Litmus2 {
  void act(int actor) override {
    const std::uint64_t mine = 1;
    if (actor == 0) {
      std::memcpy(&s.x, &mine, sizeof mine);
      s.y.store(1, release);
    } else if (!Ordered || s.y.load(acquire) == 1) {
      std::memcpy(&s.x, &mine, sizeof mine);
    }
  }
};

// Who dies may leave a relaxed store undone that comes before another; a release store keeps what came before it.
template <std::memory_order Second>
struct Death : Litmus2 {
  bool mortal(int actor) const override { return actor == 0; }
  void act(int actor) override {
    if (actor == 0) {
      s.x.store(1, relaxed);
      s.y.store(1, Second);
      s.z.store(1, relaxed);
    } else {
      await_end(0);
      if (s.y.load(relaxed) == 1) EXPLORE_CHECK(s.x.load(relaxed) == 1, "the second without the first");
    }
  }
};

struct Asleep : Litmus2 {
  void act(int actor) override {
    auto* word = reinterpret_cast<std::uint32_t*>(&s.x);
    if (actor == 0) {
      s.x.fetch_add(1, relaxed);
      explored_syscall(SYS_futex, word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
    } else {
      explored_syscall(SYS_futex, word, FUTEX_WAIT, 0, nullptr, nullptr, 0);
    }
  }
  void end() override { EXPLORE_CHECK(timeouts() == 0, "slept over it"); }
};

template <class P>
constexpr Scene of(const char* name) {
  return {name, make_play<P>};
}

}  // namespace

const std::vector<Litmus>& litmus_tests() {
  static const std::vector<Litmus> all = {
      {of<Message<release, acquire>>("MessageReleaseAcquire"), false},
      {of<Message<relaxed, acquire>>("MessageRelaxedStore"), true},
      {of<Message<release, relaxed>>("MessageRelaxedLoad"), true},
      {of<MessageByFences>("MessageByFences"), false},
      {of<Chain>("ChainOfChanges"), false},
      {of<Buffered<seq_cst, seq_cst>>("BufferedSequential"), false},
      {of<Buffered<release, acquire>>("BufferedReleaseAcquire"), true},
      {of<Buffered<seq_cst, acquire>>("BufferedHalfSequential"), true},
      {of<Coherence>("Coherence"), false},
      {of<Added>("Added"), false},
      {of<Stamped<true>>("StampedByFences"), false},
      {of<Stamped<false>>("StampedWithoutFences"), true},
      {of<Race<true>>("RaceOrdered"), false},
      {of<Race<false>>("RaceUnordered"), true},
      {of<Death<release>>("DeathAfterRelease"), false},
      {of<Death<relaxed>>("DeathAfterRelaxed"), true},
      {of<Asleep>("AsleepOnAChangedWord"), false},
  };
  return all;
}

}  // namespace explorer
