#include "bench/processes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "bench/failure.hpp"
#include "tests/bench/failure_of.hpp"
#include "tests/bench/two_cpus.hpp"

namespace stem::bench {
namespace {

using ::testing::HasSubstr;

TEST(RunPair, RunsEachSidePinnedInAProcessOfItsOwn) {
  struct Seen {
    int cpu[2];
    int allowed[2];
    pid_t pid[2];
  };
  Shared<Seen> seen;
  const auto look = [&](int side) {
    seen->cpu[side] = sched_getcpu();
    seen->allowed[side] = static_cast<int>(allowed_cpus().size());
    seen->pid[side] = getpid();
  };
  const CpuPair cpus = two_cpus();
  run_pair(
      cpus, [&] { look(0); }, [&] { look(1); });
  EXPECT_EQ(seen->cpu[0], cpus.first);
  EXPECT_EQ(seen->cpu[1], cpus.second);
  EXPECT_EQ(seen->allowed[0], 1);
  EXPECT_EQ(seen->allowed[1], 1);
  EXPECT_NE(seen->pid[0], seen->pid[1]);
  EXPECT_NE(seen->pid[0], getpid());
}

TEST(RunPair, SaysWhyASideFailedAndEndsTheOther) {
  Shared<std::atomic<pid_t>> other;
  const std::string why = failure_of([&] {
    run_pair(
        two_cpus(),
        [&] {
          other->store(getpid());
          while (true) pause();
        },
        [&] {
          while (other->load() == 0) sched_yield();
          throw Failure("the ring was crooked");
        });
  });
  EXPECT_EQ(why, "the ring was crooked");
  ASSERT_NE(other->load(), 0);
  EXPECT_EQ(kill(other->load(), 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(RunPair, NamesTheSignalThatKilledASide) {
  const std::string why = failure_of([] {
    run_pair(
        two_cpus(), [] { raise(SIGKILL); }, [] {});
  });
  EXPECT_THAT(why, HasSubstr("died of signal 9"));
}

TEST(RunPair, DoesNotWaitLongerThanItsDeadline) {
  const auto start = std::chrono::steady_clock::now();
  const std::string why = failure_of([] {
    run_pair(
        two_cpus(),
        [] {
          while (true) pause();
        },
        [] {}, std::chrono::milliseconds(50));
  });
  EXPECT_THAT(why, HasSubstr("in time"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(RunProcesses, MeetAtTheGate) {
  constexpr int kParties = 5;
  struct Stage {
    StartGate gate;
    std::atomic<int> arrived{0};
    std::atomic<int> early{0};  // parties that passed the gate before all had arrived
  };
  Shared<Stage> stage;
  std::vector<Role> roles;
  for (int i = 0; i < kParties; ++i) {
    roles.push_back({kAnyCpu, [&] {
                       stage->arrived.fetch_add(1);
                       stage->gate.arrive_and_wait(kParties);
                       if (stage->arrived.load() != kParties) stage->early.fetch_add(1);
                     }});
  }
  run_processes(roles);
  EXPECT_EQ(stage->arrived.load(), kParties);
  EXPECT_EQ(stage->early.load(), 0);
}

TEST(PinToCpu, RefusesACpuThatIsNotThere) {
  EXPECT_THAT(failure_of([] { pin_to_cpu(1000); }), HasSubstr("pin to CPU 1000"));
}

}  // namespace
}  // namespace stem::bench
