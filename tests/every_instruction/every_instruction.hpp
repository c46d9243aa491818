// A process killed after every single instruction that changes the segment: what it leaves behind must be
// recovered completely, with every task and every count accounted for.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>

#include <cinttypes>
#include <cstring>
#include <map>
#include <set>

#include "engine/control.hpp"
#include "engine/dead_letters.hpp"
#include "engine/links.hpp"
#include "engine/query.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/process.hpp"
#include "tests/support/scratch.hpp"
#include "tests/support/stepper.hpp"
#include "tests/support/wait.hpp"

namespace stem::engine {

using shm::Counter;
using shm::State;
using test::Attached;
using test::Numbered;
using test::ScratchDirectory;

inline constexpr std::int64_t kSecond = 1'000'000'000;

// A world as small as it can be, in `scratch`.
inline shm::SegmentOptions smallest(const ScratchDirectory& scratch, std::uint32_t slots = 64) {
  shm::SegmentOptions options = test::small_segment(scratch);
  options.slot_count = slots;
  options.participant_count = 6;
  options.queue_count = 2;
  options.task_count = 2;
  options.block_bytes = 16ull << 20;
  return options;
}

// Instructions at which a process was killed or stopped, and how many different images of the segment were judged for
// them (equal ones once); the sums are printed when the program ends.
struct Points {
  ~Points() {
    if (images > 0) std::printf("points: %" PRIu64 " instructions, %" PRIu64 " images judged\n", instructions, images);
  }
  std::uint64_t instructions = 0, images = 0;
};
inline void count_points(std::uint64_t instructions, std::uint64_t images) {
  static Points all;
  all.instructions += instructions;
  all.images += images;
}

// A segment with one queue, as a test process sees it.
struct World {
  World(std::shared_ptr<shm::Segment> attached, const ScratchDirectory& directory)
      : scratch(directory),
        segment(std::move(attached)),
        queue(test::must_queue(*segment, "q")),
        task(test::must_task(*segment, "t")),
        self(segment, shm::Role::kTool) {}

  EnqueueStatus add(std::uint64_t number) { return self->enqueue(Numbered(queue, task, number).spec, now).status; }

  // What a keeper does, until nothing is left to do.
  void recover() {
    ASSERT_TRUE(test::wait_until([this] {
      (void)self->sweep_all(now);
      for (std::uint32_t i = 0; i < segment->geometry().participant_count; ++i)
        if (i != self.index() && shm::row_state(segment->row(i).status.load()) != shm::RowState::kFree) return false;
      return true;
    }));
    Keeper keeper(*self);
    keeper.hold(now);
    keeper.patrol_all(now);
    std::uint64_t cursor = 0, freed = 0;
    while (!self->blocks().patrol(cursor, 64, freed)) {
    }
  }

  // Runs everything, delayed or not; how often each number came.
  std::map<std::uint64_t, int> drain() {
    std::map<std::uint64_t, int> seen;
    Keeper keeper(*self);
    for (int idle = 0; idle < 3; ++idle) {
      now += 1000 * kSecond;
      keeper.hold(now);
      keeper.patrol_all(now);
      Lease lease;
      while (self->claim(queue, &lease, 1, now) == 1) {
        idle = 0;
        TaskView view;
        if (!self->view(lease, view)) {
          ADD_FAILURE() << "a task that makes no sense";
          continue;
        }
        std::uint64_t number = ~0ull;
        if (view.payload.size() >= sizeof number) std::memcpy(&number, view.payload.data(), sizeof number);
        ++seen[number];
        EXPECT_EQ(self->begin(lease, view, now), Begin::kStart);
        EXPECT_EQ(self->succeed(lease, view, {}, now), Settled::kDone);
      }
    }
    return seen;
  }

  std::uint64_t count(Counter counter) { return test::total(*self, queue, counter); }

  const ScratchDirectory& scratch;
  std::shared_ptr<shm::Segment> segment;
  std::uint32_t queue, task;
  Attached self;
  std::int64_t now = base::monotonic_ns();
};

class EveryInstruction : public ::testing::Test {
 protected:
  using Work = std::function<void()>;

  // In a fresh world, after `setup`, a child steps through `work`. Each state that it leaves behind is
  // recovered by a process that knows nothing of it, and then judged by `check`.
  void everywhere(const std::function<void(World&)>& setup, const std::function<Work(World&, Attached&)>& work,
                  const std::function<void(World&, bool finished)>& check, std::uint32_t slots = 64) {
    ScratchDirectory scratch;
    World world(test::must_create(smallest(scratch, slots)), scratch);
    setup(world);
    std::uint64_t points = 0;
    const std::uint64_t steps =
        test::Stepper(world.segment)
            .walk(
                [&] {
                  auto* mine = new Attached(test::must_attach("test", scratch.path()), shm::Role::kWorker);
                  return work(world, *mine);
                },
                [&](const std::string& name, std::uint64_t change, bool finished) {
                  SCOPED_TRACE("killed after change " + std::to_string(change) + (finished ? " (the end)" : ""));
                  World after(test::must_attach(name, scratch.path()), scratch);
                  after.recover();
                  EXPECT_EQ(test::unsettled(*after.self), "");
                  check(after, finished);
                  EXPECT_EQ(test::unsettled(*after.self), "");
                  ++points;
                  return !HasFailure();
                });
    count_points(steps, points);
    std::printf("%llu instructions, killed at %llu of them\n", static_cast<unsigned long long>(steps),
                static_cast<unsigned long long>(points));
    EXPECT_GT(points, 3u) << "the stepper saw nothing";
  }
};

}  // namespace stem::engine
