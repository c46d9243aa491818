// Seeds of every weather, each task accounted for; and the canaries: with one rule of the core broken, some seed must
// go wrong. `stem-simulate --seed N --trace` shows one of them.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <string>

#include "base/log.hpp"
#include "tests/simulation/cluster.hpp"
#include "tests/support/scratch.hpp"

namespace stem::simulation {
namespace {

class SimulationTest : public ::testing::Test {
 protected:
  SimulationTest() {
    rlimit files{};  // each participant has a descriptor of its own
    ::getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
    log::configure({log::Level::kOff, log::Format::kPretty});
    options.directory = directory.path();
  }
  void expect_good(std::uint64_t from, std::uint64_t to) {
    for (options.seed = from; options.seed <= to; ++options.seed) {
      const Outcome outcome = simulate(options);
      ASSERT_TRUE(outcome.good()) << "seed " << options.seed << ": " << outcome.violations.front()
                                  << "\nagain: stem-simulate --seed " << options.seed << " --trace";
      faults += outcome.faults;
      repeated += outcome.repeated;
    }
  }

  test::ScratchDirectory directory;
  SimulationOptions options;
  std::uint64_t faults = 0, repeated = 0;
};

// In four parts, so that ctest runs them beside each other.
class SeedsTest : public SimulationTest, public ::testing::WithParamInterface<std::uint64_t> {};

TEST_P(SeedsTest, EveryTaskIsAccountedFor) {
  expect_good(GetParam() + 1, GetParam() + 500);
  EXPECT_GT(faults, 1000u);
  EXPECT_GT(repeated, 10u) << "faults that make nothing run again are no faults";
}

INSTANTIATE_TEST_SUITE_P(Of500, SeedsTest, ::testing::Values(0, 500, 1000, 1500));

TEST_F(SimulationTest, TwoHundredHosts) {
  options.hosts = 200;
  options.tasks_per_host = 10;
  expect_good(1, 3);
}

TEST_F(SimulationTest, ASeedIsOneHistory) {
  for (options.seed = 1; options.seed <= 20; ++options.seed) {
    const Outcome first = simulate(options), second = simulate(options);
    EXPECT_EQ(first.digest, second.digest) << "seed " << options.seed;
    EXPECT_EQ(first.events, second.events) << "seed " << options.seed;
  }
}

class CanaryTest : public SimulationTest, public ::testing::WithParamInterface<int> {};

TEST_P(CanaryTest, IsNoticed) {
  options.canary = static_cast<Canary>(GetParam());
  constexpr std::uint64_t kMostSeeds = 600;
  for (options.seed = 1; options.seed <= kMostSeeds; ++options.seed)
    if (!simulate(options).good()) return;
  FAIL() << "none of " << kMostSeeds << " seeds went wrong with the canary " << to_string(options.canary);
}

INSTANTIATE_TEST_SUITE_P(Each, CanaryTest, ::testing::Range(1, static_cast<int>(kLastCanary) + 1),
                         [](const auto& canary) {
                           std::string name(to_string(static_cast<Canary>(canary.param)));
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace stem::simulation
