// Ways to end: warm, soft, hard, by count, by the supervisor's death, by remote control.
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include "shm/names.hpp"
#include "tests/worker/fleet.hpp"
#include "worker/control.hpp"
#include "worker/pinning.hpp"

namespace stem::test {
namespace {

using worker::Outcome;
using worker::TaskContext;

// A handler that runs until the test says "go" or its stop token fires.
worker::Handler held(Fleet& fleet) {
  return [&fleet](TaskContext& context) {
    fleet.note("started " + std::to_string(context.attempt()));
    while (fleet.notes_of("go") == 0) {
      if (context.stop_token().stop_requested()) return Outcome::success("stopped");
      ::usleep(1'000);
    }
    return Outcome::success("went");
  };
}

std::string result_of(Fleet& fleet, engine::TaskId id) {
  const auto info = fleet.task(id);
  return info ? std::string(reinterpret_cast<const char*>(info->result.data()), info->result.size()) : "gone";
}

std::string state_of(Fleet& fleet, engine::TaskId id) {
  const auto info = fleet.task(id);
  return info ? info->state_name : "gone";
}

class Stop : public testing::Test {
 protected:
  void start() {
    fleet.handlers.on("held", held(fleet));
    fleet.start();
    running = fleet.put("held");
    ASSERT_TRUE(wait_until([&] { return fleet.notes_of("started") == 1; }, kPatience));
    waiting = fleet.put("held");
  }
  Fleet fleet;
  engine::TaskId running, waiting;
};

TEST_F(Stop, WarmFinishesWhatRunsAndTakesNothingMore) {
  start();
  fleet.supervisor().signal(SIGTERM);
  ASSERT_TRUE(wait_until([&] { return fleet.segment().row(fleet.workers().at(0).participant).stop_mode.load() == 1; },
                         kPatience));
  fleet.note("go");
  EXPECT_EQ(fleet.supervisor().wait(), 0);
  EXPECT_EQ(result_of(fleet, running), "went");
  EXPECT_EQ(state_of(fleet, waiting), "queued");
  EXPECT_EQ(unsettled(fleet.engine()), "");
}

TEST_F(Stop, WarmBecomesSoftWhenItsTimeIsOver) {
  fleet.options.drain_timeout_ns = 50'000'000;
  start();
  fleet.supervisor().signal(SIGTERM);
  EXPECT_EQ(fleet.supervisor().wait(), 0);
  EXPECT_EQ(result_of(fleet, running), "stopped");
}

TEST_F(Stop, SoftSetsTheStopToken) {
  start();
  fleet.supervisor().signal(SIGINT);
  EXPECT_EQ(fleet.supervisor().wait(), 0);
  EXPECT_EQ(result_of(fleet, running), "stopped");
  EXPECT_EQ(state_of(fleet, waiting), "queued");
}

TEST_F(Stop, HardGivesBackWhatIsHeldWithoutUsingAnAttempt) {
  start();
  fleet.supervisor().signal(SIGQUIT);
  EXPECT_EQ(fleet.supervisor().wait(), 0);
  EXPECT_EQ(state_of(fleet, running), "queued");
  EXPECT_EQ(fleet.task(running)->tally.attempts, 0u);
  EXPECT_EQ(fleet.task(running)->tally.deaths, 0u);
  const auto by = [&](engine::LeaseEnd end) {
    return fleet.count(shm::counter_after(shm::Counter::kRedeliveredFirst, static_cast<std::uint32_t>(end)));
  };
  EXPECT_EQ(by(engine::LeaseEnd::kStopped), 1u) << "it runs twice, and somebody may ask why";
  EXPECT_EQ(by(engine::LeaseEnd::kDied), 0u);
  EXPECT_EQ(fleet.restarts(shm::RestartCause::kSignal), 0u);
}

TEST_F(Stop, SoftBecomesHardWhenAHandlerDoesNotListen) {
  fleet.options.soft_grace_ns = 50'000'000;
  fleet.handlers.on("deaf", [&](TaskContext&) -> Outcome {
    fleet.note("deaf");
    for (;;) ::pause();
  });
  fleet.start();
  const auto id = fleet.put("deaf");
  ASSERT_TRUE(wait_until([&] { return fleet.notes_of("deaf") == 1; }, kPatience));
  fleet.supervisor().signal(SIGINT);
  EXPECT_EQ(fleet.supervisor().wait(), 0);
  EXPECT_EQ(state_of(fleet, id), "queued");
}

TEST_F(Stop, ASupervisorThatIsKilledTakesItsProcessesWithIt) {
  start();
  const auto pid = static_cast<pid_t>(fleet.workers().at(0).pid);
  fleet.supervisor().kill();
  EXPECT_TRUE(runs(pid)) << "it finishes what it runs";
  fleet.note("go");
  EXPECT_TRUE(wait_until([&] { return !runs(pid); }, kPatience));
  EXPECT_EQ(result_of(fleet, running), "went");
  EXPECT_EQ(state_of(fleet, waiting), "queued");
}

TEST(Recycling, ByCountRunsEveryTaskOnce) {
  Fleet fleet;
  fleet.options.max_tasks_per_child = 3;
  fleet.handlers.on("count", [&](TaskContext&) {
    fleet.note("pid " + std::to_string(::getpid()));
    return Outcome::success();
  });
  fleet.start();
  for (int i = 0; i < 9; ++i) fleet.put("count");
  ASSERT_TRUE(wait_until([&] { return fleet.count(shm::Counter::kSucceeded) == 9; }, kPatience));
  auto notes = fleet.notes();
  EXPECT_EQ(notes.size(), 9u);
  std::sort(notes.begin(), notes.end());
  notes.erase(std::unique(notes.begin(), notes.end()), notes.end());
  EXPECT_EQ(notes.size(), 3u) << "processes that ran them";
  EXPECT_EQ(fleet.count(shm::Counter::kRedelivered), 0u);
  EXPECT_TRUE(wait_until([&] { return fleet.restarts(shm::RestartCause::kRecycledTasks) >= 2; }, kPatience));
}

TEST(Pinning, IsReadBackFromTheKernel) {
  const auto allowed = worker::allowed_cores();
  ASSERT_FALSE(allowed.empty());
  Fleet fleet;
  fleet.options.pin = worker::PinMode::kList;
  fleet.options.pin_cores = {allowed.back()};
  fleet.handlers.on("x", [](TaskContext&) { return Outcome::success(); });
  fleet.start();
  const auto worker = fleet.workers().at(0);
  EXPECT_EQ(worker.cpu, allowed.back());
  cpu_set_t set;
  ASSERT_EQ(::sched_getaffinity(static_cast<pid_t>(worker.pid), sizeof set, &set), 0);
  EXPECT_EQ(CPU_COUNT(&set), 1);
  EXPECT_TRUE(CPU_ISSET(static_cast<std::size_t>(allowed.back()), &set));
}

TEST(Pinning, ListsAreParsedWholeOrRefused) {
  const auto parsed = worker::parse_cpu_list("0-2,7");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(*parsed, (std::vector<int>{0, 1, 2, 7}));
  for (const char* wrong : {"", "a", "1-", "-1", "3-1", "1,,2", "1 ", "99999"})
    EXPECT_FALSE(worker::parse_cpu_list(wrong)) << wrong;
}

// Asks and waits for the answer.
worker::ControlReply ask(Fleet& fleet, std::uint32_t row, worker::Command command, std::uint32_t argument = 0) {
  const std::uint64_t status = fleet.segment().row(row).status.load();
  const auto number = worker::send_request(fleet.segment(), row, shm::row_incarnation(status), command, argument);
  worker::ControlReply reply;
  EXPECT_TRUE(wait_until([&] { return worker::read_reply(fleet.segment(), row, number, reply); }, kPatience));
  return reply;
}

std::uint32_t supervisor_row(Fleet& fleet) {
  for (const auto& w : engine::Query(fleet.engine()).workers())
    if (w.role == shm::Role::kSupervisor) return w.participant;
  ADD_FAILURE() << "no supervisor";
  return 0;
}

TEST_F(Stop, AWorkerAnswersWhileItsHandlerRuns) {
  start();
  EXPECT_EQ(ask(fleet, fleet.workers().at(0).participant, worker::Command::kPing).answer, worker::Answer::kDone);
  EXPECT_EQ(ask(fleet, supervisor_row(fleet), worker::Command::kPing).answer, worker::Answer::kDone);
  EXPECT_EQ(state_of(fleet, running), "running");
  fleet.note("go");
  EXPECT_TRUE(wait_until([&] { return state_of(fleet, waiting) == "succeeded"; }, kPatience));
}

TEST_F(Stop, APausedWorkerTakesNothingUntilItIsResumed) {
  start();
  const auto row = fleet.workers().at(0).participant;
  EXPECT_EQ(ask(fleet, row, worker::Command::kPause).value, worker::kPausedValue);
  fleet.note("go");
  ASSERT_TRUE(wait_until([&] { return state_of(fleet, running) == "succeeded"; }, kPatience));
  EXPECT_EQ(ask(fleet, row, worker::Command::kPing).value, worker::kPausedValue);
  EXPECT_EQ(state_of(fleet, waiting), "queued");
  EXPECT_EQ(ask(fleet, row, worker::Command::kResume).value, 0u);
  EXPECT_TRUE(wait_until([&] { return state_of(fleet, waiting) == "succeeded"; }, kPatience));
}

TEST(Control, ResizeStartsAndEndsProcesses) {
  Fleet fleet;
  fleet.handlers.on("x", [](TaskContext&) { return Outcome::success(); });
  fleet.start();
  const auto row = supervisor_row(fleet);
  EXPECT_EQ(ask(fleet, row, worker::Command::kResize, 3).answer, worker::Answer::kDone);
  EXPECT_TRUE(wait_until([&] { return fleet.workers().size() == 3; }, kPatience));
  EXPECT_EQ(ask(fleet, row, worker::Command::kResize, 1).answer, worker::Answer::kDone);
  EXPECT_TRUE(wait_until([&] { return fleet.workers().size() == 1; }, kPatience));
  EXPECT_EQ(ask(fleet, fleet.workers().at(0).participant, worker::Command::kResize, 1).answer,
            worker::Answer::kRefused);
  EXPECT_EQ(ask(fleet, row, worker::Command::kShutdown, 1).answer, worker::Answer::kDone);
  EXPECT_EQ(fleet.supervisor().wait(), 0);
}

TEST(Control, EveryProcessAnswersAShutdownThatReachesItsSupervisorFirst) {
  Fleet fleet(2);
  fleet.handlers.on("x", [](TaskContext&) { return Outcome::success(); });
  fleet.start();
  std::vector<std::pair<std::uint32_t, std::uint32_t>> asked;
  const auto send = [&](std::uint32_t row, std::uint64_t incarnation) {
    asked.emplace_back(row, worker::send_request(fleet.segment(), row, incarnation, worker::Command::kShutdown, 1));
  };
  const auto workers = fleet.workers();
  const std::uint32_t top = supervisor_row(fleet);
  send(top, shm::row_incarnation(fleet.segment().row(top).status.load()));
  for (const auto& w : workers) send(w.participant, w.incarnation);
  EXPECT_EQ(fleet.supervisor().wait(), 0);
  for (const auto& [row, number] : asked) {
    worker::ControlReply reply;  // or it had left before it could: that is an answer as well
    EXPECT_TRUE(worker::read_reply(fleet.segment(), row, number, reply)) << "row " << row;
    EXPECT_NE(reply.answer, worker::Answer::kRefused);
  }
}

TEST(Control, WhoTakesARowOverDoesNotObeyWhatItsPredecessorWasAsked) {
  Fleet fleet;
  fleet.handlers.on("x", [](TaskContext&) { return Outcome::success(); });
  fleet.start();
  const auto first = fleet.workers().at(0);
  const auto number =
      worker::send_request(fleet.segment(), first.participant, first.incarnation - 1, worker::Command::kShutdown, 3);
  worker::ControlReply reply;
  EXPECT_TRUE(worker::read_reply(fleet.segment(), first.participant, number, reply));
  EXPECT_EQ(reply.answer, worker::Answer::kLeft);
  EXPECT_EQ(ask(fleet, first.participant, worker::Command::kPing).value, 0u);
  EXPECT_EQ(fleet.workers().at(0).pid, first.pid);
}

TEST_F(Stop, ARunningTaskThatIsRevokedIsToldAndCancelled) {
  start();
  const auto revoked = engine::Control(fleet.engine()).revoke(running, /*terminate=*/true, base::monotonic_ns());
  EXPECT_EQ(revoked, engine::Revoked::kAsked);
  EXPECT_TRUE(wait_until([&] { return state_of(fleet, running) == "cancelled"; }, kPatience));
  ASSERT_TRUE(wait_until([&] { return fleet.notes_of("started") == 2; }, kPatience));
  fleet.note("go");
  EXPECT_TRUE(wait_until([&] { return state_of(fleet, waiting) == "succeeded"; }, kPatience));
  EXPECT_EQ(result_of(fleet, waiting), "went") << "the stop token of the one must not stop the other";
}

}  // namespace
}  // namespace stem::test
