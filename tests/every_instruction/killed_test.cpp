// Real processes, killed for good or stopped and continued at an instruction that changes the segment, in a fresh
// world each: what the kernel does at a death (locks, the robust mutex) is part of it, and so is a zombie.
#include "tests/every_instruction/scenarios.hpp"

namespace stem::engine {
namespace {

class AtEveryChange : public ::testing::TestWithParam<Scenario> {
 protected:
  // What happens to the stepped process at a change, and afterwards.
  using Fate = std::function<void(World&, Ledger&, test::SteppedChild&)>;

  // The same work again and again, each time one change further; or `every` so many.
  void at_each(const Fate& fate) { at_each(every_nth(GetParam().stride), fate); }
  void at_each(std::uint64_t every, const Fate& fate) {
    std::uint64_t instructions = 0, changes = 0;
    bool more = true;
    for (std::uint64_t change = 1; more && !HasFailure(); change += every) {
      SCOPED_TRACE("at change " + std::to_string(change));
      ScratchDirectory scratch;
      World world(test::must_create(smallest(scratch)), scratch);
      Ledger ledger(4096);
      GetParam().setup(world, ledger);
      test::SteppedChild child([&] {
        auto* mine = new Attached(test::must_attach("test", scratch.path()), shm::Role::kWorker);
        return GetParam().work(world, *mine, ledger);
      });
      more = child.step_to(*world.segment, change);
      fate(world, ledger, child);
      instructions += child.steps();
      ++changes;
    }
    count_points(instructions, changes);
    std::printf("%llu instructions, %llu times\n", static_cast<unsigned long long>(instructions),
                static_cast<unsigned long long>(changes));
  }
};

TEST_P(AtEveryChange, Killed) {
  at_each([](World& world, Ledger& ledger, test::SteppedChild& child) {
    child.kill();
    world.recover();
    EXPECT_EQ(test::unsettled(*world.self), "");
    expect_all_accounted_for(world, ledger, /*killed=*/true);
    EXPECT_EQ(test::unsettled(*world.self), "");
  });
}

// While it stands still its tasks are others'; what it says of them when it goes on is refused.
TEST_P(AtEveryChange, StoppedAndContinued) {
  at_each([](World& world, Ledger& ledger, test::SteppedChild& child) {
    Successors successors(world);
    successors.take_over();
    EXPECT_EQ(test::broken_invariants(*world.self), "");
    child.finish();
    successors.settle();
    EXPECT_EQ(test::broken_invariants(*world.self), "");
    child.kill();
    world.recover();
    EXPECT_EQ(test::unsettled(*world.self), "");
    expect_all_accounted_for(world, ledger, /*killed=*/false, successors.ended());
    EXPECT_EQ(test::unsettled(*world.self), "");
  });
}

// The same, and the slots already hold other tasks when it goes on.
TEST_P(AtEveryChange, StoppedAndContinuedAmongOthers) {
  at_each([](World& world, Ledger& ledger, test::SteppedChild& child) {
    Successors successors(world);
    successors.take_over_and_reuse();
    child.finish();
    successors.settle();
    child.kill();
    world.recover();
    expect_all_accounted_for(world, ledger, /*killed=*/false, successors.ended());
    EXPECT_EQ(test::unsettled(*world.self), "");
  });
}

INSTANTIATE_TEST_SUITE_P(All, AtEveryChange, ::testing::ValuesIn(scenarios()),
                         [](const auto& tested) { return std::string(tested.param.name); });

// It never goes on: its lease is lost, its task over and its slot another's when it is killed. What it has on record
// then may be the work of nobody. One change in a hundred is the one that matters, so hardly any is left out.
class Ended : public AtEveryChange {};

TEST_P(Ended, KilledWhereItStoodAmongOthers) {
  at_each(every_nth(GetParam().stride > 25 ? 5 : 1), [](World& world, Ledger& ledger, test::SteppedChild& child) {
    Successors successors(world);
    successors.take_over_and_reuse();
    child.kill();
    successors.settle();
    world.recover();
    expect_all_accounted_for(world, ledger, /*killed=*/true, successors.ended());
    EXPECT_EQ(test::unsettled(*world.self), "");
  });
}

std::vector<Scenario> scenarios_that_end_tasks() {
  std::vector<Scenario> some = scenarios();
  std::erase_if(some, [](const Scenario& s) {
    const std::string_view name = s.name;
    return name != "Succeed" && name != "SucceedWithResult" && name != "Bury" && name != "WorkOnARun";
  });
  return some;
}

INSTANTIATE_TEST_SUITE_P(All, Ended, ::testing::ValuesIn(scenarios_that_end_tasks()),
                         [](const auto& tested) { return std::string(tested.param.name); });

// The recoverer is stepped in its turn, over what a process killed at an instruction has left behind, and killed at
// every instruction of its own.
class Recoverer : public ::testing::TestWithParam<Scenario> {};

TEST_P(Recoverer, KilledWhileItRecovers) {
  ScratchDirectory scratch;
  World world(test::must_create(smallest(scratch)), scratch);
  Ledger ledger(4096);
  GetParam().setup(world, ledger);
  std::set<std::uint64_t> seen;  // images that were checked already
  std::uint64_t instructions = 0, images = 0;
  const auto after_both = [&](const std::string& name, const Ledger& until_then) {
    World after(test::must_attach(name, scratch.path()), scratch);
    after.recover();
    EXPECT_EQ(test::unsettled(*after.self), "");
    expect_all_accounted_for(after, until_then, /*killed=*/true);
    ++images;
    return !HasFailure();
  };
  instructions += test::Stepper(world.segment)
                      .walk(
                          [&] {
                            auto* mine = new Attached(test::must_attach("test", scratch.path()), shm::Role::kWorker);
                            return GetParam().work(world, *mine, ledger);
                          },
                          every_nth(5 * GetParam().stride),
                          [&](const std::string& first, std::uint64_t change, bool) {
                            SCOPED_TRACE("killed after change " + std::to_string(change));
                            const auto left = test::must_attach(first, scratch.path());
                            instructions += test::Stepper(left).walk(
                                [&] {
                                  auto* successor = new World(test::must_attach(first, scratch.path()), scratch);
                                  return std::function<void()>([successor] {
                                    (void)successor->self->sweep_all(successor->now);
                                    Keeper keeper(*successor->self);
                                    keeper.hold(successor->now);
                                  });
                                },
                                [&](const std::string& second, std::uint64_t step, bool) {
                                  if (!seen.insert(test::picture(*left)).second) return true;
                                  SCOPED_TRACE("its recoverer after change " + std::to_string(step));
                                  return after_both(second, ledger);
                                });
                            return !HasFailure();
                          });
  count_points(instructions, images);
  std::printf("%llu instructions, %llu images\n", static_cast<unsigned long long>(instructions),
              static_cast<unsigned long long>(images));
  EXPECT_GT(images, 0u);
}

INSTANTIATE_TEST_SUITE_P(All, Recoverer, ::testing::ValuesIn(scenarios()),
                         [](const auto& tested) { return std::string(tested.param.name); });

}  // namespace
}  // namespace stem::engine
