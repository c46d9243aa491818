// The page in Chromium, in front of real workers: browser/walk.js does what an operator does, and looks where a hostile
// task would like it to fail. Its pictures are in the build directory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "running_dashboard.hpp"

namespace stem::dashboard_test {
namespace {

using cli_test::Outcome;
using cli_test::Scene;

constexpr const char* kHostile = "<img/src=x/onerror=alert(1)>";  // a name has no spaces

TEST(Browser, AnOperatorFindsTheirWayAndNoTaskBreaksOut) {
  const Scene scene;
  for (int i = 0; i < 5; ++i) (void)scene.enqueue({"fails", "-q", "work"});
  (void)scene.enqueue({"later", "-q", "work", "--delay", "1h"});
  (void)scene.enqueue({"later", "-q", "held", "--args", R"("<script>alert(2)</script>")"});
  ASSERT_EQ(scene.run({"queue", "pause", "held"}).exit_code, 0);
  const cli_test::TemporaryDirectory place;
  const std::string schedules =
      place.write("schedules.yaml", "- {id: tick, task: ok, spec: 'every:500ms', queue: work}\n");
  ASSERT_EQ(scene.run({"schedule", "apply", "-f", schedules}).exit_code, 0);
  const std::string fails = place.write("fails.sh", "echo 'no route to <b>host</b>' >&2\nexit 65\n");
  RunningStem beat(scene, {"beat", "start"});
  RunningStem worker(scene,
                     {"worker", "start", "-q", "work", "-c", "2", "--exec", "ok=true", "--exec", "fails=sh " + fails});
  RunningDashboard dashboard(scene, {"--token-file", token_file(place)});
  (void)scene.enqueue({kHostile, "-q", "work", "--args", R"("<b>x</b><script>alert(3)</script>")"});
  (void)dashboard.await("/api/tasks/find?state=dead",
                        [](const nlohmann::json& found) { return found["matching"] == 6; });

  const std::string pictures = std::string(STEM_BUILD_BIN_DIR) + "/../dashboard-pictures";
  std::filesystem::create_directories(pictures);
  const Outcome walk = cli_test::run_program(
      {"/usr/bin/env", "node", STEM_SOURCE_DIR "/tests/dashboard/browser/walk.js", dashboard.url(), kToken, pictures});
  ASSERT_EQ(walk.exit_code, 0) << walk.out << walk.err;
  const auto seen = nlohmann::json::parse(walk.out);
  EXPECT_EQ(seen["pictures"], 18);
  EXPECT_EQ(seen["replayed"], 5);
  EXPECT_EQ(seen["resumed"], true);
  EXPECT_EQ(seen["keyboard"], true);
  EXPECT_EQ(seen["moved"], true);
  EXPECT_EQ(worker.stop(), 0);
  EXPECT_EQ(beat.stop(), 0);
  EXPECT_EQ(dashboard.stop(), 0);
  EXPECT_EQ(scene.run({"segment", "verify"}).exit_code, 0);
}

}  // namespace
}  // namespace stem::dashboard_test
