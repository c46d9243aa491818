// What handlers may do to their process, and what becomes of the task and of everybody else.
#include <dirent.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

#include "shm/names.hpp"
#include "tests/worker/fleet.hpp"

namespace stem::test {
namespace {

using worker::Outcome;
using worker::TaskContext;

std::string run_note(const TaskContext& context) {
  return std::string(context.task_name()) + " attempt " + std::to_string(context.attempt()) + " pid " +
         std::to_string(::getpid());
}

bool dead(Fleet& fleet, engine::TaskId id) {
  const auto info = fleet.task(id);
  return info && info->state == shm::State::kDead;
}

bool succeeded(Fleet& fleet, engine::TaskId id) {
  const auto info = fleet.task(id);
  return info && info->state_name == "succeeded";
}

TEST(Handler, ThatThrowsFailsWithTheTypeAndMessageOfItsException) {
  Fleet fleet;
  fleet.handlers.on("throw", [](TaskContext&) -> Outcome { throw std::invalid_argument("no such image"); });
  fleet.start();
  const auto id = fleet.put("throw");
  ASSERT_TRUE(wait_until([&] { return dead(fleet, id); }, kPatience));
  const auto failure = fleet.task(id)->failure;
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->kind(), "std::invalid_argument");
  EXPECT_EQ(failure->message(), "no such image");
  EXPECT_EQ(static_cast<engine::DeadReason>(failure->reason), engine::DeadReason::kMaxRetriesExhausted);
  EXPECT_EQ(fleet.workers().size(), 1u);
}

TEST(Handler, ThatIsNotThereMakesADeadLetter) {
  Fleet fleet;
  fleet.handlers.on("other", [](TaskContext&) { return Outcome::success(); });
  fleet.start();
  const auto id = fleet.put("nobody");
  ASSERT_TRUE(wait_until([&] { return dead(fleet, id); }, kPatience));
  EXPECT_EQ(static_cast<engine::DeadReason>(fleet.task(id)->failure->reason), engine::DeadReason::kUnregisteredTask);
}

struct Deadly {
  const char* name;
  void (*act)();
  const char* signal;  // as the dead letter names it; empty = no signal
};

void fault() {
  volatile std::uintptr_t nowhere = 8;  // volatile: the compiler must not see where it leads
  *reinterpret_cast<volatile int*>(nowhere) = 1;
}
void abort_now() { std::abort(); }
void exit_now() { std::_Exit(3); }

class DeadlyHandler : public testing::TestWithParam<Deadly> {};

TEST_P(DeadlyHandler, IsBuriedAsPoisonAfterThreeDeathsAndOthersGoOn) {
  Fleet fleet(2);
  fleet.handlers.on("deadly", [&](TaskContext& context) {
    fleet.note(run_note(context));
    GetParam().act();
    return Outcome::success();
  });
  fleet.handlers.on("fine", [](TaskContext&) { return Outcome::success(); });
  fleet.start();
  const auto id = fleet.put("deadly", "x", nullptr, /*max_retries=*/10);
  std::vector<engine::TaskId> others;
  for (int i = 0; i < 50; ++i) others.push_back(fleet.put("fine"));
  ASSERT_TRUE(wait_until([&] { return dead(fleet, id); }, kPatience));
  const auto failure = fleet.task(id)->failure;
  EXPECT_EQ(static_cast<engine::DeadReason>(failure->reason), engine::DeadReason::kPoisonPill);
  EXPECT_NE(failure->message().find(GetParam().signal), std::string_view::npos) << failure->message();
  EXPECT_EQ(fleet.notes_of("deadly attempt 0"), 1u);
  EXPECT_EQ(fleet.notes_of("deadly attempt 1"), 1u);
  EXPECT_EQ(fleet.notes_of("deadly attempt 2"), 1u);
  EXPECT_EQ(fleet.notes().size(), 3u);
  EXPECT_TRUE(wait_until(
      [&] { return std::all_of(others.begin(), others.end(), [&](auto other) { return succeeded(fleet, other); }); },
      kPatience));
}

INSTANTIATE_TEST_SUITE_P(Deaths, DeadlyHandler,
                         testing::Values(Deadly{"Segv", fault, "SIGSEGV"}, Deadly{"Abort", abort_now, "SIGABRT"},
                                         Deadly{"Exit", exit_now, ""}),
                         [](const auto& death) { return std::string(death.param.name); });

TEST(Worker, KilledWhileItHoldsATaskItRunsElsewhere) {
  Fleet fleet(2);
  fleet.handlers.on("long", [&](TaskContext& context) {
    fleet.note(run_note(context));
    while (context.attempt() == 0) ::pause();
    return Outcome::success();
  });
  fleet.start();
  const auto id = fleet.put("long");
  ASSERT_TRUE(wait_until([&] { return fleet.notes_of("long attempt 0") == 1; }, kPatience));
  const pid_t victim = fleet.busy_pid();
  ASSERT_NE(victim, 0);
  ::kill(victim, SIGKILL);
  ASSERT_TRUE(wait_until([&] { return succeeded(fleet, id); }, kPatience));
  EXPECT_EQ(fleet.notes_of("long attempt 1"), 1u);
  EXPECT_EQ(fleet.notes().size(), 2u);
  EXPECT_TRUE(wait_until([&] { return fleet.count(shm::Counter::kRedelivered) == 1u; }, kPatience));
  EXPECT_TRUE(wait_until([&] { return fleet.count(shm::Counter::kSucceeded) == 1u; }, kPatience));
  EXPECT_EQ(fleet.count(shm::Counter::kRedeliveredFirst), 1u) << "by death";
  EXPECT_TRUE(wait_until([&] { return fleet.workers().size() == 2; }, kPatience)) << "the dead one was not replaced";
  EXPECT_TRUE(wait_until([&] { return fleet.restarts(shm::RestartCause::kSignal) == 1u; }, kPatience));
}

TEST(Worker, HeartbeatsRenewTheLeaseOfWhatRuns) {
  Fleet fleet;
  fleet.handlers.on("long", [&](TaskContext&) {
    while (fleet.notes_of("go") == 0) ::usleep(1'000);
    return Outcome::success();
  });
  fleet.start();
  const auto id = fleet.put("long");
  EXPECT_TRUE(wait_until([&] { return fleet.count(shm::Counter::kLeaseRenewed) >= 2; }, kPatience));
  fleet.note("go");
  ASSERT_TRUE(wait_until([&] { return succeeded(fleet, id); }, kPatience));
  const std::uint64_t renewed = fleet.count(shm::Counter::kLeaseRenewed);
  const std::uint64_t beats = fleet.workers().at(0).heartbeat;
  EXPECT_TRUE(wait_until([&] { return fleet.workers().at(0).heartbeat >= beats + 2; }, kPatience));
  EXPECT_EQ(fleet.count(shm::Counter::kLeaseRenewed), renewed) << "nothing runs any more";
}

TEST(Worker, StoppedPastItsLeaseIsRefusedWhenItGoesOn) {
  Fleet fleet(2);
  fleet.handlers.on("slow", [&](TaskContext& context) {
    fleet.note(run_note(context));
    if (context.attempt() == 0)
      while (fleet.notes_of("release") == 0) ::usleep(1'000);
    return Outcome::success(std::string(context.attempt() == 0 ? "zombie" : "second"));
  });
  fleet.start();
  engine::TaskExtras extras;
  extras.visibility_ns = 1'000'000'000;
  const auto id = fleet.put("slow", "x", &extras, 3);
  ASSERT_TRUE(wait_until([&] { return fleet.notes_of("slow attempt 0") == 1; }, kPatience));
  const pid_t zombie = fleet.busy_pid();
  ASSERT_NE(zombie, 0);
  ::kill(zombie, SIGSTOP);
  ASSERT_TRUE(wait_until([&] { return succeeded(fleet, id); }, kPatience));
  fleet.note("release");
  EXPECT_EQ(fleet.busy_pid(), zombie);
  ::kill(zombie, SIGCONT);
  ASSERT_TRUE(wait_until([&] { return fleet.busy_pid() == 0; }, kPatience)) << "its late acknowledgement";
  EXPECT_TRUE(wait_until([&] { return fleet.count(shm::Counter::kSucceeded) == 1u; }, kPatience));
  const auto result = fleet.task(id)->result;
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(result.data()), result.size()), "second");
  EXPECT_TRUE(runs(zombie)) << "the zombie is an honest worker again";
}

TEST(HardLimit, KillsTheProcessRetriesAndThenBuries) {
  Fleet fleet;
  fleet.handlers.on("hang", [&](TaskContext& context) -> Outcome {
    fleet.note(run_note(context));
    for (;;) ::pause();
  });
  fleet.start();
  engine::TaskExtras extras;
  extras.hard_limit_ns = 50'000'000;
  extras.retry = {engine::RetryKind::kConstant, 1'000'000, 1'000'000};
  const auto id = fleet.put("hang", "x", &extras, /*max_retries=*/1);
  ASSERT_TRUE(wait_until([&] { return dead(fleet, id); }, kPatience));
  EXPECT_EQ(static_cast<engine::DeadReason>(fleet.task(id)->failure->reason), engine::DeadReason::kHardTimeLimit);
  EXPECT_EQ(fleet.notes_of("hang attempt 0"), 1u);
  EXPECT_EQ(fleet.notes_of("hang attempt 1"), 1u);
  EXPECT_EQ(fleet.notes().size(), 2u);
}

TEST(SoftLimit, SetsTheStopTokenOfThatTaskAlone) {
  Fleet fleet;
  fleet.handlers.on("patient", [&](TaskContext& context) {
    while (!context.stop_token().stop_requested()) ::usleep(1'000);
    return Outcome::success();
  });
  fleet.handlers.on("next", [&](TaskContext& context) {
    return Outcome::success(std::string(context.stop_token().stop_requested() ? "stopped" : "clean"));
  });
  fleet.start();
  engine::TaskExtras extras;
  extras.soft_limit_ns = 50'000'000;
  const auto first = fleet.put("patient", "x", &extras);
  const auto second = fleet.put("next");
  ASSERT_TRUE(wait_until([&] { return succeeded(fleet, first) && succeeded(fleet, second); }, kPatience));
  const auto result = fleet.task(second)->result;
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(result.data()), result.size()), "clean");
}

