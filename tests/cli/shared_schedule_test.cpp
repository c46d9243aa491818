// Schedules that are kept in a Redis: the same commands, with --redis.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/cli/run_stem.hpp"
#include "tests/support/redis_server.hpp"

namespace stem::cli_test {
namespace {

using ::testing::HasSubstr;

class SharedSchedule : public ::testing::Test {
 protected:
  Outcome run(std::vector<std::string> words, RunOptions options = {}) {
    words.insert(words.end(), {"--namespace", "shared-schedule-test"});
    if (!options.environment.contains("STEM_SCHEDULE_STORE_URL")) words.insert(words.end(), {"--redis", server_.url()});
    return run_stem(words, options);
  }
  nlohmann::json listed() {
    const Outcome outcome = run({"schedule", "list", "--json"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out)["schedules"];
  }

  test::RedisServer server_;
  TemporaryDirectory directory_;
};

TEST_F(SharedSchedule, IsAppliedChangedAndRemovedWithoutASegment) {
  const std::string file = directory_.write("s.yaml", "a: {task: t, spec: every:1h}\nb: {task: t, spec: 30 2 * * *}\n");
  Outcome outcome = run({"schedule", "apply", "-f", file});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("2 created"));
  EXPECT_THAT(run({"schedule", "apply", "-f", file}).out, HasSubstr("2 unchanged"));
  EXPECT_EQ(listed().size(), 2u);
  EXPECT_EQ(run({"schedule", "disable", "b"}).exit_code, 0);
  EXPECT_EQ(listed()[1]["enabled"], false);
  outcome = run({"schedule", "show", "bb"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("no schedule \"bb\""));
  EXPECT_EQ(run({"schedule", "dry-run", "a", "--count", "2"}).exit_code, 0);
  EXPECT_EQ(run({"schedule", "delete", "b", "--yes"}).exit_code, 0);
  // The variable says the same.
  outcome = run({"schedule", "list"}, {.environment = {{"STEM_SCHEDULE_STORE_URL", server_.url()}}});
  EXPECT_THAT(outcome.out, HasSubstr("every:1h"));
  EXPECT_EQ(run_stem({"segment", "info", "--namespace", "shared-schedule-test"}).exit_code, 1) << "none was made";
}

TEST_F(SharedSchedule, AFileWithWhatHoldsWithinAHostChangesNothing) {
  const std::string file =
      directory_.write("s.yaml", "a: {task: t, spec: every:1h}\nb: {task: t, spec: every:1h, unique: true}\n");
  const Outcome outcome = run({"schedule", "apply", "-f", file});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("schedule \"b\": \"unique\" holds within one host"));
  EXPECT_TRUE(listed().empty());
}

TEST_F(SharedSchedule, NoRedisIsSaidInWords) {
  const Outcome outcome = run({"schedule", "list"}, {.environment = {{"STEM_SCHEDULE_STORE_URL", "unix:///nowhere"}}});
  EXPECT_EQ(outcome.exit_code, 70);
  EXPECT_THAT(outcome.err, HasSubstr("/nowhere"));
  EXPECT_EQ(run({"schedule", "list"}, {.environment = {{"STEM_SCHEDULE_STORE_URL", "postgres://x"}}}).exit_code, 2);
}

}  // namespace
}  // namespace stem::cli_test
