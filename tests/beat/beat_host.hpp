// A segment with schedules, and beat processes whose time is a number.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "beat/scheduler.hpp"
#include "engine/control.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/scratch.hpp"

namespace stem::beat::test {

using stem::test::Attached;

inline constexpr std::int64_t kMs = 1'000'000;

// A task whose payload is its planned time.
class PlannedMaker final : public TickMaker {
 public:
  PlannedMaker(std::uint32_t queue, std::uint32_t task) : queue_(queue), task_(task) {}
  Result<engine::TaskSpec> make(const Tick& tick, const Now&) override {
    if (tick.entry.options.contains("broken")) return Error{Errc::kInvalidArgument, "makes no task"};
    planned_ns_ = tick.planned_ns;
    engine::TaskSpec spec;
    spec.queue = queue_;
    spec.task = task_;
    spec.payload = std::as_bytes(std::span(&planned_ns_, 1));
    extras_ = {};
    if (tick.entry.options.contains("unique")) extras_.unique_key = 77;
    spec.extras = &extras_;
    return spec;
  }

 private:
  std::uint32_t queue_, task_;
  std::int64_t planned_ns_ = 0;
  engine::TaskExtras extras_;
};

inline Entry entry(const std::string& json) {
  auto parsed = Entry::parse(nlohmann::json::parse(json));
  EXPECT_TRUE(parsed.ok()) << (parsed.ok() ? "" : parsed.error().message);
  return parsed.ok() ? *parsed : Entry();
}

// One beat process.
struct Beat {
  Beat(const std::shared_ptr<shm::Segment>& segment, std::uint32_t queue, std::uint32_t task,
       std::int64_t ttl_ns = 5 * kSecondNs, std::int64_t tick_ns = kSecondNs)
      : self(segment, shm::Role::kClient),
        store(*self),
        prepared(store.prepare_table().ok()),
        lock(*self, ttl_ns),
        maker(queue, task),
        scheduler(store, lock, maker,
                  {.tick_ns = tick_ns,
                   .tell = [this](const BeatEvent& e) { note(e); },
                   .stopwatch_ns = [] { return std::int64_t{0}; }}) {}
  void note(const BeatEvent& event) { ++events[event.kind]; }

  Attached self;
  ScheduleStore store;
  bool prepared;
  SegmentLock lock;
  PlannedMaker maker;
  std::map<BeatEvent::Kind, int> events;
  Scheduler scheduler;
};

// Runs what is ready; the planned times, in milliseconds after `origin`, sorted.
inline std::vector<std::int64_t> drain(engine::Engine& engine, std::uint32_t queue, std::int64_t now_ns,
                                       std::int64_t origin_ns) {
  std::vector<std::int64_t> planned;
  engine::Lease lease;
  while (engine.claim(queue, &lease, 1, now_ns) == 1) {
    engine::TaskView view;
    std::int64_t value = 0;
    if (!engine.view(lease, view) || view.payload.size() != sizeof value) {
      ADD_FAILURE() << "a task that makes no sense";
      continue;
    }
    std::memcpy(&value, view.payload.data(), sizeof value);
    EXPECT_EQ(engine.begin(lease, view, now_ns), engine::Begin::kStart);
    EXPECT_EQ(engine.succeed(lease, view, {}, now_ns), engine::Settled::kDone);
    planned.push_back((value - origin_ns) / kMs);
  }
  std::sort(planned.begin(), planned.end());
  return planned;
}

class BeatHost : public ::testing::Test {
 protected:
  BeatHost()
      : segment_(stem::test::must_create(stem::test::small_segment(directory_))),
        queue_(stem::test::must_queue(*segment_, "q")),
        task_(stem::test::must_task(*segment_, "t")),
        worker_(segment_, shm::Role::kWorker),
        keeping_(segment_),
        store_(*worker_),
        origin_ns_(1'767'225'600 * kSecondNs) {  // 2026-01-01
    now_ = {base::monotonic_ns(), origin_ns_};
  }
  void TearDown() override {
    settle();
    EXPECT_EQ(stem::test::unsettled(*worker_), "");
  }

  void settle() {
    (void)keeping_->sweep_all(now_.monotonic_ns);
    engine::Keeper keeper(*keeping_);
    keeper.hold(now_.monotonic_ns);
    keeper.patrol_all(now_.monotonic_ns);
    std::uint64_t cursor = 0, freed = 0;
    while (!keeping_->blocks().patrol(cursor, 64, freed)) {
    }
  }
  std::unique_ptr<Beat> beat() { return std::make_unique<Beat>(segment_, queue_, task_); }
  Change put(const std::string& json) {
    const auto change = store_.put(entry(json), now_.realtime_ns);
    EXPECT_TRUE(change.ok()) << (change.ok() ? "" : change.error().message);
    return change.ok() ? *change : Change::kNone;
  }
  void pass(std::int64_t ns) {
    now_.monotonic_ns += ns;
    now_.realtime_ns += ns;
  }
  // Lets time pass, each beat waking when it asked for it.
  void run(std::vector<Beat*> beats, std::int64_t ns) {
    const std::int64_t end_ns = now_.monotonic_ns + ns;
    for (;;) {
      std::int64_t next_ns = end_ns;
      for (Beat* beat : beats) next_ns = std::min(next_ns, beat->scheduler.step(now_));
      if (now_.monotonic_ns >= end_ns) return;
      pass(std::clamp<std::int64_t>(next_ns - now_.monotonic_ns, 1000, end_ns - now_.monotonic_ns));
    }
  }
  std::vector<std::int64_t> planned() { return drain(*worker_, queue_, now_.monotonic_ns, origin_ns_); }
  std::uint64_t counter(shm::BeatCounter counter) const {
    return segment_->schedules().counters[static_cast<int>(counter)].load();
  }

  stem::test::ScratchDirectory directory_;
  std::shared_ptr<shm::Segment> segment_;
  std::uint32_t queue_, task_;
  Attached worker_, keeping_;
  ScheduleStore store_;
  std::int64_t origin_ns_;
  Now now_;
};

}  // namespace stem::beat::test
