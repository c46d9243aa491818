// stem-bench as a person runs it: exit codes, files, and nothing left behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <thread>

#include "bench/server_process.hpp"

namespace stem::bench {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string kProgram = STEM_BUILD_BIN_DIR "/stem-bench";

std::string content_of(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Outcome {
  int code = -1;
  std::string out;
  std::string err;
};

Outcome run(const std::string& arguments) {
  const TemporaryDirectory directory;
  const std::string out = directory.path() + "/out", err = directory.path() + "/err";
  const int status = std::system((kProgram + " " + arguments + " >" + out + " 2>" + err).c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, content_of(out), content_of(err)};
}

constexpr const char* kSmallFloor = "floor --runs 2 --rounds 2000 --messages 300000 --wakes 20";

TEST(Program, HelpNamesTheCommandsAndTheirOptions) {
  const Outcome all = run("--help");
  EXPECT_EQ(all.code, 0);
  EXPECT_THAT(all.out, HasSubstr("floor"));
  EXPECT_THAT(all.out, HasSubstr("peers"));
  for (const char* command : {"floor", "peers"}) {
    const Outcome one = run(std::string(command) + " --help");
    EXPECT_EQ(one.code, 0);
    for (const char* option : {"--runs", "--cpus", "--json", "--plot"}) EXPECT_THAT(one.out, HasSubstr(option));
  }
}

class Usage : public ::testing::TestWithParam<const char*> {};

TEST_P(Usage, IsExitCodeTwoWithAReason) {
  const Outcome outcome = run(GetParam());
  EXPECT_EQ(outcome.code, 2);
  EXPECT_NE(outcome.err, "");
}

INSTANTIATE_TEST_SUITE_P(Wrong, Usage,
                         ::testing::Values("", "flor", "floor --nonsense", "floor --runs 0", "floor --runs many",
                                           "floor --cpus 0", "floor --cpus 0,0", "floor --cpus 0,9999",
                                           "peers --only kafka", "federation --only nonsense", "federation --tasks 1",
                                           "journal --only nonsense", "journal --tasks 1",
                                           "journal --directory /nonexistent/directory", "peers --payload-bytes 3"));

TEST(Program, AFileThatCannotBeWrittenIsExitCodeSeventy) {
  const Outcome outcome = run(std::string(kSmallFloor) + " --json /nonexistent/directory/file");
  EXPECT_EQ(outcome.code, 70);
  EXPECT_THAT(outcome.err, HasSubstr("/nonexistent/directory/file"));
}

TEST(Program, FloorPrintsItsCommandLineAndWritesBothFiles) {
  const TemporaryDirectory directory;
  const std::string json_path = directory.path() + "/floor.json", plot_path = directory.path() + "/floor.svg";
  const Outcome outcome = run(std::string(kSmallFloor) + " --json " + json_path + " --plot " + plot_path);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, StartsWith("$ stem-bench floor --runs 2 --rounds 2000"));
  EXPECT_THAT(outcome.out, HasSubstr("Placement: "));
  EXPECT_THAT(content_of(plot_path), StartsWith("<svg"));

  const auto json = nlohmann::json::parse(content_of(json_path));
  EXPECT_EQ(json.at("command"), "floor");
  for (const auto& [table, row, value] :
       {std::tuple{"handoff", "handoff_64b", "p50_ns"}, std::tuple{"ring", "ring_8192_batch64", "messages_per_s"},
        std::tuple{"ring", "ring_8192_batch64", "steady_messages_per_s"}, std::tuple{"futex", "wake_20us", "p50_ns"},
        std::tuple{"futex", "wake_1ms", "p99_ns"}, std::tuple{"clock", "rdtsc", "cost_ns"},
        std::tuple{"clock", "clock_monotonic", "cost_ns"}}) {
    bool found = false;
    for (const auto& one : json.at("tables").at(table).at("rows")) {
      if (one.at("name") != row) continue;
      found = true;
      EXPECT_GT(one.at(value).get<double>(), 0) << row;
    }
    EXPECT_TRUE(found) << row;
  }
}

TEST(Program, JsonOnStandardOutputStandsAlone) {
  const Outcome outcome = run("peers --runs 1 --tasks 500 --only redis_lists_100 --only beanstalkd_100 --json -");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto json = nlohmann::json::parse(outcome.out);
  const auto& rows = json.at("tables").at("peers").at("rows");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].at("name"), "redis_lists_100");
  EXPECT_EQ(rows[0].at("ratio_redis_lists_100"), 1.0);
  EXPECT_GT(rows[1].at("tasks_per_s").get<double>(), 0);
  EXPECT_THAT(outcome.err, HasSubstr("$ stem-bench peers"));
}

