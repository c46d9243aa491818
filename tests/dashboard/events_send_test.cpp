// `stem events --follow --webhook` and `--otlp`, to a receiver that knows nothing of our code (post_receiver.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

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

// A batch of small tasks shares slots where it can; under a trace each of them is seen by itself.
TEST_F(EventsSend, EachTaskOfATracedBatchHasItsThreeSpans) {
  RunningProgram follower({cli_test::stem_path(), "events", "--follow", "--otlp", url()}, in_scene());
  ASSERT_TRUE(
      test::wait_until([&] { return segment_->header().events_until_ns.load() != 0; }, std::chrono::seconds(20)));
  constexpr std::size_t kTasks = 30;
  std::string lines;
  for (std::size_t i = 0; i < kTasks; ++i) lines += std::to_string(i) + "\n";
  const cli_test::TemporaryDirectory place;
  const std::string trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const auto made = scene_.run({"enqueue", "t", "-q", "mail", "--jsonl", place.write("batch", lines), "--header",
                                "traceparent=" + trace, "--ids"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const RunningStem worker(scene_, {"worker", "start", "-q", "mail", "--exec", "t=cat", "--concurrency", "1"});

  std::map<std::string, std::map<std::string, json>> spans;  // by task, by "enqueue", "wait", "execute"
  std::size_t seen = 0;
  while (seen < 3 * kTasks) {
    const auto [path, body] = posted();
    ASSERT_EQ(path, "/v1/traces") << seen << " spans came";
    for (const json& span : body["resourceSpans"][0]["scopeSpans"][0]["spans"]) {
      EXPECT_EQ(span["traceId"], trace.substr(3, 32));
      EXPECT_EQ(span["parentSpanId"], trace.substr(36, 16));
      const std::string name = span["name"];
      for (const json& attribute : span["attributes"])
        if (attribute["key"] == "messaging.message.id")
          spans[attribute["value"]["stringValue"]][name.substr(0, name.find(' '))] = span;
      ++seen;
    }
  }
  EXPECT_EQ(spans.size(), kTasks);
  for (const auto& [id, of_task] : spans) {
    EXPECT_THAT(made.out, ::testing::HasSubstr(id));
    EXPECT_THAT(of_task, ::testing::UnorderedElementsAre(::testing::Key("enqueue"), ::testing::Key("wait"),
                                                         ::testing::Key("execute")));
  }
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
