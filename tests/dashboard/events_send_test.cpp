// `stem events --follow --webhook` and `--otlp`, to a receiver that knows nothing of our code (post_receiver.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "running_dashboard.hpp"

namespace stem::dashboard_test {
namespace {

using cli_test::End;
using cli_test::Scene;
using cli_test::TestWorker;
using nlohmann::json;

class EventsSend : public ::testing::Test {
 protected:
  EventsSend() : segment_(scene_.segment()), port_(receiver_.first_line()) {}

  std::string url() const { return "http://127.0.0.1:" + port_; }
  cli_test::RunOptions in_scene() const {
    cli_test::RunOptions options;
    options.environment["STEM_SHM_DIRECTORY"] = scene_.directory();
    return options;
  }
  // The path and the body of what was posted next.
  std::pair<std::string, json> posted() {
    const std::string line = receiver_.first_line();
    const std::size_t space = line.find(' ');
    if (space == std::string::npos) return {};
    return {line.substr(0, space), json::parse(line.substr(space + 1), nullptr, false)};
  }

  Scene scene_;
  std::shared_ptr<shm::Segment> segment_;
  RunningProgram receiver_{
      {"/usr/bin/env", "python3", STEM_SOURCE_DIR "/tests/dashboard/post_receiver.py", "1"}};  // refuses once
  std::string port_;
};

TEST_F(EventsSend, AWebhookGetsThemAlsoWhenItRefusesAtFirst) {
  RunningProgram follower(
      {cli_test::stem_path(), "events", "--follow", "--kind", "task-failed", "--webhook", url() + "/hook?token=x"},
      in_scene());
  TestWorker worker(segment_, "mail", [](const engine::TaskView&, std::string&) { return End::kBury; });
  (void)scene_.enqueue({"t", "-q", "mail"});
  // A follower from now on: the first task may have been before it.
  std::string line;
  for (int i = 0; i < 100 && line.empty(); ++i) {
    (void)scene_.enqueue({"t", "-q", "mail"});
    line = follower.first_line(std::chrono::milliseconds(200));
  }
  EXPECT_THAT(line, ::testing::HasSubstr("task-failed"));
  const auto [path, body] = posted();
  EXPECT_EQ(path, "/hook?token=x");
  ASSERT_TRUE(body["events"].is_array()) << body;
  EXPECT_EQ(body["events"][0]["event"], "task-failed");
  EXPECT_EQ(body["events"][0]["queue"], "mail");
}

TEST_F(EventsSend, SpansOfTracedTasks) {
  RunningProgram follower({cli_test::stem_path(), "events", "--follow", "--otlp", url()}, in_scene());
  TestWorker worker(segment_, "mail", [](const engine::TaskView&, std::string&) { return End::kSucceed; });
  const std::string trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  std::string line;
  for (int i = 0; i < 100 && line.find("task-succeeded") == std::string::npos; ++i) {
    (void)scene_.enqueue({"t", "-q", "mail", "--header", "traceparent=" + trace});
    for (int n = 0; n < 3; ++n) line = follower.first_line(std::chrono::milliseconds(200));
  }
  const auto [path, body] = posted();
  EXPECT_EQ(path, "/v1/traces");
  const json& spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"];
  ASSERT_TRUE(spans.is_array() && !spans.empty()) << body;
  for (const json& span : spans) EXPECT_EQ(span["traceId"], "0af7651916cd43dd8448eb211c80319c");
}

TEST(EventsFlags, SendersGoWithFollow) {
  Scene scene;
  (void)scene.segment();
  EXPECT_EQ(scene.run({"events", "--webhook", "http://x"}).exit_code, 2);
  EXPECT_EQ(scene.run({"events", "--follow", "--webhook", "x"}).exit_code, 2);
  EXPECT_EQ(scene.run({"events", "--follow", "--otlp", "ftp://x"}).exit_code, 2);
}

}  // namespace
}  // namespace stem::dashboard_test