TEST(Program, FederationMeasuresEachFigureBesideItsFloor) {
  const Outcome outcome =
      run("federation --runs 1 --tasks 4000 --starts 10 --local-tasks 200000 --passing-tasks 3000 --only export --only "
          "import --only start --only passing --json -");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto tables = nlohmann::json::parse(outcome.out).at("tables");
  for (const char* figure : {"export", "import", "start", "start_gateways_spin"}) {
    bool found = false;
    for (const auto& row : tables.at("ratio").at("rows")) {
      if (row.at("name") != figure) continue;
      found = true;
      EXPECT_GT(row.at("ratio").get<double>(), 0) << figure;
    }
    EXPECT_TRUE(found) << figure;
  }
  const auto& memory = tables.at("memory").at("rows");
  ASSERT_EQ(memory.size(), 3u);
  EXPECT_EQ(memory[2].at("tasks"), 3000);
  EXPECT_GT(memory[2].at("import_own_bytes").get<double>(), 0);
  EXPECT_THAT(outcome.err, HasSubstr("0 entries were left in the stream and 0 pending"));
}

TEST(Program, LocalWorkIsMeasuredBesideAGateway) {
  const Outcome outcome = run("federation --runs 1 --tasks 2000 --local-tasks 30000000 --only local --json -");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto rows = nlohmann::json::parse(outcome.out).at("tables").at("ratio").at("rows");
  ASSERT_EQ(rows.size(), 4u);
  for (const auto& row : rows) EXPECT_GT(row.at("ratio").get<double>(), 0) << row.at("name");
}

TEST(Program, IoMeasuresEachFigureBesideABareLoop) {
  const Outcome outcome = run("io --runs 1 --sleepers 200 --operations 3000 --wakes 20 --json -");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto tables = nlohmann::json::parse(outcome.out).at("tables");
  for (const char* table : {"rates", "times"})
    for (const auto& row : tables.at(table).at("rows")) EXPECT_GT(row.at("ratio").get<double>(), 0) << row.at("name");
  EXPECT_EQ(tables.at("times").at("rows").size(), 5u);
  EXPECT_GT(tables.at("memory").at("rows").at(0).at("bytes").get<double>(), 0);
}

TEST(Program, TheJournalIsMeasuredBesideTheDisk) {
  const Outcome outcome =
      run("journal --runs 1 --appends 5000 --tasks 20000 --warm-up 1000 --backlog 2000 --paced 500 --syncs 20 "
          "--live-tasks 2000 --peer-tasks 500 --json -");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto json = nlohmann::json::parse(outcome.out);
  std::set<std::string> seen;
  for (const auto& row : json.at("tables").at("journal").at("rows")) {
    const auto name = row.at("name").get<std::string>();
    seen.insert(name);
    EXPECT_GT(row.at("ratio").get<double>(), 0) << name;
    EXPECT_LE(row.at("ratio_least").get<double>(), row.at("ratio_most").get<double>()) << name;
  }
  for (const char* name :
       {"append", "append_grows", "append_disk", "append_one", "flow", "flow_one", "flow_amplification",
        "producers_32_100", "enqueue_p99", "sync_p50", "shared", "recovery", "peer_redis_aof_everysec",
        "peer_redis_aof_always", "peer_beanstalkd_binlog", "peer_beanstalkd_binlog_always"})
    EXPECT_TRUE(seen.contains(name)) << name;
}

TEST(Program, AJournalInMemoryIsNotMeasured) {
  const Outcome outcome = run("journal --runs 1 --directory /dev/shm --only sync");
  EXPECT_EQ(outcome.code, 70);
  EXPECT_THAT(outcome.err, HasSubstr("is in memory"));
}

// Ctrl-C in the middle: the server is stopped and its directory removed.
TEST(Program, AnInterruptLeavesNothingBehind) {
  const TemporaryDirectory directory, logs;
  const std::string log = logs.path() + "/log";
  const pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    setenv("TMPDIR", directory.path().c_str(), 1);
    if (std::freopen(log.c_str(), "w", stdout) == nullptr || std::freopen(log.c_str(), "w", stderr) == nullptr)
      _exit(1);
    execl(kProgram.c_str(), kProgram.c_str(), "peers", "--only", "redis_lists_1", "--tasks", "200", "--runs", "1000",
          nullptr);
    _exit(127);
  }
  // In the middle of its work: some runs are done, most are not.
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (content_of(log).find("run 2/1000") == std::string::npos && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_THAT(content_of(log), HasSubstr("run 2/1000"));
  kill(pid, SIGINT);
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFEXITED(status)) << status;
  EXPECT_EQ(WEXITSTATUS(status), 70);
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

}  // namespace
}  // namespace stem::bench
