// The JSON API: tasks found and shown, dead letters, acts; and the page's files with what keeps them harmless.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "running_dashboard.hpp"

namespace stem::dashboard_test {
namespace {

using cli_test::End;
using cli_test::Scene;
using cli_test::TestWorker;
using nlohmann::json;
using ::testing::HasSubstr;

// A scene with a dashboard that may act: 3 dead letters, 2 waiting, 1 delayed.
struct Stage {
  Stage() : dashboard(made(), {"--token-file", token_file(place)}) {
    (void)dashboard.await("/api/overview", [](const json& seen) { return seen["queues"].size() == 2; });
  }

  const Scene& made() {
    auto segment = scene.segment();
    for (int i = 0; i < 3; ++i) dead.push_back(scene.enqueue({"bad", "-q", "work", "--args", std::to_string(i)}));
    {
      TestWorker worker(segment, "work", [](const engine::TaskView&, std::string&) { return End::kBury; });
      worker.await(3);
    }
    waiting = scene.enqueue(
        {"img.resize", "-q", "img", "--priority", "7", "--args", R"({"file":"a.jpg"})", "--header", "tenant=acme"});
    (void)scene.enqueue({"img.resize", "-q", "img"});
    (void)scene.enqueue({"later", "-q", "img", "--delay", "1h"});
    return scene;
  }

  [[nodiscard]] int act(const std::string& path, const json& body) const {
    const auto answer = dashboard.post(path, body, kWithToken);
    said = answer ? json::parse(answer->body) : json();
    return answer ? answer->status : 0;
  }
  [[nodiscard]] std::uint64_t found(const std::string& query) const {
    return dashboard.json("/api/tasks/find?" + query)["matching"];
  }

