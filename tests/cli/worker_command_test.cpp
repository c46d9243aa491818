// `stem worker ...` on real workers, started by `stem worker start`.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "node.hpp"
#include "scene.hpp"
#include "shm/layout.hpp"
#include "tests/support/process.hpp"
#include "tests/support/wait.hpp"

namespace stem::cli_test {
namespace {

using nlohmann::json;
using test::wait_until;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Runs until a file of that name appears in the scene.
std::string held(const Scene& scene, const std::string& file) {
  return "held=while [ ! -e " + scene.directory() + "/" + file + " ]; do sleep 0.01; done";
}

std::vector<std::string> names(const json& document) {
  std::vector<std::string> all;
  for (const auto& row : document["workers"]) all.push_back(row["worker"]);
  return all;
}

json row_of(const json& document, const std::string& name) {
  for (const auto& row : document["workers"])
    if (row["worker"] == name) return row;
  ADD_FAILURE() << "no row of " << name << " in " << document.dump(1);
  return {};
}

class Workers : public ::testing::Test {
 protected:
  Workers()
      : segment_(scene_.segment()),
        alpha_(scene_, "alpha",
               {"-c", "2", "-q", "mail", "-q", "img", "--exec", held(scene_, "go"), "--exec", "quick=true"}),
        beta_(scene_, "beta", {"-c", "1", "-q", "other", "--exec", "quick=true"}) {}

