// The short form of the chaos run, and its canaries: with one step left out, the account must notice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <string>

#include "tests/support/scratch.hpp"

namespace stem::chaos {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct Outcome {
  int exit_code = -1;
  std::string out;
};

Outcome run_chaos(const std::string& arguments, const test::ScratchDirectory& scratch = {}) {
  const std::string command =
      STEM_BUILD_BIN_DIR "/stem-chaos --output " + scratch.file("output") + " " + arguments + " 2>&1";
  Outcome outcome;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return outcome;
  char buffer[4096];
  for (std::size_t n; (n = ::fread(buffer, 1, sizeof buffer, pipe)) > 0;) outcome.out.append(buffer, n);
  const int status = ::pclose(pipe);
  if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
  return outcome;
}

TEST(Chaos, EveryTaskOfAShortRunIsAccountedFor) {
  const Outcome o = run_chaos("--minutes 0.2 --kills-per-second 40 --seed 20261122");
  EXPECT_EQ(o.exit_code, 0) << o.out;
  EXPECT_THAT(o.out, HasSubstr("\nlost 0, unaccounted 0\n"));
}

TEST(Chaos, AnotherSeedAndFewerProcesses) {
  const Outcome o = run_chaos("--minutes 0.08 --kills-per-second 20 --seed 7 --producers 1 --workers 2 --keepers 1");
  EXPECT_EQ(o.exit_code, 0) << o.out;
  EXPECT_THAT(o.out, HasSubstr("\nlost 0, unaccounted 0\n"));
}

TEST(Chaos, ASoakGoesOnWhereItEnded) {
  const test::ScratchDirectory scratch;
  const std::string round = "--minutes 0.03 --kills-per-second 40 --batch-share 0.5 --slow-share 0.01 ";
  const Outcome first = run_chaos(round + "--soak 1", scratch);
  EXPECT_EQ(first.exit_code, 0) << first.out;
  EXPECT_THAT(first.out, HasSubstr("--soak 1, 1 rounds"));
  const Outcome again = run_chaos(round + "--soak 1", scratch);
  EXPECT_THAT(again.out, Not(HasSubstr("round 1:"))) << "nothing is left to do";
  const auto said = first.out.find("round 1: ");
  ASSERT_NE(said, std::string::npos) << first.out;
  const std::uint64_t done = std::strtoull(first.out.c_str() + said + 9, nullptr, 10);
  const Outcome second = run_chaos(round + "--soak " + std::to_string(done + 1), scratch);
  EXPECT_EQ(second.exit_code, 0) << second.out;
  EXPECT_THAT(second.out, HasSubstr("round 2:"));
  EXPECT_THAT(second.out, HasSubstr("\nlost 0, unaccounted 0\n"));
}

void expect_noticed(const std::string& arguments, const std::string& what) {
  const Outcome o = run_chaos(arguments);
  EXPECT_EQ(o.exit_code, 1) << o.out;
  EXPECT_THAT(o.out, HasSubstr(what));
  EXPECT_THAT(o.out, Not(HasSubstr("\nlost 0, unaccounted 0\n")));
}

TEST(ChaosCanary, LeasesOfTheDeadThrownAway) {
  // "accepted and never run", or, of a task that had been started, "run and never acknowledged".
  expect_noticed("--minutes 0.06 --kills-per-second 30 --seed 1 --break lose-leases", " and never ");
}

TEST(ChaosCanary, AcceptedAndNotEnqueued) {
  expect_noticed("--minutes 0.03 --kills-per-second 10 --seed 1 --break forget-accepted", "accepted and never run");
}

TEST(ChaosCanary, AcknowledgedTwice) {
  expect_noticed("--minutes 0.03 --kills-per-second 10 --seed 1 --break run-twice", "acknowledged twice");
}

TEST(ChaosCanary, RefusalsIgnored) {
  expect_noticed("--minutes 0.4 --kills-per-second 12 --stop-share 1 --seed 1 --break ignore-fence",
                 "acknowledged twice");
}

}  // namespace
}  // namespace stem::chaos
