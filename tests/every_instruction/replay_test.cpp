// A dead letter with a unique key is replayed: whoever does it is stopped, or killed, at every instruction.
#include "tests/every_instruction/every_instruction.hpp"

namespace stem::engine {
namespace {

constexpr std::uint64_t kLetter = 1, kRival = 2;

EnqueueStatus add_unique(World& world, std::uint64_t number) {
  Numbered task(world.queue, world.task, number);
  TaskExtras extras;
  extras.unique_key = 5;
  task.spec.extras = &extras;
  return world.self->enqueue(task.spec, world.now).status;
}

void make_letter(World& world) {
  ASSERT_EQ(add_unique(world, kLetter), EnqueueStatus::kOk);
  Lease lease;
  TaskView view;
  ASSERT_EQ(world.self->claim(world.queue, &lease, 1, world.now), 1u);
  ASSERT_TRUE(world.self->view(lease, view));
  ASSERT_EQ(world.self->begin(lease, view, world.now), Begin::kStart);
  ASSERT_EQ(world.self->bury(lease, view, DeadReason::kPermanentFailure, {"x", "y"}, world.now), Settled::kDone);
}

std::function<void()> replaying(World& world, Attached& mine) {
  const DeadLetter letter = DeadLetters(*mine).list({}).at(0);
  return [&world, &mine, letter] { (void)DeadLetters(*mine).replay(letter, 0, world.now); };
}

// One is enqueued with the key meanwhile: it or the letter has it, and is told so.
TEST(Replay, StoppedAnywhereItAndAnEnqueueNeverBothHaveTheKey) {
  std::uint64_t replayed = 0, stayed_dead = 0, again_dead = 0, stops = 0;
  for (bool finished = false; !finished; ++stops) {
    ScratchDirectory scratch;
    World world(test::must_create(smallest(scratch)), scratch);
    make_letter(world);
    test::SteppedChild child(
        [&] { return replaying(world, *new Attached(test::must_attach("test", scratch.path()), shm::Role::kTool)); });
    finished = !child.step_to(*world.segment, stops);
    SCOPED_TRACE("stopped after change " + std::to_string(stops));
    const bool rival = add_unique(world, kRival) == EnqueueStatus::kOk;
    child.finish();
    const std::uint64_t dead = DeadLetters(*world.self).list({}).size();
    ASSERT_EQ(dead, rival ? 1u : 0u);
    ASSERT_EQ(world.drain(), (std::map<std::uint64_t, int>{{rival ? kRival : kLetter, 1}}));
    replayed += !rival;
    again_dead += rival && world.count(Counter::kDeadReplayed) > 0;
    stayed_dead += rival && world.count(Counter::kDeadReplayed) == 0;
    EXPECT_EQ(world.count(Counter::kDeadAdded) - world.count(Counter::kDeadReplayed), dead);
    child.kill();
    world.recover();
    EXPECT_EQ(test::unsettled(*world.self), "");
  }
  EXPECT_GT(stayed_dead, 0u) << "enqueued before the letter was looked at";
  EXPECT_GT(again_dead, 0u) << "enqueued between the look and the change: it was a task for a moment";
  EXPECT_GT(replayed, 0u);
  count_points(stops, stops);
}

class ReplayKilled : public EveryInstruction {};

TEST_F(ReplayKilled, TheLetterIsATaskOrADeadLetter) {
  everywhere(make_letter, replaying, [](World& after, bool finished) {
    const std::uint64_t dead = DeadLetters(*after.self).list({}).size();
    EXPECT_LE(dead, finished ? 0u : 1u);
    const auto ran = after.drain();
    EXPECT_EQ(ran.size() + dead, 1u);
    if (dead == 0) EXPECT_EQ(ran, (std::map<std::uint64_t, int>{{kLetter, 1}}));
  });
}

// It finds that another has the key, and is killed on its way back: then at worst both run, and neither is lost.
TEST(Replay, KilledWhileItLosesTheKeyItLosesNoTask) {
  std::uint64_t points = 0, back = 0;
  for (std::uint64_t stop = 0, more = 1; more > 0; ++stop) {
    more = 0;
    for (bool finished = false; !finished; ++points) {
      ScratchDirectory scratch;
      World world(test::must_create(smallest(scratch)), scratch);
      make_letter(world);
      test::SteppedChild child(
          [&] { return replaying(world, *new Attached(test::must_attach("test", scratch.path()), shm::Role::kTool)); });
      if (!child.step_to(*world.segment, stop) || add_unique(world, kRival) != EnqueueStatus::kOk) break;
      SCOPED_TRACE("stopped after change " + std::to_string(stop) + ", killed " + std::to_string(more) + " later");
      finished = !child.step_to(*world.segment, more++);
      child.kill();
      world.recover();
      EXPECT_EQ(test::unsettled(*world.self), "");
      const std::uint64_t dead = DeadLetters(*world.self).list({}).size();
      back += dead == 1 && world.count(Counter::kDeadReplayed) > 0;
      std::map<std::uint64_t, int> expected{{kRival, 1}};
      if (dead == 0) expected.emplace(kLetter, 1);
      ASSERT_EQ(world.drain(), expected);
      EXPECT_EQ(test::unsettled(*world.self), "");
    }
  }
  EXPECT_GT(back, 0u);
  count_points(points, points);
}

}  // namespace
}  // namespace stem::engine
