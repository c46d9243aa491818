// Metrics by OTLP to a receiver that knows the protocol and nothing of our code (otlp_receiver.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "running_dashboard.hpp"
#include "tools/stem/dashboard/otlp.hpp"

namespace stem::dashboard_test {
namespace {

using cli_test::End;
using cli_test::Scene;
using cli_test::TestWorker;

TEST(Otlp, AReceiverUnderstandsWhatComesAndIsTriedAgain) {
  Scene scene;
  auto segment = scene.segment();
  for (int i = 0; i < 7; ++i) (void)scene.enqueue({"t", "-q", "work"});
  {
    TestWorker worker(segment, "work", [](const engine::TaskView&, std::string&) { return End::kSucceed; });
    worker.await(7);
  }
  // Refuses two exports, then takes two.
  RunningProgram receiver({"/usr/bin/env", "python3", STEM_SOURCE_DIR "/tests/dashboard/otlp_receiver.py", "2", "2"});
  const std::string port = receiver.first_line();
  ASSERT_NE(port, "");
  RunningDashboard dashboard(scene, {"--otlp", "http://127.0.0.1:" + port, "--otlp-interval", "100ms"});
  const auto found = nlohmann::json::parse(receiver.first_line(), nullptr, false);
  ASSERT_TRUE(found.is_object()) << found;
  EXPECT_EQ(receiver.wait(), 0);
  EXPECT_EQ(found["stem.tasks.succeeded"][R"({"queue": "work"})"], 7);
  EXPECT_EQ(found["stem.task.duration"][R"({"task": "t"})"], 7);
  EXPECT_EQ(found["stem.queue.depth"][R"({"queue": "work"})"], 0);
  EXPECT_GT(found.size(), 40U);
  // The receiver is gone: nobody minds.
  EXPECT_EQ(dashboard.get("/healthz")->status, 200);
  EXPECT_EQ(dashboard.stop(), 0);
}

TEST(Otlp, UrlsOfCollectors) {
  const auto shown = [](const std::string& url) {
    const auto target = cli::parse_otlp_url(url, "/v1/metrics");
    return target.ok()
               ? (target->secure ? "s " : "") + target->host + " " + std::to_string(target->port) + " " + target->path
               : "refused";
  };
  EXPECT_EQ(shown("http://collector"), "collector 4318 /v1/metrics");
  EXPECT_EQ(shown("http://collector:9/"), "collector 9 /v1/metrics");
  EXPECT_EQ(shown("https://host.example/otel"), "s host.example 443 /otel/v1/metrics");
  EXPECT_EQ(shown("http://[::1]:4318/v1/metrics"), "::1 4318 /v1/metrics");
  for (const char* url : {"", "collector:4318", "ftp://x", "http://", "http://:4318", "http://x:0", "http://x:70000",
                          "http://x:y", "http://user@x", "http://x/a?b", "http://x/\r\nHost: y"})
    EXPECT_EQ(shown(url), "refused") << url;
}

}  // namespace
}  // namespace stem::dashboard_test
