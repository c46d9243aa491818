// `stem dlq`, `stem task retry`, `stem queue` and `stem observe dlq` on real dead letters.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "scene.hpp"

namespace stem::cli_test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Three dead letters of queue mail (two of task send, one of task sign), one of queue other.
class Dead : public ::testing::Test {
 protected:
  void SetUp() override {
    scene_.segment();
    bury("mail", "send");
    bury("mail", "send");
    bury("mail", "sign");
    bury("other", "send");
  }

  void bury(const std::string& queue, const std::string& task) {
    ids_.push_back(scene_.enqueue({task, "-q", queue, "--args", "[7]", "--max-retries", "0"}));
    const TestWorker worker(scene_.segment(), queue,
                            [&](const auto&, std::string&) { return task == "sign" ? End::kBury : End::kFail; });
    worker.await(1);
  }

  json letters(std::vector<std::string> args) const {
    args.insert(args.begin(), {"dlq", "list"});
    return scene_.run_json(args)["letters"];
  }

  json radius(std::vector<std::string> args) const {
    args.insert(args.begin(), {"dlq", "replay", "--dry-run"});
    return scene_.run_json(args)["blastRadius"];
  }

  std::string state(const std::string& id) const { return scene_.run_json({"task", "show", id})[0]["state"]; }

  Scene scene_;
  std::vector<std::string> ids_;
};

TEST_F(Dead, AreListedOldestFirst) {
  const json all = letters({});
  ASSERT_EQ(all.size(), 4u);
  for (std::size_t i = 0; i < ids_.size(); ++i) EXPECT_EQ(all[i]["id"], ids_[i]);
  EXPECT_EQ(all[0]["reason"], "max-retries-exhausted");
  EXPECT_EQ(all[2]["reason"], "permanent-failure");
  EXPECT_EQ(all[0]["error"]["kind"], "TestError");
  EXPECT_EQ(all[0]["fingerprint"], all[1]["fingerprint"]);
  EXPECT_NE(all[0]["fingerprint"], all[2]["fingerprint"]);
  const Outcome table = scene_.run({"dlq", "list"});
  EXPECT_THAT(lines_of(table.out)[0], ::testing::MatchesRegex("ID +TASK +ATTEMPTS +DEAD-AT +REASON +FINGERPRINT"));
}

TEST_F(Dead, AreFiltered) {
  EXPECT_EQ(letters({"-q", "mail"}).size(), 3u);
  EXPECT_EQ(letters({"-q", "mail", "-q", "other"}).size(), 4u) << "the last -q is not the only one";
  EXPECT_EQ(letters({"--id", ids_[0], "-q", "other"}).size(), 0u) << "it is of mail";
  EXPECT_EQ(letters({"--reason", "permanent-failure"}).size(), 1u);
  EXPECT_EQ(letters({"--id", ids_[1]}).size(), 1u);
  EXPECT_EQ(letters({"--since", "1h"}).size(), 4u);
  EXPECT_EQ(letters({"--since", "2200-01-01"}).size(), 0u);
  EXPECT_EQ(letters({"--limit", "2"}).size(), 2u);
  EXPECT_EQ(letters({"--offset", "3"}).size(), 1u);
  EXPECT_EQ(letters({"--offset", "18446744073709551615"}).size(), 0u);
  EXPECT_EQ(letters({"--limit", "0"}).size(), 0u);
  const std::string fingerprint = letters({"-q", "mail"})[0]["fingerprint"];
  EXPECT_EQ(letters({"-q", "mail", "--fingerprint", fingerprint}).size(), 2u);
  EXPECT_THAT(scene_.run({"dlq", "list", "--limit", "1"}).out, HasSubstr("--offset 1"));
}

TEST_F(Dead, BadFiltersAreRefused) {
  for (const auto& [args, code] :
       std::vector<std::pair<std::vector<std::string>, int>>{{{"-q", "mial"}, 1},
                                                             {{"--id", "nonsense"}, 2},
                                                             {{"--reason", "poison"}, 2},
                                                             {{"--fingerprint", "xyz"}, 2},
                                                             {{"--fingerprint", "11111111111111111"}, 2},
                                                             {{"--fingerprint", ""}, 2},
                                                             {{"--since", "whenever"}, 2},
                                                             {{"--limit", "-1"}, 2},
                                                             {{"--limit", "many"}, 2}}) {
    for (const char* command : {"list", "replay", "purge"}) {
      std::vector<std::string> words{"dlq", command};
      words.insert(words.end(), args.begin(), args.end());
      if (std::string(command) != "list") words.emplace_back("--yes");
      EXPECT_EQ(scene_.run(words).exit_code, code) << ::testing::PrintToString(words);
    }
  }
  EXPECT_THAT(scene_.run({"dlq", "list", "-q", "mial"}).err, HasSubstr("did you mean mail?"));
  EXPECT_EQ(letters({}).size(), 4u);
}