TEST(Handler, ThatClosesEveryDescriptorCostsOnlyItsProcess) {
  Fleet fleet;
  fleet.handlers.on("close", [&](TaskContext& context) {
    fleet.note(run_note(context));
    for (int fd = 3; fd < 4096; ++fd) ::close(fd);
    return Outcome::success();
  });
  fleet.handlers.on("fine", [](TaskContext&) { return Outcome::success(); });
  fleet.start();
  const auto pid = fleet.workers().at(0).pid;
  fleet.put("close");
  ASSERT_TRUE(wait_until(
      [&] {
        const auto now = fleet.workers();
        return now.size() == 1 && now[0].pid != pid;
      },
      kPatience));
  const auto id = fleet.put("fine");
  EXPECT_TRUE(wait_until([&] { return succeeded(fleet, id); }, kPatience));
}

TEST(Handler, ThatForksLeavesNoProofOfLifeBehind) {
  Fleet fleet;
  fleet.handlers.on("fork", [&](TaskContext& context) {
    if (context.attempt() != 0) return Outcome::success();
    const pid_t child = ::fork();
    if (child == 0) {
      for (;;) ::pause();
    }
    fleet.note("child " + std::to_string(child));
    for (;;) ::pause();
  });
  fleet.start();
  const auto id = fleet.put("fork");
  ASSERT_TRUE(wait_until([&] { return fleet.notes_of("child") == 1; }, kPatience));
  const auto victim = fleet.workers().at(0);
  ::kill(static_cast<pid_t>(victim.pid), SIGKILL);
  EXPECT_TRUE(wait_until([&] { return succeeded(fleet, id); }, kPatience));
  // Swept although the fork lives: its row is free, or somebody else's.
  EXPECT_TRUE(wait_until(
      [&] {
        const auto status = fleet.segment().row(victim.participant).status.load();
        return shm::row_incarnation(status) != victim.incarnation || shm::row_state(status) == shm::RowState::kFree;
      },
      kPatience));
  const pid_t child = std::atoi(fleet.notes().at(0).c_str() + 6);
  EXPECT_TRUE(runs(child));
  ::kill(child, SIGKILL);
}

}  // namespace
}  // namespace stem::test
