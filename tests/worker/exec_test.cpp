// Commands as handlers.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "tests/worker/fleet.hpp"
#include "worker/exec_handler.hpp"

namespace stem::test {
namespace {

class Exec : public testing::Test {
 protected:
  engine::TaskInfo run(const std::string& command, std::string_view payload = {}, std::uint16_t max_retries = 0) {
    fleet.handlers.on("command", worker::exec_handler(command));
    fleet.start();
    engine::TaskExtras extras;
    extras.retry = {engine::RetryKind::kConstant, 1'000'000, 1'000'000};
    const auto id = fleet.put("command", payload, &extras, max_retries);
    const auto over = [&] {
      const auto info = fleet.task(id);
      return info && (info->state == shm::State::kDead || info->state == shm::State::kDone);
    };
    EXPECT_TRUE(wait_until(over, kPatience));
    return fleet.task(id).value_or(engine::TaskInfo{});
  }
  static std::string result(const engine::TaskInfo& info) {
    return {reinterpret_cast<const char*>(info.result.data()), info.result.size()};
  }
  Fleet fleet;
};

TEST_F(Exec, PayloadGoesInAndStdoutIsTheResult) {
  const auto info = run("cat; printf ' %s %s' \"$STEM_TASK_NAME\" \"$STEM_TASK_ATTEMPT\"", "payload");
  EXPECT_EQ(info.state_name, "succeeded");
  EXPECT_EQ(result(info), "payload command 0");
}

TEST_F(Exec, ALargePayloadAndResultPassThroughFullPipes) {
  const std::string large(900'000, 'x');
  const auto info = run("cat", large);
  EXPECT_EQ(result(info), large);
}

TEST_F(Exec, ACommandNeedNotReadItsInput) { EXPECT_EQ(result(run("printf done", std::string(900'000, 'x'))), "done"); }

TEST_F(Exec, ANonZeroExitIsAFailureWithTheEndOfStderr) {
  const auto info = run("echo first >&2; echo 'disk is full' >&2; exit 3");
  ASSERT_TRUE(info.failure);
  EXPECT_EQ(info.state_name, "dead");
  EXPECT_EQ(info.failure->kind(), "exit-3");
  EXPECT_NE(info.failure->message().find("disk is full"), std::string_view::npos);
}

TEST_F(Exec, Exit65IsForGood) {
  const auto info = run("exit 65", {}, /*max_retries=*/5);
  ASSERT_TRUE(info.failure);
  EXPECT_EQ(static_cast<engine::DeadReason>(info.failure->reason), engine::DeadReason::kPermanentFailure);
  EXPECT_EQ(info.failure->attempts, 1u);
}

TEST_F(Exec, Exit75IsTriedAgain) {
  const std::string marker = fleet.directory() + "/marker";
  const auto info = run("test -e " + marker + " && { printf again; exit 0; }; touch " + marker + "; exit 75", {}, 5);
  EXPECT_EQ(info.state_name, "succeeded");
  EXPECT_EQ(result(info), "again");
  EXPECT_TRUE(wait_until([&] { return fleet.count(shm::Counter::kRetried) == 1u; }, kPatience));
}

TEST_F(Exec, ASignalIsAFailureNamedByIt) {
  const auto info = run("kill -TERM $$");
  ASSERT_TRUE(info.failure);
  EXPECT_EQ(info.failure->kind(), "SIGTERM");
  EXPECT_EQ(fleet.count(shm::Counter::kRedelivered), 0u) << "the worker did not die with it";
}

TEST_F(Exec, TooLargeAResultIsRefusedAndNamed) {
  const auto info = run("head -c 1048577 /dev/zero");
  ASSERT_TRUE(info.failure);
  EXPECT_EQ(info.failure->kind(), "result-too-large");
}

TEST_F(Exec, ACommandDiesWithItsWorker) {
  const std::string file = fleet.directory() + "/pid";
  fleet.handlers.on("command", worker::exec_handler("echo $$ > " + file + ".tmp; mv " + file + ".tmp " + file +
                                                    "; sleep 1000 & wait"));
  fleet.start();
  const auto id = fleet.put("command", {}, nullptr, 1);
  pid_t command = 0;
  ASSERT_TRUE(wait_until([&] { return static_cast<bool>(std::ifstream(file) >> command); }, kPatience));
  const pid_t victim = fleet.busy_pid();
  ASSERT_NE(victim, 0);
  ::kill(victim, SIGKILL);
  EXPECT_TRUE(wait_until([&] { return !runs(command); }, kPatience));
  EXPECT_TRUE(wait_until([&] { return ::kill(-command, 0) != 0 || !runs(command); }, kPatience));
  ASSERT_TRUE(wait_until([&] { return fleet.task(id)->tally.attempts == 1; }, kPatience));
}

TEST(ExecWord, IsNameAndCommand) {
  const auto parsed = worker::parse_exec("count=wc -w --x=1");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->first, "count");
  EXPECT_EQ(parsed->second, "wc -w --x=1");
  for (const char* wrong : {"", "count", "=wc", "count="}) EXPECT_FALSE(worker::parse_exec(wrong)) << wrong;
}

}  // namespace
}  // namespace stem::test
