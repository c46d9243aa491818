// `stem schedule`, `stem beat start` and `stem observe schedules`, as a person runs them.
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "engine/query.hpp"
#include "scene.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/process.hpp"
#include "tests/support/wait.hpp"

namespace stem::cli_test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class ScheduleCommand : public ::testing::Test {
 protected:
  std::string file(const std::string& content) { return files_.write("schedules.yaml", content); }
  Outcome apply(const std::string& content, std::vector<std::string> more = {}) {
    std::vector<std::string> words{"schedule", "apply", "-f", file(content)};
    words.insert(words.end(), more.begin(), more.end());
    return scene_.run(words);
  }
  json schedules() { return scene_.run_json({"schedule", "list"})["schedules"]; }
  // A beat process of the test's own; ends with the program's exit code.
  test::Process start_beat(std::vector<std::string> more = {}) {
    return test::Process([this, more] {
      ::setenv("STEM_SHM_DIRECTORY", scene_.directory().c_str(), 1);
      ::setenv("STEM_LOG", "off", 1);
      std::vector<std::string> words{stem_path(), "beat", "start"};
      words.insert(words.end(), more.begin(), more.end());
      std::vector<char*> argv;
      for (std::string& word : words) argv.push_back(word.data());
      argv.push_back(nullptr);
      ::execv(argv[0], argv.data());
      return 127;
    });
  }
  std::uint64_t ready(const std::string& queue) {
    const test::Attached self(scene_.segment());
    std::uint64_t count = 0;
    for (const auto& stats : engine::Query(*self).queues())
      if (stats.name == queue) count = stats.ready;
    return count;
  }

  Scene scene_;
  TemporaryDirectory files_;
};

TEST_F(ScheduleCommand, ApplyChangesOnlyWhatDiffers) {
  scene_.segment();
  Outcome out = apply("a: {task: t, spec: every:1h}\nb: {task: t, spec: '0 3 * * *', jitter: 5s}\n");
  EXPECT_EQ(out.exit_code, 0) << out.err;
  EXPECT_THAT(out.out, HasSubstr("2 created, 0 changed, 0 removed, 0 unchanged"));
  out = apply("a: {task: t, spec: every:2h}\nb: {task: t, spec: '0 3 * * *', jitter: 5s}\n");
  EXPECT_EQ(out.out, "a changed\n0 created, 1 changed, 0 removed, 1 unchanged\n");
  const json all = schedules();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0]["id"], "a");
  EXPECT_EQ(all[0]["spec"], "every:2h");
  EXPECT_EQ(all[1]["jitterMs"], 5000);
  EXPECT_TRUE(all[1]["nextAt"].is_string());
}

TEST_F(ScheduleCommand, ATrialChangesNothing) {
  const Outcome out = apply("a: {task: t, spec: every:1h}\n", {"--dry-run"});
  EXPECT_EQ(out.exit_code, 0) << out.err;
  EXPECT_THAT(out.out, HasSubstr("a would be created"));
  EXPECT_EQ(scene_.run({"schedule", "list"}).exit_code, 1) << "not even a segment";
}

TEST_F(ScheduleCommand, PruneWantsConsent) {
  scene_.segment();
  EXPECT_EQ(apply("a: {task: t, spec: every:1h}\nb: {task: t, spec: every:1h}\n").exit_code, 0);
  Outcome out = apply("a: {task: t, spec: every:1h}\n", {"--prune"});
  EXPECT_EQ(out.exit_code, 2);
  EXPECT_THAT(out.err, HasSubstr("remove 1 schedule: b"));
  EXPECT_EQ(schedules().size(), 2u);
  const json trial =
      scene_.run_json({"schedule", "apply", "-f", file("a: {task: t, spec: every:1h}\n"), "--prune", "--dry-run"});
  EXPECT_EQ(trial["removed"], 1);
  EXPECT_EQ(schedules().size(), 2u);
  out = apply("a: {task: t, spec: every:1h}\n", {"--prune", "--yes"});
  EXPECT_EQ(out.exit_code, 0) << out.err;
  EXPECT_EQ(schedules().size(), 1u);
}

TEST_F(ScheduleCommand, AFileWithAMistakeChangesNothing) {
  scene_.segment();
  const Outcome out = apply("a: {task: t, spec: every:1h}\nb: {task: t, spec: '0 25 * * *'}\n");
  EXPECT_EQ(out.exit_code, 2);
  EXPECT_THAT(out.err, HasSubstr("schedules.yaml:2: schedule b: \"spec\": cron \"0 25 * * *\": hour"));
  EXPECT_TRUE(schedules().empty());
  EXPECT_EQ(scene_.run({"schedule", "apply", "-f", "/no/such/file"}).exit_code, 2);
  EXPECT_EQ(scene_.run({"schedule", "apply"}).exit_code, 2);
}

TEST_F(ScheduleCommand, ShowEnableDisableDelete) {
  scene_.segment();
  EXPECT_EQ(apply("nightly: {task: t, spec: every:1h, args: {a: 1}}\n").exit_code, 0);
  EXPECT_THAT(scene_.run({"schedule", "show", "nightly"}).out, HasSubstr("args         {\"a\":1}"));
  const Outcome missing = scene_.run({"schedule", "show", "nigtly"});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_THAT(missing.err, HasSubstr("did you mean nightly?"));
  EXPECT_EQ(scene_.run({"schedule", "disable", "nightly"}).out, "nightly disabled\n");
  EXPECT_EQ(schedules()[0]["enabled"], false);
  EXPECT_TRUE(schedules()[0]["nextAt"].is_null());
  EXPECT_EQ(scene_.run({"schedule", "enable", "nightly"}).out, "nightly enabled\n");
  EXPECT_EQ(scene_.run({"schedule", "enable", "nightly"}).out, "nightly enabled (it was already)\n");
  EXPECT_EQ(scene_.run({"schedule", "delete", "nightly"}).exit_code, 2) << "without --yes";
  EXPECT_EQ(scene_.run({"schedule", "delete", "nightly", "--yes"}).exit_code, 0);
  EXPECT_TRUE(schedules().empty());
  EXPECT_EQ(scene_.run({"schedule", "delete", "nightly", "--yes"}).exit_code, 1);
}