  Scene scene_;
  std::shared_ptr<shm::Segment> segment_;
  Node alpha_, beta_;
};

TEST_F(Workers, EveryOneAnswersAPing) {
  const json all = scene_.run_json({"worker", "ping"});
  EXPECT_THAT(names(all), ElementsAre("alpha", "alpha-1", "alpha-2", "beta", "beta-1"));
  for (const auto& row : all["workers"]) {
    EXPECT_TRUE(row["answered"].get<bool>());
    EXPECT_GT(row["afterNs"].get<std::int64_t>(), 0);
  }
  EXPECT_THAT(names(scene_.run_json({"worker", "ping", "-w", "beta"})), ElementsAre("beta", "beta-1"));
  EXPECT_THAT(names(scene_.run_json({"worker", "ping", "-w", "alpha-2", "-w", "beta-1"})),
              ElementsAre("alpha-2", "beta-1"));
  const Outcome table = scene_.run({"worker", "ping"});
  EXPECT_EQ(table.exit_code, 0);
  EXPECT_THAT(lines_of(table.out).at(0), HasSubstr("ANSWER"));
  EXPECT_EQ(lines_of(table.out).size(), 6u);
}

TEST_F(Workers, AreSelectedByTheQueuesTheyServe) {
  for (const char* queue : {"mail", "img"}) {
    EXPECT_THAT(names(scene_.run_json({"worker", "ping", "-q", queue})), ElementsAre("alpha", "alpha-1", "alpha-2"));
    EXPECT_THAT(names(scene_.run_json({"worker", "status", "-q", queue})), ElementsAre("alpha", "alpha-1", "alpha-2"));
  }
  EXPECT_THAT(names(scene_.run_json({"worker", "inspect", "-q", "other"})), ElementsAre("beta", "beta-1"));
  EXPECT_THAT(names(scene_.run_json({"worker", "stats", "-q", "other", "-q", "img"})),
              ElementsAre("alpha", "alpha-1", "alpha-2", "beta", "beta-1"));
  EXPECT_THAT(names(scene_.run_json({"worker", "resize", "2", "-q", "other"})), ElementsAre("beta"));
  const Outcome unknown = scene_.run({"worker", "ping", "-q", "mial"});
  EXPECT_EQ(unknown.exit_code, 1);
  EXPECT_THAT(unknown.err, HasSubstr("did you mean mail?"));
  (void)scene_.enqueue({"t", "-q", "lonely"});
  const Outcome nobody = scene_.run({"worker", "pause", "-q", "lonely"});
  EXPECT_EQ(nobody.exit_code, 3);
  EXPECT_THAT(nobody.err, HasSubstr("no worker serves that queue"));
}

TEST_F(Workers, UnknownNamesAreSaid) {
  const Outcome ping = scene_.run({"worker", "ping", "-w", "gamma", "-w", "beta"});
  EXPECT_EQ(ping.exit_code, 1);
  EXPECT_THAT(ping.out, HasSubstr("unknown"));
  EXPECT_EQ(scene_.run_json({"worker", "ping", "-w", "gamma"}, 1)["unknown"], json({"gamma"}));
  const Outcome status = scene_.run({"worker", "status", "-w", "gamma"});
  EXPECT_EQ(status.exit_code, 1);
  EXPECT_THAT(status.err, HasSubstr("no worker is named gamma"));
}

TEST_F(Workers, StatusHasTheColumnsOfTheReference) {
  const Outcome table = scene_.run({"worker", "status"});
  ASSERT_EQ(table.exit_code, 0) << table.err;
  const std::string header = lines_of(table.out).at(0);
  std::size_t at = 0;
  for (const char* name :
       {"WORKER", "NODE", "PID", "CORE", "STATE", "INFLIGHT", "DONE", "FAILED", "RSS", "LAST-HEARTBEAT"}) {
    const std::size_t found = header.find(name, at);
    ASSERT_NE(found, std::string::npos) << name << " in " << header;
    at = found;
  }
  const json all = scene_.run_json({"worker", "status"});
  EXPECT_EQ(row_of(all, "alpha")["pid"], alpha_.process().pid());
  EXPECT_EQ(row_of(all, "alpha")["supervisor"], true);
  EXPECT_EQ(row_of(all, "alpha-2")["node"], "alpha");
  EXPECT_EQ(row_of(all, "alpha-2")["state"], "idle");
  EXPECT_GT(row_of(all, "alpha-2")["rssBytes"].get<std::uint64_t>(), 0u);
}

TEST_F(Workers, InspectAndStatsSayWhatTheyRunAndHaveDone) {
  const std::string running = scene_.enqueue({"held", "-q", "mail"});
  (void)scene_.enqueue({"quick", "-q", "other", "--wait"});
  ASSERT_TRUE(wait_until(
      [&] {
        return scene_.run({"worker", "inspect"}).out.find(running) != std::string::npos;
      },
      test::kLong));
  std::vector<std::string> running_now;
  const json inspected = scene_.run_json({"worker", "inspect"});
  for (const auto& row : inspected["workers"]) {
    if (row["task"].is_null()) continue;
    running_now.push_back(row["task"]["id"]);
    EXPECT_EQ(row["task"]["name"], "held");
    EXPECT_EQ(row["node"], "alpha");
    EXPECT_EQ(row["state"], "busy");
    EXPECT_GT(row["task"]["runningForNs"].get<std::int64_t>(), 0);
  }
  EXPECT_THAT(running_now, ElementsAre(running));
  const Outcome table = scene_.run({"worker", "inspect"});
  EXPECT_THAT(table.out, HasSubstr(running));
  EXPECT_EQ(row_of(scene_.run_json({"worker", "stats"}), "beta-1")["done"], 1);
  std::ofstream(scene_.directory() + "/go").flush();
  EXPECT_EQ(scene_.run({"task", "wait", running, "--timeout", "60s"}).exit_code, 0);
}

TEST_F(Workers, PausedOnesTakeNothingUntilTheyAreResumed) {
  EXPECT_THAT(names(scene_.run_json({"worker", "pause", "-w", "beta"})), ElementsAre("beta", "beta-1"));
  EXPECT_EQ(row_of(scene_.run_json({"worker", "status"}), "beta-1")["state"], "paused");
  const Outcome told =
      scene_.run({"events", "--json", "--kind", "control-command-received", "--kind", "control-command-completed"});
  EXPECT_THAT(told.out, HasSubstr(R"("event":"control-command-received")"));
  EXPECT_THAT(told.out, HasSubstr(R"("command":"pause","answer":"done")"));
  EXPECT_EQ(row_of(scene_.run_json({"worker", "status"}), "alpha-1")["state"], "idle");
  const std::string waiting = scene_.enqueue({"quick", "-q", "other"});
  const std::string elsewhere = scene_.enqueue({"quick", "-q", "mail"});
  EXPECT_EQ(scene_.run({"task", "wait", elsewhere, "--timeout", "60s"}).exit_code, 0);
  EXPECT_EQ(scene_.run_json({"task", "show", waiting})[0]["state"], "queued");
  EXPECT_EQ(scene_.run({"worker", "resume"}).exit_code, 0);
  EXPECT_EQ(scene_.run({"task", "wait", waiting, "--timeout", "60s"}).exit_code, 0);
}

TEST_F(Workers, APauseHoldsForTheProcessThatReplacesOne) {
  ASSERT_EQ(scene_.run({"worker", "pause", "-q", "other"}).exit_code, 0);
  const auto before = row_of(scene_.run_json({"worker", "status"}), "beta-1")["pid"].get<pid_t>();
  ASSERT_EQ(::kill(before, SIGKILL), 0);
  json now;
  ASSERT_TRUE(wait_until(
      [&] {
        now = json::parse(scene_.run({"worker", "status", "-w", "beta-1", "--json"}).out);
        return now["workers"].size() == 1 && now["workers"][0]["pid"] != before &&
               now["workers"][0]["answered"] == true;
      },
      test::kLong));
  EXPECT_EQ(now["workers"][0]["state"], "paused");
}

TEST_F(Workers, ResizeChangesTheNumberOfProcesses) {
  const auto count = [&](std::size_t wanted) {
    return wait_until(
        [&] {
          return json::parse(scene_.run({"worker", "status", "-w", "alpha", "--json"}).out)["workers"].size() ==
                 wanted + 1;
        },
        test::kLong);
  };
  EXPECT_THAT(names(scene_.run_json({"worker", "resize", "4", "-w", "alpha"})), ElementsAre("alpha"));
  EXPECT_TRUE(count(4));
  EXPECT_EQ(scene_.run({"worker", "resize", "1", "-w", "alpha"}).exit_code, 0);
  EXPECT_TRUE(count(1));
  EXPECT_THAT(names(scene_.run_json({"worker", "ping", "-w", "beta"})), ElementsAre("beta", "beta-1"));
  for (const char* bad : {"many", "-1", "1025", ""})
    EXPECT_EQ(scene_.run({"worker", "resize", bad}).exit_code, 2) << bad;
  EXPECT_EQ(scene_.run({"worker", "resize"}).exit_code, 2);
  const Outcome process = scene_.run({"worker", "resize", "2", "-w", "alpha-1"});
  EXPECT_EQ(process.exit_code, 2);
  EXPECT_THAT(process.err, HasSubstr("nodes"));
}

TEST_F(Workers, ShutdownEndsWhomItNames) {
  EXPECT_EQ(scene_.run({"worker", "shutdown", "-w", "beta"}).exit_code, 0);
  EXPECT_EQ(beta_.process().wait(), 0);
  EXPECT_TRUE(alpha_.process().running());
  EXPECT_THAT(names(scene_.run_json({"worker", "ping"})), ElementsAre("alpha", "alpha-1", "alpha-2"));
  // Hard: what runs goes back without using an attempt.
  const std::string running = scene_.enqueue({"held", "-q", "mail"});
  ASSERT_TRUE(wait_until(
      [&] {
        return scene_.run_json({"task", "show", running})[0]["state"] == "running";
      },
      test::kLong));
  EXPECT_EQ(scene_.run({"worker", "shutdown", "--mode", "hard"}).exit_code, 0);
  EXPECT_EQ(alpha_.process().wait(), 0);
  const json task = scene_.run_json({"task", "show", running})[0];
  EXPECT_EQ(task["state"], "queued");
  EXPECT_EQ(task["attempts"], 0);
  const Outcome nobody = scene_.run({"worker", "ping"});
  EXPECT_EQ(nobody.exit_code, 3);
  EXPECT_THAT(nobody.err, HasSubstr("no worker is attached"));
  EXPECT_EQ(scene_.run({"worker", "status"}).out, "no workers\n");
  EXPECT_EQ(scene_.run({"worker", "shutdown", "--mode", "rude"}).exit_code, 2);
  EXPECT_EQ(scene_.run({"segment", "verify"}).exit_code, 0);
}

TEST_F(Workers, AStoppedOneIsSilentAndSaidSo) {
  const auto pid = row_of(scene_.run_json({"worker", "status"}), "beta-1")["pid"].get<pid_t>();
  ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  const json answers = scene_.run_json({"worker", "ping", "--timeout", "100ms"}, 3);
  EXPECT_EQ(row_of(answers, "beta-1")["answered"], false);
  EXPECT_TRUE(row_of(answers, "beta-1")["afterNs"].is_null());
  EXPECT_EQ(row_of(answers, "alpha-1")["answered"], true);
  EXPECT_EQ(row_of(scene_.run_json({"worker", "status", "--timeout", "100ms"}, 3), "beta-1")["state"], "silent");
  ASSERT_EQ(::kill(pid, SIGCONT), 0);
  EXPECT_EQ(scene_.run({"worker", "ping", "--timeout", "60s"}).exit_code, 0);
}

TEST(WorkerStart, SaysWhatItServesAndObeysItsSignals) {
  const Scene scene;
  Node node(scene, "n",
            {"-q", "a", "-q", "b,c", "-c", "1", "--exec", "x=true", "--max-memory-per-child", "512MiB",
             "--max-tasks-per-child", "7", "--autoscale", "1,3", "--spin-us", "0"});
  const std::string text = node.output();
  for (const char* part : {"queues      a, b, c\n", "x (exec: true)", "7 tasks per process", "512.0 MiB per process",
                           "1 to 3 processes", "parks at once"})
    EXPECT_THAT(text, HasSubstr(part));
  node.process().signal(SIGINT);
  EXPECT_EQ(node.process().wait(), 0);
}

TEST(WorkerStart, OfAnotherNamespaceIsNobodysBusinessHere) {
  const Scene scene;
  Node ours(scene, "ours", {"--namespace", "one", "-c", "1", "--exec", "where=printf '\"one\"'"});
  Node theirs(scene, "theirs", {"--namespace", "two", "-c", "1", "--exec", "where=printf '\"two\"'"});
  for (const std::string name : {"one", "two"}) {
    const Outcome ran = scene.run({"enqueue", "where", "--namespace", name, "--wait", "--timeout", "60s"});
    EXPECT_EQ(ran.exit_code, 0) << ran.err;
    EXPECT_THAT(ran.out, HasSubstr(name));
    EXPECT_THAT(names(scene.run_json({"worker", "ping", "--namespace", name})),
                name == "one" ? ElementsAre("ours", "ours-1") : ElementsAre("theirs", "theirs-1"));
    EXPECT_EQ(scene.run({"segment", "verify", "--namespace", name}).exit_code, 0);
  }
  // An id of the one means nothing in the other.
  const Outcome id = scene.run({"enqueue", "where", "--namespace", "one"});
  const Outcome stranger = scene.run({"task", "show", "--namespace", "two", lines_of(id.out).at(0)});
  EXPECT_EQ(stranger.exit_code, 1);
  EXPECT_THAT(stranger.err, HasSubstr("another segment"));
  EXPECT_EQ(scene.run({"worker", "shutdown", "--namespace", "one"}).exit_code, 0);
  EXPECT_EQ(ours.process().wait(), 0);
  EXPECT_TRUE(theirs.process().running());
}

// The file of another version is left alone, and everybody says why.
TEST(WorkerStart, OnASegmentOfAnotherVersionIsRefusedByName) {
  Scene scene;
  const std::string path = scene.segment()->path();
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    const std::uint32_t version = shm::kLayoutVersion + 1;
    file.seekp(offsetof(shm::Header, version));
    file.write(reinterpret_cast<const char*>(&version), sizeof version);
    ASSERT_TRUE(file.good());
  }
  const std::vector<std::vector<std::string>> commands{{"worker", "start", "--exec", "x=true"},
                                                       {"enqueue", "x"},
                                                       {"observe", "queues"},
                                                       {"worker", "ping"},
                                                       {"top", "--once"}};
  for (const auto& words : commands) {
    const Outcome outcome = scene.run(words);
    EXPECT_EQ(outcome.exit_code, 70) << words[0];
    EXPECT_THAT(outcome.err, HasSubstr("version"));
    EXPECT_EQ(lines_of(outcome.err).size(), 1u) << outcome.err;
  }
}

// The wall clock of a worker is set two hours on, and then back: nothing that waits or runs notices.
TEST(WorkerStart, AClockThatIsSetChangesNothing) {
  const Scene scene;
  const std::string step = scene.directory() + "/step";
  const auto set_clock = [&](std::int64_t seconds) {
    std::ofstream file(step + ".new", std::ios::binary);
    file.write(reinterpret_cast<const char*>(&seconds), sizeof seconds);
    file.close();
    std::filesystem::rename(step + ".new", step);
  };
  set_clock(0);
  Node node(scene, "n", {"-c", "2", "--exec", held(scene, "go"), "--exec", "date=date +%s"},
            {{"LD_PRELOAD", std::string(STEM_BUILD_BIN_DIR) + "/cli_set_clock.so"}, {"STEM_TEST_CLOCK", step}});
  const std::string running = scene.enqueue({"held"});
  const std::string in_an_hour = scene.enqueue({"held", "--delay", "1h"});
  const std::string expires = scene.enqueue({"held", "--delay", "1h", "--expires", "90m"});
  ASSERT_TRUE(wait_until(
      [&] {
        return scene.run_json({"task", "show", running})[0]["state"] == "running";
      },
      test::kLong));
  for (const std::int64_t seconds : {7200, -7200}) {
    set_clock(seconds);
    // The clock is set indeed, and the worker has gone round with it: a task that tells the time says so.
    const Outcome said = scene.run({"enqueue", "date", "--wait", "--timeout", "60s"});
    ASSERT_EQ(said.exit_code, 0) << said.err;
    const std::int64_t off = std::atoll(said.out.substr(said.out.find('"') + 1).c_str()) - ::time(nullptr);
    EXPECT_LT(std::abs(off - seconds), 60) << said.out;
    EXPECT_EQ(scene.run_json({"task", "show", running})[0]["state"], "running");
    EXPECT_EQ(scene.run_json({"task", "show", in_an_hour})[0]["state"], "delayed");
    EXPECT_EQ(scene.run_json({"task", "show", expires})[0]["state"], "delayed");
  }
  std::ofstream(scene.directory() + "/go").flush();
  EXPECT_EQ(scene.run({"task", "wait", running, "--timeout", "60s"}).exit_code, 0);
  EXPECT_EQ(scene.run_json({"task", "show", running})[0]["attempts"], 0) << "it ran once";
}

TEST(WorkerStart, WithoutAQueueServesTheDefaultQueue) {
  const Scene scene;
  RunOptions options = scene.options();
  options.environment["STEM_DEFAULT_QUEUE"] = "ours";
  const json shown = json::parse(run_stem({"config", "show", "--json"}, options).out);
  std::string served;
  for (const auto& setting : shown["settings"])
    if (setting["key"] == "worker.queues") served = setting["value"];
  EXPECT_EQ(served, "ours");
}

TEST(WorkerStart, BadFlagsAreOneLineThatSaysWhatToDo) {
  const Scene scene;
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"--exec", "x=true", "-c", "0"}, "1 to 1024"},
      {{"--exec", "x=true", "--autoscale", "5,1"}, "MIN,MAX"},
      {{"--exec", "x=true", "--pin", "nowhere"}, "write auto, none, or numbers"},
      {{"--exec", "x=true", "--pin", "8000"}, "not allowed"},
      {{"--exec", "x=true", "--max-memory-per-child", "lots"}, "64KiB"},
      {{"--exec", "x=true", "--max-tasks-per-child", "0"}, "number of tasks"},
      {{"--exec", "x=true", "--spin-us", "-1"}, "microseconds"},
      {{"--exec", "x=true", "--drain-timeout", "soon"}, "250ms"},
      {{"--exec", "x=true", "--prefetch-multiplier", "65"}, "1 to 64"},
      {{"--exec", "x=true", "-q", "a b"}, "is not a name"},
      {{"--exec", "x=true", "--nod", "n"}, "did you mean --node?"},
      {{"--exec", "x"}, "NAME=COMMAND"},
      {{"--app", "/no/such.so"}, "/no/such.so"},
      {{}, "--exec"},
  };
  for (const auto& [flags, phrase] : cases) {
    std::vector<std::string> words{"worker", "start"};
    words.insert(words.end(), flags.begin(), flags.end());
    const Outcome outcome = scene.run(words);
    EXPECT_EQ(outcome.exit_code, 2) << ::testing::PrintToString(flags);
    EXPECT_THAT(outcome.err, HasSubstr(phrase));
    EXPECT_LE(lines_of(outcome.err).size(), 2u) << outcome.err;
    EXPECT_TRUE(outcome.out.empty()) << outcome.out;
  }
  EXPECT_FALSE(std::filesystem::exists(scene.directory() + "/stem")) << "a refused command made a segment";
}

}  // namespace
}  // namespace stem::cli_test