  Scene scene;
  cli_test::TemporaryDirectory place;
  std::vector<std::string> dead;
  std::string waiting;
  RunningDashboard dashboard;
  mutable json said;
};

TEST(Api, TasksAreFoundByStateQueueNameAndText) {
  const Stage stage;
  EXPECT_EQ(stage.found(""), 6U);
  EXPECT_EQ(stage.found("state=dead"), 3U);
  EXPECT_EQ(stage.found("state=queued"), 2U);
  EXPECT_EQ(stage.found("state=delayed"), 1U);
  EXPECT_EQ(stage.found("state=running"), 0U);
  EXPECT_EQ(stage.found("queue=img"), 3U);
  EXPECT_EQ(stage.found("queue=im"), 0U);
  EXPECT_EQ(stage.found("task=img.resize"), 2U);
  EXPECT_EQ(stage.found("q=RESIZE"), 2U);
  EXPECT_EQ(stage.found("q=" + stage.waiting), 1U);
  EXPECT_EQ(stage.found("q=work&state=queued"), 0U);
  EXPECT_EQ(stage.dashboard.get("/api/tasks/find?state=lost")->status, 400);
  const json page = stage.dashboard.json("/api/tasks/find?limit=2&offset=1");
  ASSERT_EQ(page["tasks"].size(), 2U);
  EXPECT_EQ(page["matching"], 6);
  const json all = stage.dashboard.json("/api/tasks/find");
  EXPECT_EQ(all["tasks"][0]["task"], "later");
  EXPECT_EQ(page["tasks"][0], all["tasks"][1]);
  EXPECT_EQ(stage.dashboard.json("/api/tasks/find?limit=-5&offset=-1")["tasks"].size(), 1U);
  EXPECT_EQ(stage.dashboard.json("/api/tasks/find?limit=99999999999999999999")["tasks"].size(), 6U);
}

TEST(Api, ItemsOfRunsAreTasks) {
  Scene scene;
  const cli_test::TemporaryDirectory place;
  std::string lines;
  for (int i = 0; i < 10; ++i) lines += std::to_string(i) + "\n";
  (void)scene.segment();
  ASSERT_EQ(scene.run({"enqueue", "bulk", "-q", "work", "--jsonl", place.write("ten.jsonl", lines)}).exit_code, 0);
  const RunningDashboard dashboard(scene);
  const json found =
      dashboard.await("/api/tasks/find?state=queued", [](const json& list) { return list["matching"] == 10; });
  std::set<std::string> payloads;
  for (const json& task : found["tasks"])
    payloads.insert(dashboard.json("/api/task?id=" + task["id"].get<std::string>())["payload"].dump());
  EXPECT_EQ(payloads.size(), 10U);
}

TEST(Api, ATaskIsShownAsTheCommandShowsIt) {
  const Stage stage;
  json shown = stage.dashboard.json("/api/task?id=" + stage.waiting);
  for (const char* own : {"at", "namespace"}) shown.erase(own);
  EXPECT_EQ(shown, stage.scene.run_json({"task", "show", stage.waiting})[0]);
  EXPECT_EQ(shown["payload"]["file"], "a.jpg");
  EXPECT_EQ(shown["headers"]["tenant"], "acme");
  EXPECT_EQ(stage.dashboard.get("/api/task?id=nonsense")->status, 400);
  EXPECT_EQ(stage.dashboard.get("/api/task")->status, 400);
  EXPECT_EQ(stage.dashboard.get("/api/task?id=00000001-0000000000000001")->status, 404);
  EXPECT_EQ(stage.dashboard.get("/api/nothing")->status, 404);
}

TEST(Api, WhyATaskIsWhereItIs) {
  const Stage stage;
  const json waits = stage.dashboard.json("/api/task/why?id=" + stage.waiting);
  EXPECT_EQ(waits["state"], "queued");
  EXPECT_THAT(waits["because"].dump(), HasSubstr("no worker serves queue img"));
  const json dead = stage.dashboard.json("/api/task/why?id=" + stage.dead[0]);
  ASSERT_FALSE(dead["life"].empty());
  EXPECT_EQ(dead["life"].back()["event"], "task-failed");
  EXPECT_THAT(dead["life"].back()["text"].get<std::string>(), HasSubstr("it was told to"));
  EXPECT_EQ(stage.dashboard.get("/api/task/why?id=x")->status, 400);
  EXPECT_EQ(stage.dashboard.get("/api/task/why?id=00000001-0000000000000001")->status, 404);
  // All of it was read through a mapping that cannot be written.
  EXPECT_EQ(stage.dashboard.get("/healthz")->status, 200);
}

TEST(Api, WhatWasSeenIsReplayedAndNothingElse) {
  const Stage stage;
  const json groups = stage.dashboard.json("/api/dlq")["groups"];
  ASSERT_EQ(groups.size(), 1U);
  EXPECT_EQ(groups[0]["count"], 3);
  const std::string fingerprint = groups[0]["fingerprint"];
  const std::string of_group = "queue=work&fingerprint=" + fingerprint;
  const json radius = stage.dashboard.json("/api/dlq/radius?" + of_group);
  EXPECT_EQ(radius["count"], 3);
  EXPECT_EQ(radius["byTask"]["bad"], 3);
  EXPECT_EQ(stage.dashboard.json("/api/dlq/letters?" + of_group)["letters"].size(), 3U);

  // One more dies of the same after the look.
  Scene& scene = const_cast<Scene&>(stage.scene);
  const std::string late = scene.enqueue({"bad", "-q", "work"});
  {
    TestWorker worker(scene.segment(), "work", [](const engine::TaskView&, std::string&) { return End::kBury; });
    worker.await(1);
  }
  ASSERT_EQ(stage.act("/api/dlq/replay", {{"queue", "work"}, {"fingerprint", fingerprint}, {"upTo", radius["upTo"]}}),
            200);
  EXPECT_EQ(stage.said["replayed"], 3);
  EXPECT_EQ(stage.scene.run_json({"task", "show", late})[0]["state"], "dead");
  for (const std::string& id : stage.dead) EXPECT_EQ(stage.scene.run_json({"task", "show", id})[0]["state"], "queued");
  ASSERT_EQ(stage.act("/api/dlq/purge", {{"ids", {late}}}), 200);
  EXPECT_EQ(stage.said["purged"], 1);
  EXPECT_EQ(stage.scene.run({"segment", "verify"}).exit_code, 0);
}

TEST(Api, ReplayMaySpreadThemOut) {
  const Stage stage;
  ASSERT_EQ(stage.act("/api/dlq/replay", {{"queue", "work"}, {"perSecond", 0.01}}), 200);
  EXPECT_EQ(stage.found("queue=work&state=queued"), 1U);
  EXPECT_EQ(stage.found("queue=work&state=delayed"), 2U);
}

TEST(Api, ActsOnQueuesAndTasks) {
  const Stage stage;
  ASSERT_EQ(stage.act("/api/queue/pause", {{"queue", "img"}}), 200);
  EXPECT_EQ(stage.scene.run_json({"observe", "queues", "-q", "img"})["queues"][0]["paused"], true);
  ASSERT_EQ(stage.act("/api/queue/resume", {{"queue", "img"}}), 200);
  EXPECT_EQ(stage.scene.run_json({"observe", "queues", "-q", "img"})["queues"][0]["paused"], false);
  ASSERT_EQ(stage.act("/api/task/revoke", {{"id", stage.waiting}}), 200);
  EXPECT_EQ(stage.said["outcome"], "cancelled");
  ASSERT_EQ(stage.act("/api/task/retry", {{"id", stage.dead[0]}}), 200);
  EXPECT_EQ(stage.said["outcome"], "replayed");
  EXPECT_EQ(stage.act("/api/task/retry", {{"id", stage.dead[0]}}), 404);
}

// What charts show is of the time between two looks, not of all time.
TEST(Api, HistoryIsOfEachMoment) {
  const Stage stage;
  Scene& scene = const_cast<Scene&>(stage.scene);
  std::int64_t after = 0;
  (void)stage.dashboard.await("/api/history", [&](const json& seen) {
    if (seen["points"].empty()) return false;
    after = seen["points"].back()["at"];
    return seen["points"].back()["ready"] == 2;
  });
  for (int i = 0; i < 5; ++i) (void)scene.enqueue({"quick", "-q", "work"});
  {
    TestWorker worker(scene.segment(), "work", [](const engine::TaskView&, std::string&) { return End::kSucceed; });
    worker.await(5);
  }
  const std::string path = "/api/history?after=" + std::to_string(after);
  const auto sum = [](const json& seen, const char* what) {
    std::uint64_t all = 0;
    for (const json& point : seen["points"]) all += point[what]["samples"].get<std::uint64_t>();
    return all;
  };
  const json seen = stage.dashboard.await(path, [&](const json& now) { return sum(now, "slowest") == 5; });
  EXPECT_EQ(sum(seen, "wait"), 5U);
  for (const json& point : seen["points"]) {
    EXPECT_GT(point["at"], after);
    const bool ran = point["slowest"]["samples"] != 0;
    EXPECT_EQ(point["slowest"]["p99Ns"].is_null(), !ran);
    EXPECT_EQ(point["slowest"]["task"], ran ? "quick" : "");
  }
}

TEST(Api, NonsenseIsRefusedAndNothingDone) {
  const Stage stage;
  for (const json& body : {json(3), json::array(), json::object(), json{{"queue", 3}}, json{{"queue", nullptr}}})
    EXPECT_EQ(stage.act("/api/queue/pause", body), 400) << body;
  EXPECT_EQ(stage.act("/api/queue/pause", {{"queue", "none"}}), 404);
  EXPECT_EQ(stage.act("/api/queue/explode", {{"queue", "img"}}), 404);
  EXPECT_EQ(stage.act("/api/task/revoke", {{"id", "x"}}), 400);
  for (const json& body : {json{{"fingerprint", "xyz"}}, json{{"fingerprint", "0"}}, json{{"reason", "bored"}},
                           json{{"upTo", "soon"}}, json{{"upTo", 1}}, json{{"upTo", "-1"}}, json{{"ids", "all"}},
                           json{{"ids", json::array()}}, json{{"ids", {1}}}, json{{"ids", {"x"}}},
                           json{{"queue", "work"}, {"perSecond", 0}}, json{{"queue", "work"}, {"perSecond", "fast"}}})
    EXPECT_EQ(stage.act("/api/dlq/replay", body), 400) << body;
  EXPECT_EQ(stage.act("/api/dlq/purge", {{"queue", "none"}}), 404);
  httplib::Client client("127.0.0.1", stage.dashboard.port());
  EXPECT_EQ(client.Post("/api/dlq/purge", kWithToken, std::string(50'000, '['), "application/json")->status, 400);
  EXPECT_EQ(stage.found("state=dead"), 3U);
}

TEST(Page, ItsFilesComeWithWhatKeepsThemHarmless) {
  const Scene scene;
  const RunningDashboard dashboard(scene);
  for (const char* path : {"/", "/tasks", "/task", "/dead", "/workers", "/schedules", "/federation", "/app.js",
                           "/style.css", "/views/overview.js", "/icon.svg"}) {
    const auto answer = dashboard.get(path);
    ASSERT_TRUE(answer) << path;
    EXPECT_EQ(answer->status, 200) << path;
    const std::string policy = answer->get_header_value("Content-Security-Policy");
    EXPECT_THAT(policy, HasSubstr("default-src 'none'")) << path;
    EXPECT_THAT(policy, HasSubstr("frame-ancestors 'none'")) << path;
    EXPECT_THAT(policy, ::testing::Not(HasSubstr("unsafe"))) << path;
    EXPECT_EQ(answer->get_header_value("X-Content-Type-Options"), "nosniff") << path;
    const auto again = dashboard.get(path, {{"If-None-Match", answer->get_header_value("ETag")}});
    EXPECT_EQ(again->status, 304) << path;
  }
  for (const char* path : {"/../etc/passwd", "/views/../app.js", "/views", "/app.js/", "/nothing"})
    EXPECT_EQ(dashboard.get(path)->status, 404) << path;
}

}  // namespace
}  // namespace stem::dashboard_test