TEST_F(Dead, ADryRunSaysTheBlastRadiusAndChangesNothing) {
  const json all = radius({});
  EXPECT_EQ(all["count"], 4);
  EXPECT_EQ(all["byTask"]["send"], 3);
  EXPECT_EQ(all["byTask"]["sign"], 1);
  EXPECT_EQ(all["byReason"]["max-retries-exhausted"], 3);
  EXPECT_LE(all["oldest"], all["newest"]);
  const Outcome text = scene_.run({"dlq", "purge", "-q", "mail", "--dry-run"});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.out, HasSubstr("would purge 3 dead letters; nothing was changed"));
  EXPECT_THAT(text.out, HasSubstr("oldest"));
  EXPECT_EQ(scene_.run({"dlq", "purge"}).exit_code, 2);  // neither --yes nor a person
  EXPECT_EQ(letters({}).size(), 4u);
}

TEST_F(Dead, AreReplayedWithAllTheirAttempts) {
  const json done = scene_.run_json({"dlq", "replay", "-q", "mail", "--limit", "2", "--yes"});
  EXPECT_EQ(done["replayed"], 2);
  EXPECT_EQ(letters({}).size(), 2u);
  const json task = scene_.run_json({"task", "show", ids_[0]})[0];
  EXPECT_EQ(task["state"], "queued");
  EXPECT_EQ(task["attempts"], 0);
  EXPECT_EQ(task["payload"], json::parse("[7]"));
  {
    const TestWorker worker(scene_.segment(), "mail", [](const auto&, std::string&) { return End::kSucceed; });
    worker.await(2);
  }
  EXPECT_EQ(state(ids_[0]), "succeeded");
  EXPECT_EQ(scene_.run({"segment", "verify"}).exit_code, 0);
}

TEST_F(Dead, AReplayCanBeDelayedAndSpread) {
  ASSERT_EQ(scene_.run({"dlq", "replay", "--delay", "1h", "--rate", "1/h", "--yes"}).exit_code, 0);
  std::string previous;
  for (const std::string& id : ids_) {
    const json task = scene_.run_json({"task", "show", id})[0];
    EXPECT_EQ(task["state"], "delayed");
    EXPECT_GT(task["dueAt"].get<std::string>(), previous);
    previous = task["dueAt"];
  }
  EXPECT_EQ(scene_.run({"dlq", "replay", "--rate", "0/s", "--yes"}).exit_code, 2);
  EXPECT_EQ(scene_.run({"dlq", "replay", "--delay", "106751d", "--yes"}).exit_code, 2);
}

TEST_F(Dead, ArePurgedForGood) {
  const json done = scene_.run_json({"dlq", "purge", "--reason", "permanent-failure", "--yes"});
  EXPECT_EQ(done["purged"], 1);
  EXPECT_EQ(letters({}).size(), 3u);
  EXPECT_EQ(scene_.run({"task", "show", ids_[2]}).exit_code, 1);
  EXPECT_EQ(scene_.run({"segment", "verify"}).exit_code, 0);
  EXPECT_THAT(scene_.run({"dlq", "purge", "--reason", "permanent-failure", "--yes"}).out,
              HasSubstr("no dead letters match"));
}

TEST_F(Dead, AreShownWithTheirGroup) {
  const json one = scene_.run_json({"dlq", "show", ids_[0]})[0];
  EXPECT_EQ(one["state"], "dead");
  EXPECT_EQ(one["alike"], 2);
  EXPECT_EQ(one["error"]["reason"], "max-retries-exhausted");
  EXPECT_THAT(scene_.run({"dlq", "show", "--id", ids_[0]}).out, HasSubstr("2 dead letters failed alike"));
  EXPECT_EQ(scene_.run({"dlq", "show"}).exit_code, 2);
  const std::string living = scene_.enqueue({"t"});
  EXPECT_EQ(scene_.run({"dlq", "show", living}).exit_code, 1);
  EXPECT_EQ(scene_.run({"dlq", "replay", "--id", living, "--yes"}).exit_code, 1);
}

TEST_F(Dead, TaskRetryReplaysOne) {
  EXPECT_EQ(scene_.run_json({"task", "retry", ids_[0]})[0]["outcome"], "replayed");
  EXPECT_EQ(state(ids_[0]), "queued");
  EXPECT_EQ(scene_.run({"task", "retry", ids_[0]}).exit_code, 70);
  ASSERT_EQ(scene_.run({"task", "retry", ids_[1], "--delay", "1h"}).exit_code, 0);
  EXPECT_EQ(state(ids_[1]), "delayed");
}

TEST_F(Dead, AreObservedAsGroups) {
  const json seen = scene_.run_json({"observe", "dlq"});
  ASSERT_EQ(seen["groups"].size(), 3u);
  EXPECT_EQ(seen["groups"][0]["count"], 2);
  EXPECT_EQ(seen["groups"][0]["task"], "send");
  EXPECT_EQ(scene_.run_json({"observe", "dlq", "-q", "other"})["groups"].size(), 1u);
  EXPECT_THAT(scene_.run({"observe", "dlq"}).out, HasSubstr("TestError: it was told to"));
}