TEST_F(ScheduleCommand, DryRunPrintsTheNextTimes) {
  EXPECT_EQ(scene_
                .run({"schedule", "dry-run", "--spec", "30 2 * * *", "--timezone", "Europe/Berlin", "--from",
                      "2026-03-28", "--count", "3"})
                .out,
            "2026-03-28T01:30:00.000Z\n2026-03-29T01:00:00.000Z\n2026-03-30T00:30:00.000Z\n");
  const json times = scene_.run_json({"schedule", "dry-run", "--spec", R"({"kind":"interval","everyMs":500})", "--from",
                                      "2026-01-01T00:00:00Z", "--count", "2"});
  EXPECT_EQ(times["times"][1]["at"], "2026-01-01T00:00:01.000Z");
  EXPECT_EQ(scene_.run({"schedule", "dry-run", "--spec", "nonsense"}).exit_code, 2);
  EXPECT_EQ(scene_.run({"schedule", "dry-run"}).exit_code, 2);
  EXPECT_EQ(scene_.run({"schedule", "dry-run", "--spec", "every:1s", "--count", "0"}).exit_code, 2);
  EXPECT_EQ(scene_.run({"schedule", "dry-run", "--spec", R"({"kind":"clocked","runAt":"2020-01-01"})"}).out, "never\n");
}

TEST_F(ScheduleCommand, BeatFiresAndEndsInGoodOrder) {
  scene_.segment();
  EXPECT_EQ(apply("quick: {task: count, spec: every:20ms, queue: ticks, args: {n: 5}}\n").exit_code, 0);
  test::Process beat = start_beat({"--tick", "20ms"});
  ASSERT_TRUE(test::wait_until([&] { return ready("ticks") >= 5; }));
  json observed = scene_.run_json({"observe", "schedules"});
  EXPECT_EQ(observed["holder"], "process " + std::to_string(beat.pid()));
  EXPECT_GE(observed["counters"]["success"], 5);
  EXPECT_GE(observed["schedules"][0]["fired"], 5);
  const std::string metrics = scene_.run({"observe", "metrics"}).out;
  EXPECT_THAT(metrics, HasSubstr("stem_scheduler_drift_seconds_count"));
  EXPECT_THAT(metrics, HasSubstr("stem_scheduler_lock_acquired_total{namespace=\"stem\"} 1\n"));
  // The task says where it came from.
  {
    const test::Attached self(scene_.segment(), shm::Role::kWorker);
    engine::Lease lease;
    engine::TaskView view;
    ASSERT_EQ(self->claim(test::must_queue(*scene_.segment(), "ticks"), &lease, 1, base::monotonic_ns()), 1u);
    ASSERT_TRUE(self->view(lease, view));
    const json headers = json::parse(view.extras.headers);
    EXPECT_EQ(headers["scheduled-from"], "beat");
    EXPECT_EQ(headers["schedule-id"], "quick");
    EXPECT_THAT(std::string(view.extras.idempotency_key), HasSubstr("quick@20"));
    EXPECT_EQ(self->release(lease, base::monotonic_ns()), engine::Settled::kDone);
  }
  beat.signal(SIGTERM);
  EXPECT_EQ(beat.wait(), 0);
  observed = scene_.run_json({"observe", "schedules"});
  EXPECT_TRUE(observed["holder"].is_null()) << "the lock was let go";
  EXPECT_THAT(scene_.run({"schedule", "list"}).out, HasSubstr("quick"));
  EXPECT_EQ(scene_.run({"segment", "verify"}).exit_code, 0);
}

TEST_F(ScheduleCommand, TheSecondBeatTakesOverFromAKilledOne) {
  scene_.segment();
  EXPECT_EQ(apply("quick: {task: count, spec: every:20ms, queue: ticks}\n").exit_code, 0);
  test::Process first = start_beat({"--tick", "20ms"});
  const auto holder = [&] { return scene_.run_json({"observe", "schedules"})["holder"]; };
  ASSERT_TRUE(test::wait_until([&] { return ready("ticks") >= 2; }));
  EXPECT_EQ(holder(), "process " + std::to_string(first.pid()));
  test::Process second = start_beat({"--tick", "20ms"});
  first.kill();
  ASSERT_TRUE(test::wait_until([&] { return holder() == "process " + std::to_string(second.pid()); }));
  const std::uint64_t before = ready("ticks");
  ASSERT_TRUE(test::wait_until([&] { return ready("ticks") > before + 2; }));
  second.signal(SIGINT);
  EXPECT_EQ(second.wait(), 0);
}

TEST_F(ScheduleCommand, BeatRefusesWhatMakesNoSense) {
  EXPECT_EQ(scene_.run({"beat", "start", "--tick", "0"}).exit_code, 2);
  EXPECT_EQ(scene_.run({"beat", "start", "--lock-ttl", "1ms"}).exit_code, 2);
  EXPECT_EQ(scene_.run({"beat", "start", "--tic", "1s"}).exit_code, 2);
}

}  // namespace
}  // namespace stem::cli_test
