// Scenes of limits: places of a concurrency limit, permits and batches that come from the cluster.
#include "engine/limiter.hpp"
#include "engine/shared_limits.hpp"
#include "scene.hpp"
#include "world.hpp"

namespace explorer {
namespace {

using namespace stem;
using engine::Lease;
using engine::Limiter;
using engine::LimitsOf;
using engine::SharedLimits;

const std::uint64_t kPayload = 7;
constexpr std::uint64_t kKey = 0x4711;
constexpr std::int64_t kLong = kNow + 1'000'000'000'000;

struct Limits : World {
  explicit Limits(int participants) : World(participants) {}
  void begin() override {
    World::begin();
    for (int i = 0; i < 2; ++i) (void)enqueue(0, kPayload);
    for (int i = 0; i < 2; ++i) leases[i] = claim(0);
    got[0] = got[1] = false;
  }
  bool take(int i, LimitsOf whose, std::uint32_t limit) {
    Limiter limiter(segment());
    return limiter.take_place(kKey, limit, whose, 0, leases[i].slot, leases[i].word, kNow);
  }
  // The row of the key, which is made by asking for a place that nobody gets.
  std::uint32_t make_row() {
    Limiter limiter(segment());
    (void)limiter.take_place(kKey, 1, LimitsOf::kCluster, 0, leases[0].slot, leases[0].word, kNow);
    SharedLimits shared(engine(1));
    std::vector<std::uint32_t> rows;
    shared.called(rows);
    return rows.empty() ? ~0u : rows[0];
  }
  Lease leases[2];
  bool got[2] = {};
};

// Two want the one place of a limit: not both get it.
struct OnePlace : Limits {
  OnePlace() : Limits(2) {}
  void act(int actor) override { got[actor] = take(actor, LimitsOf::kHost, 1); }
  void end() override { EXPLORE_CHECK(!(got[0] && got[1]), "two run where one may"); }
};

// The limit was three and is two by now. One of three who ran has ended, another ends: of two who want the place that is
// left then, each in a word of its own, one gets it at most.
struct LimitLowered : Limits {
  LimitLowered() : Limits(2) {}
  void begin() override {
    Limits::begin();
    for (Lease& other : others) {
      (void)enqueue(0, kPayload);
      other = claim(0);
      Limiter limiter(segment());
      (void)limiter.take_place(kKey, 3, LimitsOf::kHost, 0, other.slot, other.word, kNow);
    }
    (void)engine(0).release(others[1], kNow);
  }
  void act(int actor) override {
    if (actor == 0) (void)engine(0).release(others[0], kNow);
    got[actor] = take(actor, LimitsOf::kHost, 2);
  }
  void end() override { EXPLORE_CHECK(!(got[0] && got[1]), "three run where two may"); }
  Lease others[3];
};

// The gateway gives a permit back while a worker starts by it: it counts the worker, or the worker does not start. Killed
// in between, the worker counts no longer than its lease.
struct PermitLowered : Limits {
  PermitLowered() : Limits(2) {}
  bool mortal(int actor) const override { return actor == 0; }
  void begin() override {
    Limits::begin();
    row = make_row();
    SharedLimits shared(engine(1));
    shared.set_permits(row, 1, kLong, kNow);
    counted_by_gateway = 1;
  }
  void act(int actor) override {
    if (actor == 0) {
      got[0] = take(0, LimitsOf::kCluster, 1);
      return;
    }
    SharedLimits shared(engine(1));
    shared.lower_permits(row, 0);
    counted_by_gateway = shared.running(row);
    await_end(0);
    if (!is_dead(0)) return;
    EXPLORE_CHECK(engine(1).sweep(0, kNow), "the dead one was not swept");
    EXPLORE_CHECK(shared.running(row) == 0, "a dead worker counts beyond its lease");
  }
  void end() override {
    EXPLORE_CHECK(!got[0] || counted_by_gateway == 1, "one runs by a permit that was given back, and was not counted");
  }
  std::uint32_t row = 0;
  std::uint32_t counted_by_gateway = 0;
};

// The gateway drops a row while somebody asks for it: it is called, or it was seen to be wanted. Whoever is killed while
// he asks leaves the call to the next one.
struct CallDropped : Limits {
  CallDropped() : Limits(2) {}
  bool mortal(int actor) const override { return actor == 0; }
  void begin() override {
    Limits::begin();
    row = make_row();
    SharedLimits shared(engine(1));
    (void)shared.take_wanted(row);
    dropped = false;
  }
  void act(int actor) override {
    if (actor == 0) {
      (void)take(0, LimitsOf::kCluster, 1);
      return;
    }
    dropped = SharedLimits(engine(1)).drop(row);
  }
  void end() override {
    if (is_dead(0)) (void)take(1, LimitsOf::kCluster, 1);
    SharedLimits shared(engine(1));
    std::vector<std::uint32_t> rows;
    shared.called(rows);
    EXPLORE_CHECK(!rows.empty(), "somebody waits for a row that nobody asks the cluster for");
  }
  std::uint32_t row = 0;
  bool dropped = false;
};

// Two take places of a batch that the gateway replaces meanwhile: no place is two tasks', none is of no batch. The gateway
// is killed anywhere: the next one's batch serves.
struct BatchReplaced : Limits {
  BatchReplaced() : Limits(3) {}
  bool mortal(int actor) const override { return actor == 2; }
  static constexpr engine::Rate kRate{1, 1};
  void begin() override {
    Limits::begin();
    Limiter limiter(segment());
    (void)limiter.take_rate(kKey, kRate, LimitsOf::kCluster, 0, kNow);
    SharedLimits shared(engine(2));
    std::vector<std::uint32_t> rows;
    shared.called(rows);
    row = rows.empty() ? ~0u : rows[0];
    (void)shared.add_places(row, kNow + 5, 1, kLong, kNow);
    at[0] = at[1] = 0;
  }
  void act(int actor) override {
    if (actor == 2) {
      SharedLimits(engine(2)).add_places(row, kNow + engine::kSecondNs * 9, 1, kLong, kNow);
      return;
    }
    Limiter limiter(segment());
    const engine::RatePlace place = limiter.take_rate(kKey, kRate, LimitsOf::kCluster, 1, kNow);
    if (place.taken) at[actor] = place.at_ns;
  }
  void end() override {
    for (const std::int64_t a : at)
      EXPLORE_CHECK(a == 0 || a == kNow + 5 || a == kNow + engine::kSecondNs * 9, "a place of no batch");
    EXPLORE_CHECK(at[0] == 0 || at[0] != at[1], "two tasks have one place");
    if (!is_dead(2)) return;
    (void)SharedLimits(engine(0)).add_places(row, kNow + 7, 1, kLong, kNow);
    EXPLORE_CHECK(Limiter(segment()).take_rate(kKey, kRate, LimitsOf::kCluster, 1, kNow).taken,
                  "no place after the gateway's death");
  }
  std::uint32_t row = 0;
  std::int64_t at[2] = {};
};

}  // namespace

void add_limit_scenes(std::vector<Scene>& to) {
  to.push_back({"OnePlace", make_play<OnePlace>});
  to.push_back({"LimitLowered", make_play<LimitLowered>});
  to.push_back({"PermitLowered", make_play<PermitLowered>});
  to.push_back({"CallDropped", make_play<CallDropped>});
  to.push_back({"BatchReplaced", make_play<BatchReplaced>});
}

}  // namespace explorer