TEST_F(Dead, RetentionIsSetAndShown) {
  const json set = scene_.run_json({"queue", "set", "mail", "--dlq-retention", "1h", "--dlq-max", "9"});
  EXPECT_EQ(set["dlqRetentionNs"], 3'600'000'000'000);
  EXPECT_EQ(set["dlqMax"], 9);
}

// ---- queue

TEST(QueueCommand, PausedQueuesGiveNothingUntilResumed) {
  Scene scene;
  const auto segment = scene.segment();
  (void)scene.enqueue({"t", "-q", "work"});
  const json paused = scene.run_json({"queue", "pause", "work"});
  EXPECT_EQ(paused[0]["changed"], true);
  EXPECT_EQ(scene.run_json({"queue", "pause", "work"})[0]["changed"], false);
  EXPECT_EQ(scene.run_json({"observe", "queues"})["queues"][0]["paused"], true);
  const TestWorker worker(segment, "work", [](const auto&, std::string&) { return End::kSucceed; });
  EXPECT_EQ(scene.run({"queue", "resume", "work"}).exit_code, 0);
  worker.await(1);
}

TEST(QueueCommand, PurgeCancelsWhatHasNotStarted) {
  Scene scene;
  scene.segment();
  for (int i = 0; i < 3; ++i) (void)scene.enqueue({"t", "-q", "work"});
  (void)scene.enqueue({"t", "-q", "work", "--delay", "1h"});
  const std::string elsewhere = scene.enqueue({"t", "-q", "other"});
  const json dry = scene.run_json({"queue", "purge", "work", "--dry-run"});
  EXPECT_EQ(dry["ready"], 3);
  EXPECT_EQ(dry["delayed"], 1);
  EXPECT_EQ(dry["cancelled"], 0);
  EXPECT_EQ(scene.run({"queue", "purge", "work"}).exit_code, 2);
  EXPECT_EQ(scene.run_json({"queue", "purge", "work", "--yes"})["cancelled"], 4);
  EXPECT_EQ(scene.run_json({"task", "show", elsewhere})[0]["state"], "queued");
  EXPECT_EQ(scene.run({"segment", "verify"}).exit_code, 0);
}

TEST(QueueCommand, LimitsAreSetShownAndLifted) {
  Scene scene;
  scene.segment();
  const Outcome missing = scene.run({"queue", "set", "work", "--rate", "5/s"});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_THAT(missing.err, HasSubstr("--create"));
  const json set = scene.run_json({"queue", "set", "work", "--create", "--rate", "5/m", "--concurrency", "3",
                                   "--max-length", "100", "--overflow", "drop-oldest", "--lowest-first", "on"});
  EXPECT_EQ(set["rate"], "5/m");
  EXPECT_EQ(set["concurrency"], 3);
  EXPECT_EQ(set["maxLength"], 100);
  EXPECT_EQ(set["overflow"], "drop-oldest");
  EXPECT_EQ(set["lowestFirst"], true);
  EXPECT_EQ(scene.run_json({"queue", "set", "work"}), set);
  const json lifted =
      scene.run_json({"queue", "set", "work", "--rate", "none", "--concurrency", "none", "--max-length", "none"});
  EXPECT_EQ(lifted["rate"], nullptr);
  EXPECT_EQ(lifted["maxLength"], nullptr);
  EXPECT_EQ(lifted["overflow"], "drop-oldest");
}

TEST(QueueCommand, HostileSettingsAreRefused) {
  Scene scene;
  scene.segment();
  (void)scene.enqueue({"t", "-q", "work"});
  for (const auto& flag : std::vector<std::vector<std::string>>{{"--rate", "0/s"},
                                                                {"--rate", "5/d"},
                                                                {"--rate", "99999999999/s"},
                                                                {"--concurrency", "-1"},
                                                                {"--concurrency", "4294967296"},
                                                                {"--max-length", "99999999999999999999"},
                                                                {"--overflow", "drop-newest"},
                                                                {"--lowest-first", "maybe"},
                                                                {"--dlq-retention", "7"},
                                                                {"--dlq-max", "few"}}) {
    EXPECT_EQ(scene.run({"queue", "set", "work", flag[0], flag[1]}).exit_code, 2) << flag[1];
  }
  EXPECT_EQ(scene.run({"queue", "pause"}).exit_code, 2);
  for (const char* command : {"pause", "resume", "purge", "set"}) {
    const Outcome unknown = scene.run({"queue", command, "wrok"});
    EXPECT_EQ(unknown.exit_code, 1) << command;
    EXPECT_THAT(unknown.err, HasSubstr("did you mean work?"));
  }
  // One unknown name, and no queue is touched.
  EXPECT_EQ(scene.run({"queue", "pause", "work", "nowhere"}).exit_code, 1);
  EXPECT_EQ(scene.run_json({"queue", "set", "work"})["paused"], false);
}

}  // namespace
}  // namespace stem::cli_test
