// `stem why` and `stem events` on real workers, real failures and real signals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "node.hpp"
#include "scene.hpp"
#include "tests/support/wait.hpp"

namespace stem::cli_test {
namespace {

using nlohmann::json;
using test::wait_until;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class WhyTest : public ::testing::Test {
 protected:
  WhyTest() : segment_(scene_.segment()) {}

  // Runs until a file `go` appears.
  std::vector<std::string> flags() const {
    return {"-c",     "1",
            "-q",     "mail",
            "--exec", "held=while [ ! -e " + scene_.directory() + "/go ]; do sleep 0.01; done",
            "--exec", "bad=echo broken pipe >&2; exit 3"};
  }
  json why(const std::string& id) const { return scene_.run_json({"why", id}); }
  std::vector<std::string> because(const std::string& id) const { return why(id)["because"]; }
  std::string state(const std::string& id) const { return scene_.run_json({"task", "show", id})[0]["state"]; }
  // Whoever is left running holds the test's output open until its worker has drained.
  void finish(const std::vector<std::string>& ids) const {
    std::ofstream(scene_.directory() + "/go") << "\n";
    for (const std::string& id : ids)
      EXPECT_TRUE(wait_until([&] { return state(id) == "succeeded"; }, test::kLong)) << id;
  }
  std::vector<std::string> events_of(const std::string& id) const {
    std::vector<std::string> names;
    for (const std::string& line : lines_of(scene_.run({"events", "--json", "--id", id}).out))
      names.push_back(json::parse(line)["event"]);
    return names;
  }

  Scene scene_;
  std::shared_ptr<shm::Segment> segment_;
};

TEST_F(WhyTest, NobodyServesIt) {
  const std::string id = scene_.enqueue({"held", "-q", "mail"});
  EXPECT_THAT(because(id), ElementsAre(HasSubstr("no worker serves queue mail")));
  EXPECT_THAT(scene_.run({"why", id}).out, HasSubstr("stem worker start --queue mail"));
  ASSERT_EQ(scene_.run({"queue", "pause", "mail"}).exit_code, 0);
  EXPECT_THAT(because(id), Contains(HasSubstr("paused")));
  EXPECT_THAT(scene_.run({"events", "--kind", "queue-paused"}).out, HasSubstr("queue mail paused"));
}

TEST_F(WhyTest, ItWaitsBehindOthersAndAStoppedWorker) {
  Node node(scene_, "alpha", flags());
  const std::string first = scene_.enqueue({"held", "-q", "mail"});
  ASSERT_TRUE(wait_until([&] { return state(first) == "running"; }, test::kLong));
  const std::string middle = scene_.enqueue({"held", "-q", "mail", "--priority", "5"});
  const std::string last = scene_.enqueue({"held", "-q", "mail"});
  const json told = why(last);
  EXPECT_EQ(told["ahead"], 1);
  const std::vector<std::string> reasons = told["because"];
  EXPECT_THAT(reasons, Contains(HasSubstr("1 tasks of its queue go before it")));
  EXPECT_THAT(reasons, Contains(HasSubstr("1 of 1 worker processes")));
  EXPECT_THAT(reasons, Contains(AllOf(HasSubstr("alpha-1"), HasSubstr(first))));
  EXPECT_THAT(because(first), Contains(HasSubstr("sleeps")));
  const json worker = scene_.run_json({"task", "show", first})[0]["worker"];
  const int pid = worker["pid"];
  ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  EXPECT_TRUE(
      wait_until([&] { return why(first).dump().find("stopped by a signal") != std::string::npos; }, test::kLong));
  EXPECT_THAT(why(first)["try"].get<std::vector<std::string>>(), Contains("kill -CONT " + std::to_string(pid)));
  ASSERT_EQ(::kill(pid, SIGCONT), 0);
  finish({first, middle, last});
}

TEST_F(WhyTest, AKilledWorkerIsExplained) {
  Node node(scene_, "alpha", flags());
  const std::string id = scene_.enqueue({"held", "-q", "mail"});
  ASSERT_TRUE(wait_until([&] { return state(id) == "running"; }, test::kLong));
  const int pid = scene_.run_json({"task", "show", id})[0]["worker"]["pid"];
  ASSERT_EQ(::kill(pid, SIGSEGV), 0);
  ASSERT_TRUE(wait_until([&] { return !events_of(id).empty(); }, test::kLong));
  EXPECT_THAT(events_of(id), Contains("task-redelivered"));
  EXPECT_THAT(scene_.run({"why", id}).out, HasSubstr("alpha-1 died of SIGSEGV while it ran it"));
  EXPECT_TRUE(wait_until(
      [&] {
        return scene_.run({"events", "--kind", "worker-child-shutdown"}).out.find("SIGSEGV") != std::string::npos;
      },
      test::kLong));
  finish({id});
}

TEST_F(WhyTest, AFailedTaskTellsEachAttempt) {
  Node node(scene_, "alpha", flags());
  const std::string id = scene_.enqueue({"bad", "-q", "mail", "--max-retries", "1"});
  ASSERT_TRUE(wait_until([&] { return state(id) == "dead"; }, test::kLong));
  EXPECT_THAT(events_of(id), ElementsAre("task-retry", "task-failed"));
  const json told = why(id);
  EXPECT_EQ(told["state"], "dead");
  EXPECT_THAT(told["because"].get<std::vector<std::string>>(),
              Contains(AllOf(HasSubstr("max-retries-exhausted"), HasSubstr("broken pipe"))));
  EXPECT_EQ(told["life"][0]["attempt"], 0);
  EXPECT_EQ(told["life"][0]["by"], "alpha-1");
  EXPECT_EQ(told["life"][1]["reason"], "max-retries-exhausted");
}

TEST_F(WhyTest, ADelayAndALimitAreTold) {
  const std::string later = scene_.enqueue({"bad", "-q", "mail", "--delay", "1h"});
  EXPECT_THAT(because(later), ElementsAre(HasSubstr("enqueued to start later: in 59m")));
  ASSERT_EQ(scene_.run({"queue", "set", "mail", "--concurrency", "1"}).exit_code, 0);
  auto two = flags();
  two[1] = "2";
  Node node(scene_, "alpha", two);
  const std::string a = scene_.enqueue({"held", "-q", "mail"});
  ASSERT_TRUE(wait_until([&] { return state(a) == "running"; }, test::kLong));
  const std::string b = scene_.enqueue({"held", "-q", "mail"});
  EXPECT_TRUE(wait_until(
      [&] { return why(b).dump().find("the queue's limit of 1 running at once is reached") != std::string::npos; },
      test::kLong));
  finish({a, b});
}

TEST_F(WhyTest, WhatIsNotThereIsSaid) {
  const Outcome wrong = scene_.run({"why", "nonsense"});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_THAT(wrong.err, HasSubstr("no task id"));
  EXPECT_EQ(scene_.run({"why", "00000001-0000000001000000"}).exit_code, 1);
  EXPECT_EQ(scene_.run({"events", "--kind", "task-eaten"}).exit_code, 2);
}

TEST_F(WhyTest, FollowersAreToldWhatEveryTaskDoes) {
  Node node(scene_, "alpha", {"-c", "1", "-q", "mail", "--exec", "quick=true"});
  const std::string file = scene_.directory() + "/events";
  test::Process follower([&] {
    ::setenv("STEM_SHM_DIRECTORY", scene_.directory().c_str(), 1);
    if (std::freopen(file.c_str(), "w", stdout) == nullptr) return 126;
    ::execl(stem_path().c_str(), "stem", "events", "--follow", "--json", nullptr);
    return 127;
  });
  const auto told = [&] {
    std::ifstream in(file);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  // The first tasks may come before the follower has said so.
  ASSERT_TRUE(wait_until(
      [&] {
        (void)scene_.enqueue({"quick", "-q", "mail"});
        return told().find("after-task-publish") != std::string::npos;
      },
      test::kLong));
  const std::string id = scene_.enqueue({"quick", "-q", "mail"});
  const auto succeeded = [&] {
    const auto lines = lines_of(told());
    return std::any_of(lines.begin(), lines.end(), [&](const std::string& line) {
      return line.find(id) != std::string::npos && line.find("task-succeeded") != std::string::npos;
    });
  };
  ASSERT_TRUE(wait_until(succeeded, test::kLong));
  std::vector<std::string> names;
  for (const std::string& line : lines_of(told())) {
    const json event = json::parse(line);
    if (event.value("id", "") == id) names.push_back(event["event"]);
  }
  EXPECT_THAT(names, ElementsAre("after-task-publish", "task-prerun", "task-succeeded"));
  follower.signal(SIGTERM);
  EXPECT_EQ(follower.wait(), 0);
}

}  // namespace
}  // namespace stem::cli_test
