// What docs/operations gives to other programs: rules that Prometheus takes and that fire when they should, and no name of
// a metric, there or in the Grafana dashboard and the scaler, that the program does not export.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "federation/gateway_status.hpp"
#include "running_dashboard.hpp"

namespace stem::dashboard_test {
namespace {

using cli_test::Scene;

const std::string kPlace = STEM_SOURCE_DIR "/docs/operations/";

std::string text_of(const std::string& name) {
  std::ifstream file(kPlace + name);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_GT(text.str().size(), 500U) << name;
  return text.str();
}

std::set<std::string> names_in(const std::string& text, const std::regex& pattern) {
  std::set<std::string> names;
  for (auto it = std::sregex_iterator(text.begin(), text.end(), pattern); it != std::sregex_iterator(); ++it)
    names.insert((*it)[1].str());
  return names;
}

// Of a segment with everything in it, and a gateway that has said something of itself.
std::set<std::string> exported_names() {
  Scene scene;
  auto segment = scene.segment();
  (void)scene.enqueue({"t", "-q", "work"});
  federation::GatewayStatus status;
  status.node = "n";
  status.name_space = "stem";
  status.queues.push_back({.name = "work", .exports = true});
  EXPECT_TRUE(federation::write_status_file(*segment, status).ok());
  const RunningStem worker(scene, {"worker", "start", "-q", "other", "-c", "1", "--exec", "none=true"});
  const RunningDashboard dashboard(scene);
  std::string text;
  EXPECT_TRUE(test::wait_until([&] {
    const auto answer = dashboard.get("/metrics");
    text = answer ? answer->body : "";
    return text.find("\nstem_worker_inflight{") != std::string::npos;
  })) << text;
  return names_in(text, std::regex("(?:^|\n)([a-z_]+)\\{"));
}

TEST(Operations, PrometheusTakesTheRulesAndTheyFireWhenTheyShould) {
  const auto check = cli_test::run_program({"/usr/bin/env", "promtool", "check", "rules", kPlace + "alerts.yaml"});
  EXPECT_EQ(check.exit_code, 0) << check.out << check.err;
  const auto tested = cli_test::run_program({"/usr/bin/env", "promtool", "test", "rules", kPlace + "alerts.test.yaml"});
  EXPECT_EQ(tested.exit_code, 0) << tested.out << tested.err;
}

// An alert that nobody has seen fire is a guess.
TEST(Operations, EveryAlertHasATest) {
  const auto alerts = names_in(text_of("alerts.yaml"), std::regex("- alert: (\\w+)"));
  ASSERT_GE(alerts.size(), 15U);
  EXPECT_EQ(names_in(text_of("alerts.test.yaml"), std::regex("\n +alertname: (\\w+)")), alerts);
}

TEST(Operations, EveryMetricThatIsNamedIsExported) {
  const std::set<std::string> exported = exported_names();
  for (const char* file : {"alerts.yaml", "grafana.json", "keda.yaml"}) {
    const auto used = names_in(text_of(file), std::regex("\\b((?:stem|queue_depth)_[a-z_]+)\\b"));
    EXPECT_GE(used.size(), 2U) << file;
    for (const std::string& name : used) EXPECT_TRUE(exported.contains(name)) << file << ": " << name;
  }
}

TEST(Operations, TheGrafanaDashboardIsWhole) {
  const auto dashboard = nlohmann::json::parse(text_of("grafana.json"), nullptr, false);
  ASSERT_TRUE(dashboard.is_object());
  std::set<int> ids;
  std::size_t graphs = 0;
  for (const auto& panel : dashboard["panels"]) {
    EXPECT_TRUE(ids.insert(panel["id"].get<int>()).second);
    if (panel["type"] == "row") continue;
    ++graphs;
    for (const auto& target : panel["targets"]) EXPECT_NE(target["expr"], "") << panel["title"];
  }
  EXPECT_GE(graphs, 15U);
}

}  // namespace
}  // namespace stem::dashboard_test
